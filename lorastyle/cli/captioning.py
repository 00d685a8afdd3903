"""`lorastyle caption`."""

from pathlib import Path
from typing import Annotated

import typer

from lorastyle.cli.screen import Json, say, show


def caption(
    data: Annotated[Path, typer.Argument(help="A folder of images.")],
    captioner: Annotated[
        str, typer.Option(help="'file names', or a model that puts pictures into words: a folder or a hub id.")
    ] = "file names",
    prompt: Annotated[str, typer.Option(help="What to tell the model with each picture, if it needs that.")] = "",
    as_json: Json = False,
) -> None:
    """Write captions beside the images that have none; captions that are there stay as they are."""
    import lorastyle

    def tell(done: int, total: int) -> None:
        say(f"{done} of {total} images")

    written = lorastyle.caption_folder(data, captioner, prompt=prompt, progress=tell)
    show({"captioned": len(written), **({"captions": written} if as_json else written)}, as_json)
