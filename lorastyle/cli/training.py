"""`lorastyle train` and `lorastyle demo`."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorastyle import BadInput
from lorastyle.cli.progress import TrainingBar
from lorastyle.cli.screen import BaseName, Json, Seed, say, show

if TYPE_CHECKING:
    from lorastyle import Dataset, Recipe


Data = Annotated[Path, typer.Argument(help="A folder or zip of images, captions beside them.")]
Purpose = Annotated[str | None, typer.Option(help="style, character or object.")]
Trigger = Annotated[str | None, typer.Option(help="The word that will call the adapter up.")]
RecipeFile = Annotated[Path | None, typer.Option(help="A recipe file (TOML) to start from.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="field=value, any field of the recipe.")]
Steps = Annotated[int | None, typer.Option(help="How many steps to train.")]
Rank = Annotated[int | None, typer.Option(help="How much the adapter can hold.")]
Start = Annotated[Path | None, typer.Option("--from", help="An adapter file, of any tool, to go on from.")]


def train(
    data: Data,
    base: BaseName = "pocket",
    purpose: Purpose = None,
    trigger: Trigger = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    steps: Steps = None,
    rank: Rank = None,
    seed: Seed = None,
    start: Start = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")] = False,
    as_json: Json = False,
) -> None:
    """Train an adapter on a folder of images."""
    from lorastyle import Dataset

    chosen = recipe_from(recipe, settings, purpose=purpose, trigger=trigger, steps=steps, rank=rank, seed=seed)
    show(run_training(base, Dataset.open(data), chosen, out or Path("runs") / data.stem, resume, start), as_json)


def estimate(
    data: Data,
    base: BaseName = "pocket",
    purpose: Purpose = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    steps: Steps = None,
    rank: Rank = None,
    start: Start = None,
    as_json: Json = False,
) -> None:
    """Measure a few steps and tell how long the training would take, and whether its memory suffices."""
    import lorastyle

    chosen = recipe_from(recipe, settings, purpose=purpose, steps=steps, rank=rank)
    told = lorastyle.estimate(
        lorastyle.load_base(base, precision=chosen.precision), lorastyle.Dataset.open(data), chosen, start=start
    )
    show(asdict(told), as_json)


def recipe_from(file: Path | None, settings: list[str] | None, **options: Any) -> "Recipe":
    """The recipe file, changed by `--set field=value` and then by the options of their own that were given."""
    from lorastyle import Recipe

    start = Recipe.from_toml(file) if file else Recipe()
    changes: dict[str, Any] = {}
    for setting in settings or []:
        field, equals, value = setting.partition("=")
        if not equals:
            raise BadInput("--set", f"{setting!r} has no '='", "write field=value, such as rank=8")
        changes[field.strip()] = value.strip()
    named = {name: value for name, value in options.items() if value is not None}
    return start.changed(changes | named)


def run_training(
    base_name: str, data: "Dataset", recipe: "Recipe", out: Path, resume: bool = False, start: Path | None = None
) -> dict[str, Any]:
    """Train with a progress bar on stderr; returns what came of it."""
    say("Loading the base ...")
    import lorastyle

    base = lorastyle.load_base(base_name, precision=recipe.precision)
    for remark in [*data.remarks(recipe.resolution or base.resolution, base.divisor), *recipe.warnings()]:
        say(f"Note: {remark}")
    begun = time.perf_counter()
    with TrainingBar() as bar:
        run = lorastyle.train(base, data, recipe, out=out, resume=resume, report=bar.update, start=start)
    seconds = round(time.perf_counter() - begun, 1)
    return {
        "adapter": run.adapter,
        "comparison": run.comparison,
        "card": run.card,
        "steps": bar.steps,
        "train_seconds": round(bar.seconds, 1),
        "seconds": seconds,
    }


def demo(
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"), as_json: Json = False
) -> None:
    """Train the ink sample style on the embedded base and compare: the whole job in a few minutes."""
    from lorastyle import Dataset, Recipe

    data = Path(__file__).parents[2] / "sample_data" / "ink"
    if not data.is_dir():
        raise BadInput(
            "demo", "the sample data is not here", "run it in a checkout of lorastyle, or train your own images"
        )
    show(
        run_training("pocket", Dataset.open(data), Recipe.from_toml(data.parent / "demo.toml"), unused(out)),
        as_json,
    )


def unused(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, ... that does not exist."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
