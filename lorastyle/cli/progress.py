"""How far training is, on stderr."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from lorastyle import Progress


class TrainingBar:
    """A bar with step, loss, speed and time left; where stderr is no terminal, a line now and then instead."""

    def __init__(self) -> None:
        from rich import console, progress

        self.console = console.Console(file=sys.stderr)
        said = progress.TextColumn("{task.fields[said]}")
        columns = (progress.TextColumn("training"), progress.BarColumn(), progress.MofNCompleteColumn(), said)
        self.bar = progress.Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("training", total=None, said="")
        self.steps, self.seconds = 0, 0.0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, step: "Progress") -> None:
        self.steps, self.seconds = step.step, step.seconds
        said = f"loss {step.smoothed:.4f}  {step.steps_per_second:.2f} steps/s  {clock(step.seconds_left)} left"
        if step.held_out is not None:
            said += f"  held-out {step.held_out:.3f} of the base's"
        self.bar.update(self.task, total=step.steps, completed=step.step, said=said)
        if self.bar.disable and (step.step % 20 == 0 or step.step in (1, step.steps)):
            self.console.print(f"step {step.step}/{step.steps}  {said}", highlight=False)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
