"""What can be compared: the base alone, an adapter, a checkpoint of a training, or a picture that is already there.

A side is written as "base", "adapter:ID", "checkpoint:JOB:STEP" or "picture:JOB", and becomes a job that draws one
picture. All sides of a comparison have the same prompt and seed, and so begin as the same noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorastyle import Area, BadInput, Job, Jobs, Workspace
from ui.pages.compare import table
from ui.widgets.choices import Choices, titles_of

BASE = "base"
ALIVE = ("queued", "running", "pausing", "paused", "done")


@dataclass(frozen=True)
class Scene:
    """What all sides share. `details` are settings of drawing (steps, guidance, ...), of a picture that was sent."""

    prompt: str
    seed: int
    base: str
    details: Mapping[str, Any] = field(default_factory=dict)


def choices(jobs: Jobs, here: Area, pictures: Sequence[Job]) -> Choices:
    """All that this person can compare, `pictures` among it; the trainings' newest checkpoints first."""
    sent = [(f"The picture with {label(picture, here)}", f"picture:{picture.id}") for picture in pictures]
    adapters = [(card.title, f"adapter:{card.id}") for card in here.library().cards()]
    steps = [
        (f"{training.title}, step {checkpoint['step']}", f"checkpoint:{training.id}:{checkpoint['step']}")
        for training in jobs.list(here.user, task="train")
        for checkpoint in reversed(jobs.checkpoints(training.id, here.user))
    ]
    return [("The base alone", BASE), *sent, *adapters, *steps]


def base_of(workspace: Workspace, here: Area, sides: tuple[str | None, str | None]) -> str:
    """The base that both sides are for; raises BadInput where they are for two different ones."""
    named = (base for side in sides if (base := _base(workspace.jobs, here, side)))
    bases = dict.fromkeys(_loaded_by(here, base) for base in named)
    if len(bases) > 1:
        raise BadInput("the two sides", f"they are for different bases, {' and '.join(map(_short, bases))}",
                       "choose two that were taught on the same base")  # fmt: skip
    return next(iter(bases), workspace.settings.default_base)


def drawn(jobs: Jobs, here: Area, side: str, strength: float, scene: Scene) -> Job:
    """The job that draws this side: one that did so already, or a new one."""
    kind, _, rest = side.partition(":")
    if kind == "picture":
        return jobs.get(rest, here.user)
    if kind == "checkpoint":
        training, _, step = rest.partition(":")
        return _checkpoint(jobs, here, jobs.get(training, here.user), step_of(step), strength, scene)
    adapters = {} if kind == BASE else {rest: strength}
    return _with_adapters(jobs, here, adapters, scene)


def _with_adapters(jobs: Jobs, here: Area, adapters: dict[str, float], scene: Scene) -> Job:
    library = here.library()
    paths = {str(library.card(adapter).path): strength for adapter, strength in adapters.items()}
    base = here.base(scene.base)
    wanted = {"prompts": [scene.prompt], "adapters": paths, "seed": scene.seed, "base": base, **scene.details}
    known = _known(jobs, here, "generate", wanted)
    return known or here.generate(scene.base, [scene.prompt], adapters, seed=scene.seed, **scene.details)


def _checkpoint(jobs: Jobs, here: Area, training: Job, step: int, strength: float, scene: Scene) -> Job:
    if any(scene.details.get(name) for name in ("negative", "width", "height")):
        what = "a checkpoint is drawn in the base's own size, and without a negative prompt"
        raise BadInput("The two sides", what, "compare this picture with the base or with an adapter of the library")
    details = {name: scene.details[name] for name in ("steps", "guidance") if name in scene.details}
    paths = [str(one["path"]) for one in jobs.checkpoints(training.id, here.user) if one["step"] == step]
    wanted = {"checkpoints": paths, "strengths": [strength], "prompts": [scene.prompt], "seed": scene.seed, **details}
    known = _known(jobs, here, "grid", wanted)
    return known or here.grid(training.id, [step], [strength], [scene.prompt], scene.seed, **details)


def _known(jobs: Jobs, here: Area, task: str, wanted: Mapping[str, Any]) -> Job | None:
    """A job with these settings that is not over without a picture."""
    for job in jobs.list(here.user, task=task, states=ALIVE):
        if all(job.settings.get(name) == value for name, value in wanted.items()):
            return job
    return None


def step_of(chosen: Any) -> int:
    """The step of a checkpoint in a list, which takes typed words too; raises BadInput for those."""
    try:
        return int(chosen)
    except (TypeError, ValueError):
        raise BadInput("the checkpoints", f"{chosen!r} is no step", "choose from the list") from None


def _base(jobs: Jobs, here: Area, side: str | None) -> str:
    kind, _, rest = (side or "").partition(":")
    if kind == "adapter":
        return here.library().card(rest).base
    if kind in ("checkpoint", "picture"):
        return str(jobs.get(rest.partition(":")[0], here.user).settings["base"])
    if kind != BASE:
        raise BadInput("the two sides", "one is not chosen", "choose what to compare from the list")
    return ""


def picture(job: Job) -> Path | None:
    """The picture that a job drew; of a grid its first."""
    if job.state != "done":
        return None
    return Path(job.result["images"][0] if job.task == "generate" else job.result["cells"][0]["path"])


def side_of(job: Job, here: Area) -> tuple[str, float]:
    """The side that a job drew, and its strength, as it stands in the lists."""
    if job.task == "grid":
        checkpoint = Path(job.settings["checkpoints"][0])
        training = checkpoint.parents[3].name  # jobs/ID/run/checkpoints/step-000100/adapter.safetensors
        return f"checkpoint:{training}:{table.step_of(str(checkpoint))}", job.settings["strengths"][0]
    ids = {str(card.path): card.id for card in here.library().cards()}
    adapters = [*job.settings["adapters"].items()]
    if not adapters:
        return BASE, 1.0
    path, strength = adapters[0]
    return (f"adapter:{ids[path]}", strength) if len(adapters) == 1 and path in ids else (f"picture:{job.id}", 1.0)


def label(job: Job, here: Area) -> str:
    """What a side shows, in words."""
    if job.task == "grid":
        return f"step {table.step_of(job.settings['checkpoints'][0]):,} at {job.settings['strengths'][0]:g}"
    titles = titles_of(here)
    adapters = job.settings.get("adapters", {})
    named = [f"{titles.get(path, Path(path).stem)} at {strength:g}" for path, strength in adapters.items()]
    return " and ".join(named) or "the base alone"


def _loaded_by(here: Area, base: str) -> str:
    """What a base is loaded by, which jobs have; adapters have its name. One that may not be used here stays a name."""
    try:
        return here.base(base)
    except BadInput:
        return base


def _short(base: str) -> str:
    return Path(base).name if Path(base).is_absolute() else base
