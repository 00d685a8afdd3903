"""The trainer: one loop over the steps of a cohort on one frozen base. A solo run is a cohort of one.

run = lorastyle.train(base, lorastyle.Dataset.open("sample_data/ink"), lorastyle.Recipe(), out="runs/ink")
"""

import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from lorastyle import files
from lorastyle.adapters.file import Adapter, load, save
from lorastyle.bases.base import Base
from lorastyle.data.dataset import Dataset
from lorastyle.errors import BadInput, Interrupted
from lorastyle.recipe import Recipe
from lorastyle.training import publishing
from lorastyle.training.checkpoint import read_checkpoint, write_checkpoint
from lorastyle.training.examples import Examples, prepare, release_encoders
from lorastyle.training.folder import Run, open_run, write_dataset
from lorastyle.training.memory import memory_in_use
from lorastyle.training.metrics import Metrics
from lorastyle.training.optimizers import learning_rate_share
from lorastyle.training.start import continuing, digest, read_start
from lorastyle.training.stepper import MEMBER, Stepper, stepping
from lorastyle.training.stopping import StopRequest
from lorastyle.training.wishes import Ask, Wishes


@dataclass(frozen=True)
class Progress:
    """What a run says of itself after each step; seconds and speed are of this process."""

    step: int
    steps: int
    loss: float
    smoothed: float
    seconds: float
    steps_per_second: float
    held_out: float | None

    @property
    def seconds_left(self) -> float:
        return (self.steps - self.step) / self.steps_per_second


Report = Callable[[Progress], None]


def train(
    base: Base,
    data: Dataset,
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    report: Report | None = None,
    start: Path | str | None = None,
    wishes: Ask | None = None,
) -> Run:
    """Train one adapter and write everything of the run into the folder `out`.

    Args:
        recipe: open settings are filled in from the base's preset for the recipe's purpose.
        resume: continue from the newest whole checkpoint in `out`, to the same bytes as a run never stopped.
        report: called after each step.
        start: an adapter file, of any tool, whose factors are trained on instead of new ones. The run keeps a copy, so
            resuming does without it.
        wishes: asked before each step what is wanted: a preview, a checkpoint, other preview prompts.

    Raises:
        BadInput: the folder holds a run and `resume` is off; the recipe does not fit the base, the data or `start`.
        Diverged: the loss or a gradient is not finite; the last checkpoint stays.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
    """
    given = started_from(Run(Path(out).resolve()), start, base, resume)
    recipe = continuing(recipe, given) if given else recipe
    data, recipe = data.on_background(recipe.background), with_trigger_word(recipe, data)
    recipe = recipe.resolved(base.preset(recipe.purpose), len(data.samples), base.resolution, base.guidance)
    base = base.set_for(recipe)
    for caution in base.cautions:
        warnings.warn(caution, stacklevel=2)
    run = open_run(out, resume)
    if given and not run.start.is_file():
        save(run.start, given)
    files.write_text(run.recipe, recipe.to_toml())
    examples = prepare(base, data, recipe, publishing.prompts(data, recipe))
    write_dataset(run, examples, [vars(refused) for refused in data.refused])
    release_encoders(base, recipe)
    made_of = made_from(base, examples, recipe, given)  # before layers are put in place of others
    with stepping(base, examples, recipe, tracked_accelerator(recipe, run), given) as stepper:
        trainer = Trainer(stepper, run, made_of, report or (lambda progress: None), wishes)
        trainer.restore()
        trainer.loop()
        publishing.publish(run, trainer.studio, trainer.published(), data)
    return run


def started_from(run: Run, start: Path | str | None, base: Base, resume: bool) -> Adapter | None:
    """The adapter to go on from; a run that is resumed has its own copy.

    Raises BadInput where that is another than the one in the file `start`.
    """
    if not (resume and run.start.is_file()):
        return read_start(start, base) if start else None
    kept = load(run.start)
    if start and Path(start).exists() and digest(read_start(start, base)) != digest(kept):
        raise BadInput(str(start), "this run was started from another adapter", "resume with that one, or with none")
    return kept


def with_trigger_word(recipe: Recipe, data: Dataset) -> Recipe:
    """The recipe with the dataset's name as trigger word, where one is needed and none was given."""
    if recipe.trigger or not (recipe.purpose != "style" or any("[trigger]" in one.caption for one in data.samples)):
        return recipe
    word = re.sub(r"\W+", "", data.name).lower()
    warnings.warn(f"no trigger word was given; the dataset's name is taken: {word}", stacklevel=3)
    return recipe.changed({"trigger": word})


def made_from(base: Base, examples: Examples, recipe: Recipe, given: Adapter | None) -> dict[str, object]:
    """What a checkpoint must have been made from to be continued."""
    made_of: dict[str, object] = {
        "recipe": recipe.essence(),
        "dataset": [example.sample.hash for example in (*examples.trained, *examples.held)],
        "base": base.fingerprint("denoiser"),
    }
    return made_of | ({"adapter to go on from": digest(given)} if given else {})


def tracked_accelerator(recipe: Recipe, run: Run) -> Accelerator:
    """The device and the trackers of a run; raises BadInput where a tracker is not installed."""
    installed = [str(tracker) for tracker in get_available_trackers()]
    for tracker in recipe.trackers:
        if tracker not in installed:
            do = f"install it (pip install 'lorastyle[{tracker}]') or leave it out"
            raise BadInput("recipe.trackers", f"{tracker} is not installed", do)
    accelerator = Accelerator(log_with=list(recipe.trackers) or None, project_dir=str(run.folder))
    if recipe.trackers:
        accelerator.init_trackers(run.name, config=recipe.essence())
    return accelerator


class Trainer:
    """A run from its newest checkpoint to its end: the loop over the steps and what happens between them."""

    def __init__(
        self, stepper: Stepper, run: Run, made_of: Mapping[str, object], report: Report, ask: Ask | None = None
    ) -> None:
        recipe = stepper.recipe
        assert recipe.steps is not None, "the recipe is not resolved"
        self.stepper, self.run, self.made_of, self.report = stepper, run, made_of, report
        self.recipe, self.steps, self.ask = recipe, recipe.steps, ask
        self.studio = publishing.Studio(
            stepper.base, stepper.injection, MEMBER, stepper.encode, recipe, stepper.examples.prompts
        )

    @property
    def step(self) -> int:
        return self.stepper.step

    def loop(self) -> None:
        """Train until the last step, or raise Interrupted at the first step boundary after a request to stop."""
        metrics, accelerator = Metrics(self.run.metrics, self.step), self.stepper.accelerator
        begun, first = time.perf_counter(), self.step
        with StopRequest() as stop:
            while self.step < self.steps:
                self.grant(self.ask() if self.ask else Wishes())
                loss = self.stepper.advance()
                relative = self.relative_held_out()
                seconds = time.perf_counter() - begun
                row = metrics.add(self.step, loss, **self.measured(relative, seconds))
                accelerator.log({name: value for name, value in row.items() if name != "step"}, step=self.step)
                speed = (self.step - first) / seconds
                self.report(Progress(self.step, self.steps, loss, row["smoothed"], seconds, speed, relative))
                self.pause(stop)
        accelerator.end_training()

    def grant(self, wishes: Wishes) -> None:
        """Do what was asked for; it reads the state and changes none of it."""
        if wishes.prompts:
            self.studio = self.studio.showing(wishes.prompts)
            self.stepper.embed(self.studio.prompts)
        if wishes.sample:
            publishing.write_samples(self.run, self.studio, self.step)
        if wishes.save:
            self.save()

    def pause(self, stop: StopRequest) -> None:
        """What happens between steps: previews, checkpoints, stopping."""
        recipe = self.recipe
        if recipe.preview_every and self.step % recipe.preview_every == 0:
            publishing.write_samples(self.run, self.studio, self.step)
        if self.step % recipe.checkpoint_every == 0 or self.step == self.steps or stop.asked:
            self.save()
        if stop.asked and self.step < self.steps:
            raise Interrupted(self.step, self.run.checkpoints[-1].folder)

    def measured(self, relative: float | None, seconds: float) -> dict[str, float]:
        rate = self.recipe.learning_rate * learning_rate_share(self.step - 1, self.recipe)
        memory = memory_in_use(self.stepper.base.device)
        row = {"learning_rate": rate, "seconds": round(seconds, 3), "memory_bytes": memory}
        return row if relative is None else row | {"held_out": relative}

    def relative_held_out(self) -> float | None:
        """The held-out loss as a share of the base's own, at the steps where it is due."""
        due = self.step % self.recipe.held_out_every == 0 or self.step == self.steps
        return self.stepper.relative_held_out() if self.stepper.examples.held and due else None

    def published(self) -> Adapter:
        return publishing.described(self.stepper.adapter(), self.stepper.base, self.recipe, self.run.name)

    def save(self) -> None:
        folder, kept = self.run.folder / "checkpoints", self.recipe.keep_checkpoints
        write_checkpoint(folder, self.step, self.published(), self.stepper.tensors(), self.made_of, kept)

    def restore(self) -> None:
        """Continue from the newest checkpoint, if the run has one."""
        if self.run.checkpoints:
            newest = self.run.checkpoints[-1]
            self.stepper.restore(newest.step, read_checkpoint(newest, self.made_of))
