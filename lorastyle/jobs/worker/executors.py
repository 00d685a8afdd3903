"""What each task does: read its settings, call the public function of lorastyle, say what came of it.

Those names are loaded when they are used: a job that needs no torch starts at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import lorastyle
from lorastyle import files
from lorastyle.jobs import tasks
from lorastyle.jobs.worker.bases import WarmBase
from lorastyle.jobs.worker.log import logger
from lorastyle.jobs.worker.publishing import publish
from lorastyle.settings import Precision

TOLD_EVERY = 20  # steps, in the log


class Watcher(Protocol):
    """Whoever watches over the job: the keeper of its lease."""

    @property
    def lost(self) -> bool: ...

    def say(self, **told: Any) -> None: ...

    def count(self, done: int, total: int) -> None: ...

    def wishes(self) -> "lorastyle.Wishes": ...


@dataclass(frozen=True)
class Work:
    """What a task needs besides its settings. A relative path lies in `folder`, the job's."""

    root: Path
    folder: Path
    owner: str
    warm: WarmBase
    watcher: Watcher

    @property
    def limits(self) -> tasks.Limits:
        """As they stand now: they may have been changed while the job waited."""
        return lorastyle.Workspace(self.root).jobs.limits

    @property
    def precision(self) -> Precision:
        """What the studio draws in."""
        return lorastyle.Workspace(self.root).settings.precision

    def base(self, name: str, precision: Precision = "fp32") -> "lorastyle.Base":
        self.say(f"Loading the base {Path(name).name}")
        return self.warm.get(name, precision)

    def say(self, message: str) -> None:
        logger.info(message)
        self.watcher.say(message=message)

    def path(self, name: str) -> Path:
        return self.folder / name

    def paths(self, strengths: Mapping[str, float]) -> dict[Any, float]:
        return {self.path(name): strength for name, strength in strengths.items()}

    def stopped(self) -> bool:
        return self.watcher.lost


def train(settings: tasks.Train, work: Work) -> dict[str, Any]:
    base, data, recipe = _read(settings, work)
    for remark in [*data.remarks(recipe.resolution or base.resolution, base.divisor), *recipe.warnings()]:
        logger.info("Note: %s", remark)
    work.say("Preparing the images")
    run = lorastyle.train(
        base,
        data,
        recipe,
        out=work.path(settings.out),
        resume=True,  # after a kill, a pause or a cancellation; where nothing is there yet it begins
        report=_Steps(work),
        start=work.path(settings.start) if settings.start else None,
        wishes=work.watcher.wishes,
    )
    return {name: str(getattr(run, name)) for name in ("folder", "adapter", "comparison", "card")}


class _Steps:
    """Tells how far a training is, and now and then writes it into the log."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, at: "lorastyle.Progress") -> None:
        message = "Training" if at.step < at.steps else "Drawing the comparison"
        self.work.watcher.say(
            message=message, step=at.step, steps=at.steps, speed=at.steps_per_second, seconds_left=at.seconds_left
        )
        if at.step % TOLD_EVERY == 0 or at.step in (1, at.steps):
            logger.info("step %d of %d, loss %.4f, %.2f steps/s", at.step, at.steps, at.smoothed, at.steps_per_second)


def _read(
    settings: tasks.Train | tasks.Probe, work: Work
) -> "tuple[lorastyle.Base, lorastyle.Dataset, lorastyle.Recipe]":
    recipe = lorastyle.Recipe(**settings.recipe)
    base = work.base(settings.base, recipe.precision)
    work.say("Reading the images")
    data = lorastyle.Dataset.open(work.path(settings.data))
    start = work.path(settings.start) if settings.start else None
    if start is None or start.is_file():  # a run that has begun keeps a copy, and does without it
        whole = _taking_over(recipe, start, base) if start else recipe
        work.limits.check_recipe(whole.resolved(base.preset(whole.purpose), len(data), base.resolution, base.guidance))
    return base, data, recipe


def _taking_over(recipe: "lorastyle.Recipe", start: Path, base: "lorastyle.Base") -> "lorastyle.Recipe":
    """The recipe with what limits are about of the adapter to go on from."""
    told = lorastyle.inspect_adapter(start, base.family.name)
    given = {"rank": max(map(int, told["ranks"])), "purpose": told["recipe"].get("purpose", recipe.purpose)}
    return recipe.changed({name: value for name, value in given.items() if name not in recipe.model_fields_set})


def probe(settings: tasks.Probe, work: Work) -> dict[str, Any]:
    base, data, recipe = _read(settings, work)
    work.say("Measuring a few steps")
    start = work.path(settings.start) if settings.start else None
    return asdict(lorastyle.estimate(base, data, recipe, start=start, progress=work.watcher.count))


def describe(settings: tasks.Describe, work: Work) -> dict[str, Any]:
    return {"facts": lorastyle.describe_base(work.base(settings.base)).as_json()}


def caption(settings: tasks.Caption, work: Work) -> dict[str, Any]:
    images = {name: work.path(file) for name, file in settings.images.items()}
    work.say("Describing the images")
    draft = lorastyle.Workspace(work.root).area(work.owner).dataset(settings.dataset) if settings.dataset else None
    captions: dict[str, str] = {}
    written = lorastyle.caption_images(
        images,
        settings.captioner,
        called=settings.called,
        prompt=settings.prompt,
        progress=work.watcher.count,
        stop=work.stopped,
    )
    for name, text in written:
        captions[name] = text
        if draft:
            draft.offer_captions({name: text})
    files.write_json(work.folder / "captions.json", captions)
    return {"captions": str(work.folder / "captions.json"), "count": len(captions)}


def generate(settings: tasks.Generate, work: Work) -> dict[str, Any]:
    base = work.base(settings.base, work.precision)
    limits = work.limits
    limits.check("resolution", settings.width or base.resolution, "generate.width")
    limits.check("resolution", settings.height or base.resolution, "generate.height")
    work.say("Drawing")
    images = lorastyle.generate(
        base,
        settings.prompts,
        work.paths(settings.adapters),
        negative=settings.negative,
        seed=settings.seed,
        steps=settings.steps,
        guidance=settings.guidance,
        width=settings.width,
        height=settings.height,
        progress=work.watcher.count,
    )
    paths = [work.folder / "images" / f"{number:03d}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        lorastyle.write_image(path, image)
    return {"images": [str(path) for path in paths]}


def grid(settings: tasks.Grid, work: Work) -> dict[str, Any]:
    base = work.base(settings.base, work.precision)
    work.limits.check("resolution", base.resolution, "grid.base")
    work.say("Drawing")
    drawn = lorastyle.compare_grid(
        base,
        [work.path(checkpoint) for checkpoint in settings.checkpoints],
        settings.strengths,
        settings.prompts,
        settings.seed,
        work.folder / "grid",
        steps=settings.steps,
        guidance=settings.guidance,
        progress=work.watcher.count,
    )
    return drawn.summary()


def export(settings: tasks.Export, work: Work) -> dict[str, Any]:
    base = work.base(settings.base) if settings.base else None
    work.say("Writing and proving the file")
    adapter = work.path(settings.adapter)
    written = lorastyle.export_adapter(
        adapter,
        settings.to,
        work.path(settings.out or f"{adapter.stem}-{settings.to}.safetensors"),
        dtype=settings.dtype,
        base=base,
        family=settings.family or None,
        rank=settings.rank,
        metadata=settings.metadata,
        strength=settings.strength,
    )
    return _as_text(written.summary())


def import_(settings: tasks.Import, work: Work) -> dict[str, Any]:
    work.say("Reading the adapter")
    adapter = lorastyle.import_adapter(work.path(settings.file), settings.family or None)
    target = work.path(settings.out)
    lorastyle.save_adapter(target, adapter)
    told = {"file": target, "family": adapter.family, "kind": adapter.kind, "layers": len(adapter.factors)}
    return _as_text(told)


def mix(settings: tasks.Mix, work: Work) -> dict[str, Any]:
    base = work.base(settings.base) if settings.base else None
    work.say("Mixing")
    mixed = lorastyle.mix(work.paths(settings.adapters), rank=settings.rank, base=base)
    target = work.path(settings.out)
    lorastyle.save_adapter(target, mixed.adapter)
    told = {"file": target, "layers": len(mixed.adapter.factors), "worst_relative_error": mixed.worst}
    return _as_text(told)


def merge(settings: tasks.Merge, work: Work) -> dict[str, Any]:
    base, target = work.base(settings.base), work.path(settings.out)
    work.say("Merging")
    if target.is_dir():  # a run of this job that was killed after it had written the base, before it said so
        files.remove_folder(target)
    elif target.exists():
        target.unlink()
    return {"merged": str(lorastyle.merge(base, work.paths(settings.adapters), target))}


def _as_text(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in told.items()}


Executor = Callable[[Any, Work], dict[str, Any]]
EXECUTORS: dict[type[tasks.Task], Executor] = {
    tasks.Train: train,
    tasks.Probe: probe,
    tasks.Describe: describe,
    tasks.Caption: caption,
    tasks.Generate: generate,
    tasks.Grid: grid,
    tasks.Export: export,
    tasks.Import: import_,
    tasks.Mix: mix,
    tasks.Merge: merge,
    tasks.Publish: publish,
}


def execute(task: tasks.Task, work: Work) -> dict[str, Any]:
    """Do the task; returns what came of it, for the job's result."""
    return EXECUTORS[type(task)](task, work)
