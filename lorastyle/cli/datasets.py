"""`lorastyle dataset ...`: what the studio does with images and captions, by hand."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorastyle import BadInput
from lorastyle.cli.queue import tell_queued
from lorastyle.cli.screen import BaseName, Json, Root, User, area, say, show
from lorastyle.cli.training import Purpose, Rank, RecipeFile, Set, Steps, Trigger, recipe_from

if TYPE_CHECKING:
    from lorastyle import Draft

dataset = typer.Typer(help="Prepare the datasets of a studio.", no_args_is_help=True)

DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id, as the list shows it.")]
ImageId = Annotated[str, typer.Argument(metavar="IMAGE", help="The image's id, as check shows it.")]
TriggerWord = Annotated[str, typer.Option("--trigger", help="The word that captions should say.")]


@dataset.command("list")
def list_datasets(root: Root, user: User = "me", as_json: Json = False) -> None:
    """Show the datasets, the newest first."""
    found = [_told(draft) for draft in area(root, user).datasets()]
    if as_json:
        show({"datasets": found}, as_json)
    for told in [] if as_json else found:
        print(f"{told['dataset']}  {told['title']}  ({told['images']} images)")


@dataset.command("add")
def add_images(
    paths: Annotated[list[Path], typer.Argument(help="Images, caption files, folders or zips.")],
    root: Root,
    to: Annotated[str, typer.Option(help="The id of a dataset to add them to; a new one by default.")] = "",
    title: Annotated[str, typer.Option(help="What a new dataset is called.")] = "",
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Add images to a dataset, or make a new one of them."""
    mine = area(root, user)
    draft = mine.dataset(to) if to else mine.new_dataset(title or paths[0].resolve().stem)
    added = draft.add(paths, lambda done, total: say(f"{done} of {total}") if done % 50 == 0 else None)
    for sentence in added.refused:
        say(f"Refused: {sentence}")
    if not to and not added.added:
        draft.delete()
        raise BadInput("dataset add", "there was no image that can be used", "give images as PNG, JPEG or WebP")
    told = _told(draft) | {"added": len(added.added), "captioned": len(added.captioned)}
    show(told | {"refused": list(added.refused)} if as_json else told, as_json)


@dataset.command()
def check(
    id: DatasetId,
    root: Root,
    base: BaseName = "pocket",
    trigger: TriggerWord = "",
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Show each image as it will be trained, and what should be looked at."""
    from lorastyle import Workspace

    resolution, divisor = Workspace(root).geometry(base)
    rows = area(root, user).dataset(id).rows(resolution, divisor, trigger)
    if as_json:
        show({"images": [asdict(row) for row in rows]}, as_json)
        return
    for row in rows:
        print(
            f"{row.id}  {row.name}  {row.width} x {row.height}, {row.lost:.0%} cut off: {row.caption or '(no caption)'}"
        )
        for doubt in row.doubts:
            print(f"    {doubt.text}")


@dataset.command()
def caption(
    id: DatasetId, image: ImageId, text: Annotated[str, typer.Argument()], root: Root, user: User = "me",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write the caption of an image."""
    draft = area(root, user).dataset(id)
    draft.set_caption(image, text)
    show({"caption": draft.row(image).caption}, as_json)


@dataset.command()
def replace(
    id: DatasetId,
    find: Annotated[str, typer.Argument(help="What to look for.")],
    put: Annotated[str, typer.Argument(help="What to put in its place.")],
    root: Root,
    case: Annotated[bool, typer.Option("--case", help="Only where upper and lower case agree.")] = False,
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Find and replace in all captions."""
    show({"changed": area(root, user).dataset(id).replace(find, put, case)}, as_json)


@dataset.command()
def prefix(id: DatasetId, text: str, root: Root, user: User = "me", as_json: Json = False) -> None:
    """Put words before all captions."""
    show({"changed": area(root, user).dataset(id).prefix(text)}, as_json)


@dataset.command()
def suffix(id: DatasetId, text: str, root: Root, user: User = "me", as_json: Json = False) -> None:
    """Put words behind all captions."""
    show({"changed": area(root, user).dataset(id).suffix(text)}, as_json)


@dataset.command()
def focus(
    id: DatasetId,
    image: ImageId,
    x: Annotated[float, typer.Argument(min=0, max=1, help="From the left edge (0) to the right one (1).")],
    y: Annotated[float, typer.Argument(min=0, max=1, help="From the top (0) to the bottom (1).")],
    root: Root,
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Move the point of an image that the crop keeps."""
    draft = area(root, user).dataset(id)
    draft.set_focus(image, x, y)
    show({"focus": list(draft.row(image).focus)}, as_json)


@dataset.command()
def remove(
    id: DatasetId, root: Root, images: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE]...")] = None,
    whole: Annotated[bool, typer.Option("--all", help="The dataset itself, for good.")] = False,
    user: User = "me", as_json: Json = False,
) -> None:  # fmt: skip
    """Take images out of a dataset; undo brings them back."""
    draft = area(root, user).dataset(id)
    if whole == bool(images):
        raise BadInput("dataset remove", "it is not clear what should go", "name images, or give --all")
    if whole:
        count = len(draft)
        draft.delete()
    else:
        count = draft.remove(images or [])
    show({"removed": count}, as_json)


@dataset.command()
def undo(id: DatasetId, root: Root, user: User = "me", as_json: Json = False) -> None:
    """Take the last change of a dataset back."""
    draft = area(root, user).dataset(id)
    what = draft.last_edit()
    show({"taken_back": what, "changed": draft.undo()}, as_json)


@dataset.command()
def describe(
    id: DatasetId,
    root: Root,
    captioner: Annotated[str, typer.Option(help="A folder or hub id of a model, or: file names.")] = "file names",
    prompt: Annotated[str, typer.Option(help="What the model is asked, if it reads a prompt.")] = "",
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Put a job into the queue that writes the captions that are missing."""
    mine = area(root, user)
    tell_queued(mine.jobs, mine.caption(mine.dataset(id), captioner, prompt), as_json)


@dataset.command()
def train(
    id: DatasetId,
    root: Root,
    base: BaseName = "pocket",
    purpose: Purpose = None,
    trigger: Trigger = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    steps: Steps = None,
    rank: Rank = None,
    start: Annotated[str, typer.Option("--from", help="The id of an adapter in the library to go on from.")] = "",
    title: Annotated[str, typer.Option(help="What the job is called in the queue.")] = "",
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Put a training on the dataset as it stands now into the queue."""
    chosen = recipe_from(recipe, settings, purpose=purpose, trigger=trigger, steps=steps, rank=rank)
    mine = area(root, user)
    wanted = chosen.model_dump(mode="json", exclude_unset=True)
    tell_queued(mine.jobs, mine.train(mine.dataset(id), base, wanted, title, start), as_json)


def _told(draft: "Draft") -> dict[str, Any]:
    return {"dataset": draft.id, "title": draft.title, "images": len(draft)}
