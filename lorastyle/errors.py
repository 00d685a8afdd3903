"""The errors that lorastyle raises on purpose, one small tree.

Whoever catches :class:`LorastyleError` has caught them all. Those about input say where the fault is,
what is wrong and what to do about it, in words that need no traceback.
"""

from pathlib import Path


class LorastyleError(Exception):
    """Root of every error that lorastyle raises on purpose."""


class BadInput(LorastyleError):
    """Something the user gave cannot be used.

    `where` names the file or the field (``recipe.rank``, ``photos/cat.jpg``), `what` says what is wrong with it,
    `do` says what to do about it.
    """

    def __init__(self, where: str, what: str, do: str) -> None:
        super().__init__(where, what, do)
        self.where = where
        self.what = what
        self.do = do

    def __str__(self) -> str:
        do = _sentence(self.do)
        return f"{self.where}: {_sentence(self.what)} {do[:1].upper()}{do[1:]}".rstrip()


class BadFile(BadInput):
    """A file or folder that cannot be used; `where` is its path."""


class Unsupported(BadInput):
    """Understood, but not possible with this base or this version."""


class Diverged(LorastyleError):
    """The loss or a gradient stopped being a finite number.

    `step` is the training step, `sample` the name of the image, `timestep` the noise level at which it happened,
    `what` names the quantity ("loss", or the layer whose gradient it was).
    """

    def __init__(self, step: int, sample: str, timestep: float, what: str) -> None:
        super().__init__(step, sample, timestep, what)
        self.step = step
        self.sample = sample
        self.timestep = timestep
        self.what = what

    def __str__(self) -> str:
        return (
            f"Training diverged at step {self.step}: {self.what} is not a finite number "
            f"(image {self.sample}, timestep {self.timestep:g}). Try a lower learning rate, or precision fp32."
        )


class Interrupted(LorastyleError):
    """The run was asked to stop; everything up to `step` is saved in the folder `checkpoint`."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(step, checkpoint)
        self.step = step
        self.checkpoint = checkpoint

    def __str__(self) -> str:
        return f"Interrupted after step {self.step}; saved in {self.checkpoint}. Continue it with --resume."


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".!?" else f"{text}."
