"""The trainer: one loop over the steps of a cohort on one frozen base. A solo run is a cohort of one.

run = lorastyle.train(base, lorastyle.Dataset.open("sample_data/ink"), lorastyle.Recipe(), out="runs/ink")
"""

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from torch import Tensor

from lorastyle import files
from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import Injection, inject
from lorastyle.adapters.routing import Routing
from lorastyle.bases.base import Base
from lorastyle.data.dataset import Dataset
from lorastyle.draws import Key
from lorastyle.errors import BadInput, Diverged, Interrupted
from lorastyle.recipe import Recipe
from lorastyle.training import publishing
from lorastyle.training.batches import Batches, Row
from lorastyle.training.checkpoint import optimizer_tensors, read_checkpoint, restore_optimizer, write_checkpoint
from lorastyle.training.examples import Examples, prepare
from lorastyle.training.folder import Run, open_run, write_dataset
from lorastyle.training.gradients import check_coverage, clip, member_norms
from lorastyle.training.metrics import Metrics
from lorastyle.training.objective import Conditioning, denoising_losses, held_out_loss, noised, preservation_losses
from lorastyle.training.optimizers import build_optimizer, learning_rate_share, set_learning_rate
from lorastyle.training.stopping import StopRequest

MEMBER = "adapter"  # the stable name by which a solo run's draws are keyed


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
    base: Base, data: Dataset, recipe: Recipe, out: Path | str, *, resume: bool = False, report: Report | None = None
) -> Run:
    """Train one adapter and write everything of the run into the folder `out`.

    Args:
        recipe: open settings are filled in from the base's preset for the recipe's purpose.
        resume: continue from the newest whole checkpoint in `out`, to the same bytes as a run never stopped.
        report: called after each step.

    Raises:
        BadInput: the folder holds a run and `resume` is off; the recipe does not fit the base or the data.
        Diverged: the loss or a gradient is not finite; the last checkpoint stays.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
    """
    data, recipe = data.on_background(recipe.background), with_trigger_word(recipe, data)
    recipe = recipe.resolved(base.preset(recipe.purpose), len(data.samples), base.resolution, base.guidance)
    base = base.set_for(recipe)
    for caution in base.cautions:
        warnings.warn(caution, stacklevel=2)
    run = open_run(out, resume)
    files.write_text(run.recipe, recipe.to_toml())
    examples = prepare(base, data, recipe, publishing.prompts(data, recipe))
    write_dataset(run, examples, [vars(refused) for refused in data.refused])
    if not recipe.text_encoder_learning_rate:
        base.unload("text")
    base.unload("autoencoder")
    made_of = made_from(base, examples, recipe)  # before layers are put in place of others
    patterns = base.target_patterns(recipe)
    injection = inject({part: base.models[part] for part in patterns}, patterns)
    try:
        trainer = Trainer(base, examples, recipe, run, injection, made_of, report or (lambda progress: None))
        trainer.restore()
        trainer.loop()
        publishing.publish(run, trainer.studio, trainer.published(), data)
    finally:
        injection.eject()
        base.checkpoint_gradients(False)
    return run


def with_trigger_word(recipe: Recipe, data: Dataset) -> Recipe:
    """The recipe with the dataset's name as trigger word, where one is needed and none was given."""
    if recipe.trigger or not (recipe.purpose != "style" or any("[trigger]" in one.caption for one in data.samples)):
        return recipe
    word = re.sub(r"\W+", "", data.name).lower()
    warnings.warn(f"no trigger word was given; the dataset's name is taken: {word}", stacklevel=3)
    return recipe.changed({"trigger": word})


def made_from(base: Base, examples: Examples, recipe: Recipe) -> dict[str, object]:
    """What a checkpoint must have been made from to be continued."""
    return {
        "recipe": recipe.essence(),
        "dataset": [example.sample.hash for example in (*examples.trained, *examples.held)],
        "base": base.fingerprint("denoiser"),
    }


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
    """The state of a run: the step, the factors and their averages, the optimizer. All else follows from these."""

    def __init__(
        self,
        base: Base,
        examples: Examples,
        recipe: Recipe,
        run: Run,
        injection: Injection,
        made_of: Mapping[str, object],
        report: Report,
    ) -> None:
        assert recipe.steps is not None, "the recipe is not resolved"
        self.base, self.examples, self.recipe, self.run = base, examples, recipe, run
        self.injection, self.made_of, self.report = injection, made_of, report
        self.step, self.steps = 0, recipe.steps
        self.accelerator = tracked_accelerator(recipe, run)
        base.to(self.accelerator.device)
        injection.create(
            MEMBER,
            kind=recipe.kind,
            rank=recipe.rank,
            alpha=recipe.alpha,
            rslora=recipe.rslora,
            key=Key(recipe.seed, MEMBER),
            ranks=recipe.ranks,
            alphas=recipe.alphas,
            settings=recipe.of_kind(),
        )
        injection.to(self.accelerator.device)
        base.checkpoint_gradients(recipe.gradient_checkpointing)
        self.factors = injection.factors()
        self.parameters = [parameter for _, _, parameter in self.factors]
        self.averages = [parameter.detach().clone() for parameter in self.parameters] if recipe.ema else []
        self.optimizer = build_optimizer(self.factors, recipe)
        self.batches = Batches(MEMBER, examples.trained, recipe)
        self.studio = publishing.Studio(base, injection, MEMBER, self.encode, recipe, examples.prompts)

    # one step

    def advance(self) -> float:
        """One optimizer step; returns the loss."""
        recipe, loss = self.recipe, 0.0
        set_learning_rate(self.optimizer, learning_rate_share(self.step, recipe))
        self.optimizer.zero_grad()
        for micro in range(recipe.accumulation):
            rows = self.batches.rows(self.step * recipe.accumulation + micro)
            loss += self.backward(rows) / recipe.accumulation
        norms = member_norms(self.parameters)
        if not torch.isfinite(norms).all():
            raise self.diverged(rows, "a gradient")
        if any(row.caption for row in rows):  # without a caption nothing may reach the text encoders
            check_coverage(self.step, self.factors)
        if recipe.gradient_clip:
            clip(self.parameters, norms, recipe.gradient_clip)
        self.optimizer.step()
        for average, parameter in zip(self.averages, self.parameters, strict=bool(self.averages)):
            average.lerp_(parameter.detach(), 1 - min(recipe.ema, (self.step + 1) / (self.step + 10)))
        self.step += 1
        return loss

    def backward(self, rows: Sequence[Row]) -> float:
        """Add the gradient of these rows' mean loss; the routing stays open until backward is through."""
        routing = self.routing(len(rows))
        with self.injection.router.use(routing):
            with self.autocast():
                losses = denoising_losses(self.base, rows, self.encode, self.recipe.min_snr)
                if self.recipe.preservation and self.step % 2:
                    held = preservation_losses(self.base, rows, self.encode, self.injection.router, routing)
                    losses = losses + self.recipe.preservation * held
            if not torch.isfinite(losses).all():
                bad = int((~torch.isfinite(losses)).nonzero()[0])
                raise self.diverged(rows[bad:], "the loss")
            loss = losses.mean()
            self.accelerator.backward(loss / self.recipe.accumulation)
        return loss.item()

    def routing(self, rows: int) -> Routing:
        return self.injection.route([{MEMBER: 1.0}] * rows)

    def autocast(self) -> AbstractContextManager[object]:
        # Entered anew for each step: its cache of cast weights would go stale on factors that change.
        if self.recipe.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.accelerator.device.type, torch.bfloat16)

    def encode(self, captions: Sequence[str]) -> Conditioning:
        if self.recipe.text_encoder_learning_rate:
            return self.base.encode_prompts(list(captions))
        conditioning = self.examples.conditioning(captions)
        return {name: tensor.to(self.accelerator.device) for name, tensor in conditioning.items()}

    def diverged(self, rows: Sequence[Row], what: str) -> Diverged:
        timestep = float(noised(self.base, rows)[2][0])
        return Diverged(self.step, rows[0].example.sample.name, timestep, what)

    # the run

    def loop(self) -> None:
        """Train until the last step, or raise Interrupted at the first step boundary after a request to stop."""
        metrics = Metrics(self.run.metrics, self.step)
        begun, first = time.perf_counter(), self.step
        with StopRequest() as stop:
            while self.step < self.steps:
                loss = self.advance()
                relative = self.relative_held_out()
                seconds = time.perf_counter() - begun
                row = metrics.add(self.step, loss, **self.measured(relative, seconds))
                self.accelerator.log({name: value for name, value in row.items() if name != "step"}, step=self.step)
                speed = (self.step - first) / seconds
                self.report(Progress(self.step, self.steps, loss, row["smoothed"], seconds, speed, relative))
                self.pause(stop)
        self.accelerator.end_training()

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
        row = {"learning_rate": rate, "seconds": round(seconds, 3)}
        return row if relative is None else row | {"held_out": relative}

    def relative_held_out(self) -> float | None:
        """The held-out loss as a share of the base's own, at the steps where it is due."""
        due = self.step % self.recipe.held_out_every == 0 or self.step == self.steps
        return self.held_out(self.routing) / self.base_held_out if self.examples.held and due else None

    @cached_property
    def base_held_out(self) -> float:
        """The base's own held-out loss."""
        return self.held_out(Routing.base)

    def held_out(self, routing: Callable[[int], Routing]) -> float:
        with self.autocast():
            return held_out_loss(
                self.base, self.examples, self.recipe.seed, self.encode, self.injection.router, routing
            )

    # saving

    def published(self) -> Adapter:
        """The adapter as it is published: the averaged factors, where the recipe averages."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        self.overwrite(self.averages or current)
        adapter = self.injection.adapter(MEMBER)
        self.overwrite(current)
        return publishing.described(adapter, self.base, self.recipe, self.run.name)

    def overwrite(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def save(self) -> None:
        tensors = {f"factor/{number}": parameter.detach().cpu() for number, parameter in enumerate(self.parameters)}
        tensors |= {f"average/{number}": average.cpu() for number, average in enumerate(self.averages)}
        tensors |= optimizer_tensors(self.optimizer)
        folder = self.run.folder / "checkpoints"
        write_checkpoint(folder, self.step, self.published(), tensors, self.made_of, self.recipe.keep_checkpoints)

    def restore(self) -> None:
        """Continue from the newest checkpoint, if the run has one."""
        if not self.run.checkpoints:
            return
        newest = self.run.checkpoints[-1]
        tensors = read_checkpoint(newest, self.made_of)
        self.overwrite([tensors[f"factor/{number}"] for number in range(len(self.parameters))])
        for number, average in enumerate(self.averages):
            average.copy_(tensors[f"average/{number}"])
        restore_optimizer(self.optimizer, tensors)
        self.step = newest.step
