"""Drawing pictures from prompts with any number of adapters."""

import itertools
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from lorastyle.adapters.file import Adapter, load
from lorastyle.adapters.inject import Injection, inject
from lorastyle.bases.base import Base
from lorastyle.errors import BadInput
from lorastyle.generation.parameters import texts, used
from lorastyle.generation.sampling import Row, sample
from lorastyle.recipe import Recipe

Strengths = Mapping[Path | str | Adapter, float]


def generate(
    base: Base,
    prompts: Sequence[str],
    adapters: Strengths | Sequence[Strengths] | None = None,
    *,
    negative: str = "",
    seed: int = 0,
    steps: int = 20,
    guidance: float | None = None,
    width: int | None = None,
    height: int | None = None,
    batch: int = 4,
    clip_skip: int | None = None,
    zero_terminal_snr: bool | None = None,
    numbers: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Image.Image]:
    """Draw one picture for each prompt; the base is afterwards as it was before.

    The same seed gives the same picture for the prompt at the same place in the list, whatever the batch (to within
    rounding: a base's own kernels may differ in the last bits between batch sizes).

    Args:
        adapters: adapter files or adapters with the strength of each; one such mapping for all prompts, or a list
            with one for each. Strength 0 is the base itself.
        negative: what the pictures should not show.
        steps: of denoising. `guidance`: how closely to follow the prompt, 1 is off; by default the base's own.
        width, height: in pixels; by default the base's own resolution.
        batch: how many pictures are drawn at once.
        clip_skip, zero_terminal_snr: by default as the recipes of the adapters have them, of all rows together; where
            they do not agree, as the base is set, and a warning says so.
        numbers: with the seed they fix the noise that each picture begins as; by default the places in the list. The
            same number for two prompts, or for two sets of adapters, makes their pictures comparable.
        progress: called after each step with the steps done and the steps in all; what it raises ends the drawing.

    Returns:
        The pictures. Their `info` says how they were drawn, and :func:`lorastyle.files.write_image` keeps that.

    Raises:
        BadInput: an argument cannot be used, or an adapter was made for another family of bases.
        BadFile: an adapter's file cannot be used.
    """
    if isinstance(prompts, str):
        raise BadInput("prompts", "this is one text, not a list of prompts", "put it into a list")
    strengths = _strengths(adapters, len(prompts))
    names = {given: _name(given, number) for number, given in enumerate(dict.fromkeys(itertools.chain(*strengths)), 1)}
    loaded = {name: _read(base, given) for given, name in names.items()}
    recipe = _as_taught(base, loaded.values(), clip_skip, zero_terminal_snr)
    base = base.set_for(recipe)
    guidance = base.guidance if guidance is None else guidance
    _check_guidance(base, guidance, negative)
    most = base.noise.steps
    _require(1 <= steps <= most, "steps", steps, f"choose 1 to {most}; 20 to 50 are usual")
    _require(batch >= 1, "batch", batch, "choose 1 or more")
    for name, side in (("width", width), ("height", height)):
        fits = side is None or (side > 0 and side % base.divisor == 0)
        _require(fits, name, side, f"choose a multiple of {base.divisor}")
    numbers = list(range(len(prompts)) if numbers is None else numbers)
    if len(numbers) != len(prompts):
        what = f"there are {len(numbers)} numbers for {len(prompts)} prompts"
        raise BadInput("numbers", what, "give one for each prompt")
    rows = [
        Row(prompt, negative, seed, number, {names[given]: strength for given, strength in wanted.items()})
        for number, prompt, wanted in zip(numbers, prompts, strengths, strict=True)
    ]
    count = _Counter(progress, steps * math.ceil(len(rows) / batch))
    images: list[Image.Image] = []
    with _injected(base, loaded) as injection:
        for start in range(0, len(rows), batch):
            images += sample(
                base,
                rows[start : start + batch],
                injection,
                steps=steps,
                guidance=guidance,
                width=width,
                height=height,
                after_step=count,
            )
    settings = {
        "steps": steps,
        "guidance": guidance,
        "width": width or base.resolution,
        "height": height or base.resolution,
        "clip_skip": recipe.clip_skip,
        "zero_terminal_snr": recipe.zero_terminal_snr,
        "precision": recipe.precision,
    }
    told = {name: used(given) for given, name in names.items()}
    for image, row in zip(images, rows, strict=True):
        image.info.update(texts(base, row, told, settings))
    return images


def _check_guidance(base: Base, guidance: float, negative: str) -> None:
    _require(math.isfinite(guidance) and guidance >= 0, "guidance", guidance, "choose 1 (off) or more, such as 5")
    _require(not negative or guidance > 1, "negative", "a negative prompt without guidance", "choose guidance above 1")
    if negative and base.embeds_guidance:
        what = f"{base.name} draws in one go, guidance included, and reads no negative prompt"
        raise BadInput("negative", what, "leave it out")


def _require(holds: bool, where: str, given: object, do: str) -> None:
    if not holds:
        raise BadInput(where, f"{given} is not possible with this base", do)


def _strengths(adapters: Strengths | Sequence[Strengths] | None, prompts: int) -> list[Strengths]:
    """The strengths of the adapters for each prompt."""
    rows = [adapters or {}] * prompts if adapters is None or isinstance(adapters, Mapping) else list(adapters)
    if len(rows) != prompts:
        what = f"there are {len(rows)} sets of adapters for {prompts} prompts"
        raise BadInput("adapters", what, "give one set for each prompt, or one for all")
    for given, strength in itertools.chain(*(row.items() for row in rows)):
        if not math.isfinite(strength):
            raise BadInput("adapters", f"the strength of {_called(given)} is {strength}", "give a number")
    return rows


def _read(base: Base, given: Path | str | Adapter) -> Adapter:
    adapter = given if isinstance(given, Adapter) else load(Path(given))
    if adapter.family and adapter.family != base.family.name:
        what = f"it was made for a base of the family {adapter.family}, and {base.name} is of {base.family.name}"
        raise BadInput(_called(given), what, "use the base it was made for")
    return adapter


def _as_taught(
    base: Base, adapters: Collection[Adapter], clip_skip: int | None, zero_terminal_snr: bool | None
) -> Recipe:
    """What the base is to be set for."""
    if clip_skip is None:
        clip_skip = _agreed(adapters, "clip_skip", base.clip_skip)
    if zero_terminal_snr is None:  # one that predicts the noise cannot, though an adapter for its like was made so
        zero_terminal_snr = base.noise.prediction == "v_prediction" and _agreed(adapters, "zero_terminal_snr", False)
    return Recipe(clip_skip=clip_skip, zero_terminal_snr=zero_terminal_snr, precision=base.precision)


def _agreed(adapters: Collection[Adapter], setting: str, otherwise: Any) -> Any:
    """What the recipes of all adapters that have one say; where they differ, `otherwise`, and a warning says so."""
    told = [adapter.recipe[setting] for adapter in adapters if setting in adapter.recipe]
    if told and all(one == told[0] for one in told):
        return told[0]
    if told:
        taught = " and ".join(dict.fromkeys(map(str, told)))
        warnings.warn(f"the adapters were taught with {setting} {taught}; all are drawn with {otherwise}", stacklevel=4)
    return otherwise


def _called(given: Path | str | Adapter) -> str:
    return "the adapter" if isinstance(given, Adapter) else str(given)


def _name(given: Path | str | Adapter, number: int) -> str:
    """What errors call an adapter; with its number, since two may be called the same."""
    return f"adapter {number}" if isinstance(given, Adapter) else f"adapter {number} ({given})"


@contextmanager
def _injected(base: Base, adapters: Mapping[str, Adapter]) -> Iterator[Injection | None]:
    """The base with these adapters; None where there are none, and then the base is not touched."""
    if not adapters:
        yield None
        return
    injection = inject(base.models, {})
    try:
        for name, adapter in adapters.items():
            injection.add(name, adapter)
        injection.to(base.device)
        yield injection
    finally:
        injection.eject()


class _Counter:
    """Counts the steps of all batches for whoever shows progress."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)
