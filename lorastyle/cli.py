"""The command line: `lorastyle train`, `generate`, `inspect`, `demo`.

Results go to stdout (as JSON with `--json`), everything else to stderr. Exit codes: 0 done; 1 training diverged;
2 the user's input is at fault, said in a sentence; 130 interrupted, state saved. Heavy imports wait for a command
that needs them, so that help is instant.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from lorastyle import BadInput, Interrupted, LorastyleError

if TYPE_CHECKING:
    from lorastyle import Dataset, Progress, Recipe

app = typer.Typer(
    help="Train art styles and characters for diffusion models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print the results as one JSON object on stdout.")]
BaseName = Annotated[
    str, typer.Option("--base", help="pocket, a diffusers folder, a .safetensors checkpoint or a hub id.")
]
Seed = Annotated[int | None, typer.Option(help="Same seed, same result.")]


def main() -> None:
    """Run the command line; what goes wrong on purpose becomes one sentence and an exit code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=UserWarning, module="lorastyle")
            warnings.showwarning = lambda message, *_args, **_more: say(f"Note: {message}")
            app()
    except KeyboardInterrupt:
        say("Interrupted; there was nothing to save yet.")
        sys.exit(130)
    except Interrupted as error:
        say(str(error))
        sys.exit(130)
    except LorastyleError as error:
        say(f"Error: {error}")
        sys.exit(2 if isinstance(error, BadInput) else 1)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(results: dict[str, Any], as_json: bool) -> None:
    """Print results on stdout: as JSON, or a line each."""
    if as_json:
        print(json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in results.items()}))
        return
    for name, value in results.items():
        print(f"{name.replace('_', ' ')}: {value}")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="A folder or zip of images, captions beside them.")],
    base: BaseName = "pocket",
    purpose: Annotated[str | None, typer.Option(help="style, character or object.")] = None,
    trigger: Annotated[str | None, typer.Option(help="The word that will call the adapter up.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe file (TOML) to start from.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="field=value, any field of the recipe.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to train.")] = None,
    rank: Annotated[int | None, typer.Option(help="How much the adapter can hold.")] = None,
    seed: Seed = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")] = False,
    as_json: Json = False,
) -> None:
    """Train an adapter on a folder of images."""
    from lorastyle import Dataset

    named = {"purpose": purpose, "trigger": trigger, "steps": steps, "rank": rank, "seed": seed}
    chosen = recipe_from(recipe, settings or [], {name: value for name, value in named.items() if value is not None})
    show(run_training(base, Dataset.open(data), chosen, out or Path("runs") / data.stem, resume), as_json)


def recipe_from(file: Path | None, settings: list[str], named: dict[str, Any]) -> "Recipe":
    """The recipe file, changed by `--set field=value` and then by the options that have names of their own."""
    from lorastyle import Recipe

    start = Recipe.from_toml(file) if file else Recipe()
    changes: dict[str, Any] = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals:
            raise BadInput("--set", f"{setting!r} has no '='", "write field=value, such as rank=8")
        changes[field.strip()] = value.strip()
    return start.changed(changes | named)


def run_training(base_name: str, data: "Dataset", recipe: "Recipe", out: Path, resume: bool) -> dict[str, Any]:
    """Train with a progress bar on stderr; returns what came of it."""
    say("Loading the base ...")
    import lorastyle

    base = lorastyle.load_base(base_name)
    for remark in [*data.remarks(recipe.resolution or base.resolution, base.divisor), *recipe.warnings()]:
        say(f"Note: {remark}")
    begun = time.perf_counter()
    with TrainingBar() as bar:
        run = lorastyle.train(base, data, recipe, out=out, resume=resume, report=bar.update)
    seconds = round(time.perf_counter() - begun, 1)
    return {
        "adapter": run.adapter,
        "comparison": run.comparison,
        "card": run.card,
        "steps": bar.steps,
        "train_seconds": round(bar.seconds, 1),
        "seconds": seconds,
    }


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(help="One or more prompts.")],
    base: BaseName = "pocket",
    adapter: Annotated[list[str] | None, typer.Option(help="FILE or FILE:STRENGTH; repeat to mix.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("images"),
    negative: Annotated[str, typer.Option(help="What should not be in the images.")] = "",
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 20,
    as_json: Json = False,
) -> None:
    """Draw prompts with a base and any number of adapters."""
    import lorastyle

    adapters: dict[Any, float] = dict(strength_of(name) for name in adapter or [])
    images = lorastyle.generate(
        lorastyle.load_base(base), prompts, adapters, negative=negative, seed=seed or 0, steps=steps, guidance=guidance
    )
    paths = [out / f"{seed or 0}-{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        lorastyle.write_image(path, image)
    show({"images": [str(path) for path in paths]}, as_json)


def strength_of(option: str) -> tuple[Path, float]:
    """Split FILE:STRENGTH; a name without a number behind its last colon is all file (C:\\styles\\ink.safetensors)."""
    name, _, strength = option.rpartition(":")
    try:
        return (Path(name), float(strength)) if name else (Path(option), 1.0)
    except ValueError:
        return Path(option), 1.0


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="An adapter file.")], as_json: Json = False) -> None:
    """Show what is in an adapter file."""
    import lorastyle

    show(lorastyle.load_adapter(file).summary(), as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"), as_json: Json = False
) -> None:
    """Train the ink sample style on the embedded base and compare: the whole job in a few minutes."""
    from lorastyle import Dataset, Recipe

    data = Path(__file__).parents[1] / "sample_data" / "ink"
    if not data.is_dir():
        raise BadInput(
            "demo", "the sample data is not here", "run it in a checkout of lorastyle, or train your own images"
        )
    show(
        run_training("pocket", Dataset.open(data), Recipe.from_toml(data.parent / "demo.toml"), unused(out), False),
        as_json,
    )


def unused(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, ... that does not exist."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


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


if __name__ == "__main__":
    main()
