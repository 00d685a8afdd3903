"""What a training will take, measured on this machine by a few of its steps; nothing of them is kept.

estimate = lorastyle.estimate(base, lorastyle.Dataset.open("photos"), lorastyle.Recipe(purpose="character"))
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from lorastyle.adapters.file import Adapter
from lorastyle.bases.base import Base
from lorastyle.bases.layout import read_layout
from lorastyle.data.dataset import Dataset, Sample
from lorastyle.generation.sampling import Row, sample
from lorastyle.recipe import Recipe, held_out_images
from lorastyle.training import publishing
from lorastyle.training.examples import Examples, encode_once, prepare, release_encoders
from lorastyle.training.memory import Peak, free_memory, is_exhaustion, memory_in_use
from lorastyle.training.objective import STRATA
from lorastyle.training.start import continuing, read_start
from lorastyle.training.stepper import MEMBER, Stepper, stepping

PROBED = 4  # steps that are measured after one that warms up; an even number, as preservation costs every other
STATE = 3 * 4  # bytes that a factor's number takes while it learns: its gradient and two moments in fp32
FORWARD = 1 / 3  # of a step's time; going back takes twice as long as going forward

Count = Callable[[int, int], None]


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    steps: of training. seconds: from the command to the finished adapter, previews included; 0 where nothing could be
    measured. memory_bytes: the most it will hold at once, of the graphics card where there is one. free_bytes: what it
    could have. fits: whether that is enough. advice: the same in a sentence, and what to change where it does not fit.
    """

    steps: int
    seconds: float
    memory_bytes: int
    free_bytes: int
    fits: bool
    advice: str


@dataclass(frozen=True)
class Probe:
    """What was measured: seconds of one step and of one preview picture, the bytes held at most, and how many more
    each further row of a batch would take. No seconds where the memory did not suffice."""

    step: float
    picture: float
    bytes: int
    row_bytes: int


def estimate(
    base: Base,
    data: Dataset,
    recipe: Recipe,
    *,
    start: Path | str | None = None,
    progress: Count | None = None,
) -> Estimate:
    """Measure a few steps of what :func:`lorastyle.training.trainer.train` would do.

    It begins with a batch of one. Only where that tells that the whole batch fits is the whole batch tried, so that
    asking does not exhaust the memory.

    Args:
        start: the adapter that the training would go on from.
        progress: called with the measured steps done and in all; what it raises ends the measuring.

    Raises:
        BadInput: the recipe does not fit the base, the data or `start`.
    """
    given = read_start(start, base) if start else None
    recipe = continuing(recipe, given) if given else recipe
    data = data.on_background(recipe.background)
    recipe = recipe.resolved(base.preset(recipe.purpose), len(data), base.resolution, base.guidance)
    base, free = base.set_for(recipe), free_memory(base.device)
    if (weights := _weights(base)) > free:
        return _told(recipe, base.device, 0.0, weights, free)
    with Peak(base.device) as peak:
        prompts = publishing.prompts(data, recipe)
        examples = prepare(base, _largest(base, data, recipe), recipe.changed({"held_out": 0.0}), prompts[:1])
        encoding = encode_once(base, examples.trained[0])
        release_encoders(base, recipe)
    one = _probe(base, examples, recipe, 1, given, progress)
    needed = max(peak.bytes, one.bytes + (recipe.batch - 1) * one.row_bytes)
    if recipe.batch == 1 or needed > free or not one.step:
        probe, step = one, one.step * recipe.batch
    else:
        probe = _probe(base, examples, recipe, recipe.batch, given, progress)
        needed, step = max(peak.bytes, probe.bytes), probe.step
    if not probe.step:
        return _told(recipe, base.device, 0.0, max(needed, free + 1), free)
    seconds = _seconds(recipe, len(data), len(prompts), encoding, step, probe.picture)
    return _told(recipe, base.device, seconds, needed, free)


def _probe(
    base: Base, examples: Examples, recipe: Recipe, batch: int, given: Adapter | None, progress: Count | None
) -> Probe:
    """Measure steps and a picture with that batch; nothing is written."""
    probed = recipe.changed({"batch": batch, "accumulation": 1, "steps": max(recipe.steps or 0, PROBED + 1)})
    try:
        with stepping(base, examples, probed, Accelerator(), given) as stepper:
            held = memory_in_use(base.device)
            with Peak(base.device) as peak:
                step = _time_steps(stepper, progress)
                picture = _time_picture(stepper)
    except (MemoryError, RuntimeError) as error:
        if not is_exhaustion(error):
            raise
        return Probe(0.0, 0.0, peak.bytes, 0)
    state = STATE * sum(parameter.numel() for parameter in stepper.parameters)
    return Probe(step, picture, peak.bytes, max(0, peak.bytes - held - state))


def _time_steps(stepper: Stepper, progress: Count | None) -> float:
    """Seconds of one step without accumulation."""
    stepper.advance()
    begun = time.perf_counter()
    for done in range(PROBED):
        stepper.advance()
        if progress:
            progress(done + 1, PROBED)
    return (time.perf_counter() - begun) / PROBED


def _time_picture(stepper: Stepper) -> float:
    """Seconds of one preview, from two steps of its denoising."""
    recipe, marks = stepper.recipe, [time.perf_counter()]
    tried = min(2, recipe.preview_steps)
    row = Row(stepper.examples.prompts[0], seed=recipe.seed, adapters={MEMBER: 1.0})
    sample(
        stepper.base,
        [row],
        stepper.injection,
        steps=tried,
        guidance=recipe.guidance,
        encode=stepper.encode,
        after_step=lambda: marks.append(time.perf_counter()),
    )
    whole, last = time.perf_counter() - marks[0], marks[-1] - marks[-2]
    stepper.base.unload("autoencoder")
    return whole + (recipe.preview_steps - tried) * last


def _seconds(recipe: Recipe, images: int, prompts: int, encoding: float, step: float, picture: float) -> float:
    """Of the whole run: encoding, steps, what is measured on held-out images, previews and the comparison."""
    assert recipe.steps is not None, "the recipe is not resolved"
    previews = recipe.steps // recipe.preview_every if recipe.preview_every else 0
    measured = 2 + recipe.steps // recipe.held_out_every
    held_rows = held_out_images(recipe.held_out or 0.0, images) * STRATA
    return (
        encoding * images * (2 if recipe.flip else 1)
        + recipe.steps * recipe.accumulation * step
        + measured * held_rows * FORWARD * step / recipe.batch
        + (previews + 2) * prompts * picture
    )


def _largest(base: Base, data: Dataset, recipe: Recipe) -> Dataset:
    """The picture of the dataset that is trained with the most pixels, alone: batches are filled up with it."""

    def pixels(one: Sample) -> int:
        assert recipe.resolution is not None, "the recipe is not resolved"
        width, height = one.crop(recipe.resolution, base.divisor).bucket
        return width * height

    return replace(data, samples=(max(data.samples, key=pixels),))


def _weights(base: Base) -> int:
    """The bytes of the denoiser's weights as it will hold them; 0 where it was not read from files."""
    if base.source is None:
        return 0
    layout = read_layout(base.source)
    if layout.tensors:  # where encoders, which leave the memory, are in the file too, the denoiser's are called so
        own = {name: shape for name, shape in layout.tensors.items() if name.startswith("model.diffusion_model.")}
        shapes = [*(own or layout.tensors).values()]
    else:
        found = [file for part in base.role("denoiser") for file in layout.weights(part)]
        shapes = [shape for file in found for shape in read_layout(file).tensors.values()]
    return sum(map(math.prod, shapes)) * (2 if base.precision == "bf16" else 4)


def _told(recipe: Recipe, device: torch.device, seconds: float, needed: int, free: int) -> Estimate:
    assert recipe.steps is not None, "the recipe is not resolved"
    fits = needed <= free
    if fits:
        advice = f"It takes about {_duration(seconds)} and {_gigabytes(needed)} of memory."
    else:
        less = _ways_to_less(recipe, device) or "Train on a smaller base, or on a computer with more memory."
        advice = f"It needs about {_gigabytes(needed)} of memory, and {_gigabytes(free)} are free here. {less}"
    return Estimate(recipe.steps, seconds, needed, free, fits, advice)


def _ways_to_less(recipe: Recipe, device: torch.device) -> str:
    ways = [
        (recipe.batch > 1, "set the batch to 1"),
        (recipe.precision == "fp32" and device.type != "cpu", "set the precision to bf16"),  # processors are slow in it
        (not recipe.gradient_checkpointing, "switch gradient checkpointing on"),
        ((recipe.resolution or 0) > 512, "train at 512 pixels"),
    ]
    possible = [way for helps, way in ways if helps]
    text = " or ".join(possible)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
