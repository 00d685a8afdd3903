"""`lorastyle library ...`: the adapters that a person keeps."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorastyle import BadInput
from lorastyle.cli.queue import tell_queued
from lorastyle.cli.screen import Json, Root, User, area, show

if TYPE_CHECKING:
    from lorastyle import Card

library = typer.Typer(help="Keep the adapters of a studio.", no_args_is_help=True)

AdapterId = Annotated[str, typer.Argument(metavar="ADAPTER", help="The adapter's id, as the list shows it.")]


@library.command("list")
def list_adapters(
    root: Root,
    search: Annotated[str, typer.Argument(help="Words to look for.")] = "",
    sort: Annotated[str, typer.Option(help="newest, oldest, title or size.")] = "newest",
    bin: Annotated[bool, typer.Option("--bin", help="Show what lies in the bin.")] = False,
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Show the adapters."""
    cards = area(root, user).library().cards(search, sort, bin)  # type: ignore[arg-type]
    if as_json:
        show({"adapters": [_card(card) for card in cards]}, as_json)
    for card in [] if as_json else cards:
        base = card.base or card.family or "?"
        print(f"{card.id}  {card.title}  {card.kind} of rank {card.rank} for {base}  {card.path}")


@library.command()
def rename(
    id: AdapterId, title: Annotated[str, typer.Argument()], root: Root, user: User = "me", as_json: Json = False
) -> None:
    """Give an adapter another name."""
    _show(area(root, user).library().rename(id, title), as_json)


@library.command()
def note(
    id: AdapterId, text: Annotated[str, typer.Argument()], root: Root, user: User = "me", as_json: Json = False
) -> None:
    """Write the notes of an adapter."""
    _show(area(root, user).library().note(id, text), as_json)


@library.command()
def tag(
    id: AdapterId, root: Root, tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...")] = None,
    user: User = "me", as_json: Json = False,
) -> None:  # fmt: skip
    """Give an adapter these tags, in place of those it had."""
    _show(area(root, user).library().tag(id, tags or []), as_json)


@library.command(context_settings={"ignore_unknown_options": True})  # so that -0.5 is no option
def prefer(
    id: AdapterId,
    strength: Annotated[float, typer.Argument(min=-10, max=10)],
    root: Root,
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Set the strength that an adapter is best used at."""
    _show(area(root, user).library().prefer(id, strength), as_json)


@library.command()
def delete(id: AdapterId, root: Root, user: User = "me", as_json: Json = False) -> None:
    """Put an adapter into the bin."""
    shelf = area(root, user).library()
    shelf.delete(id)
    _show(shelf.card(id), as_json)


@library.command()
def restore(id: AdapterId, root: Root, user: User = "me", as_json: Json = False) -> None:
    """Take an adapter out of the bin."""
    _show(area(root, user).library().restore(id), as_json)


@library.command("empty-bin")
def empty_bin(root: Root, user: User = "me", as_json: Json = False) -> None:
    """Delete what lies in the bin, for good."""
    show({"deleted": area(root, user).library().empty_bin()}, as_json)


@library.command("add")
def add_adapter(
    file: Annotated[Path, typer.Argument(help="An adapter file of lorastyle or diffusers.")],
    root: Root,
    title: Annotated[str, typer.Option(help="Its name in the library.")] = "",
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Put a copy of an adapter file into the library."""
    _show(area(root, user).library().add(file, title), as_json)


@library.command()
def keep(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The id of a training, as the queue shows it.")],
    root: Root,
    step: Annotated[int | None, typer.Option(help="Of the checkpoint; the last state by default.")] = None,
    strength: Annotated[float, typer.Option(help="The preferred strength.")] = 1.0,
    title: Annotated[str, typer.Option(help="Its name in the library, where it comes beside those of other names; "
                                            "without one it takes the place of the training's adapter.")] = "",
    user: User = "me",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Keep a checkpoint of a training in the library."""
    _show(area(root, user).library().keep(job, step, strength, title), as_json)


@library.command()
def bundle(
    id: AdapterId,
    root: Root,
    out: Annotated[Path | None, typer.Option(help="The new zip; in the current folder by default.")] = None,
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Make a zip of an adapter, its card and previews."""
    made = area(root, user).library().bundle(id)
    target = out or Path(made.name)
    if target.exists():
        raise BadInput("--out", f"{target} is there already", "choose another name")
    show({"bundle": Path(shutil.copyfile(made, target))}, as_json)


@library.command()
def publish(
    id: AdapterId,
    repo: Annotated[str, typer.Argument(help="On the hub: your name there, a slash, and a name for the adapter.")],
    root: Root,
    public: Annotated[bool, typer.Option("--public", help="Everybody can see it there.")] = False,
    user: User = "me",
    as_json: Json = False,
) -> None:
    """Put a job into the queue that uploads an adapter with its card and previews to the hub.

    The worker needs the token of the hub in its environment.
    """
    mine = area(root, user)
    tell_queued(mine.jobs, mine.publish(id, repo, private=not public), as_json)


def _card(card: "Card") -> dict[str, Any]:
    told = asdict(card)
    return told | {name: str(told[name]) for name in ("path", "thumbnail") if told[name]} | {
        "previews": [str(path) for path in card.previews]
    }  # fmt: skip


def _show(card: "Card", as_json: bool) -> None:
    show(_card(card) if as_json else {"adapter": card.id, "title": card.title, "file": card.path}, as_json)
