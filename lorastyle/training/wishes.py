"""What a person asks of a run while it trains."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Wishes:
    """What is wanted before the next step. None of it changes what is learnt.

    sample: draw the preview prompts now. save: write a checkpoint now. prompts: preview from now on with these, for the
    comparison at the end too; None keeps those there are.
    """

    sample: bool = False
    save: bool = False
    prompts: tuple[str, ...] | None = None


Ask = Callable[[], Wishes]
"""Asked before every step, the first one too; it is wanted once, so the next answer is to be without it."""
