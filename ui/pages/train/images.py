"""Step one: images come in."""

from typing import Any

import gradio as gr

from lorastyle import Workspace
from ui import uploads
from ui.answers import answered, told
from ui.session import area
from ui.widgets.drawn import drawn


def drop(workspace: Workspace) -> gr.HTML:
    """The place to drop images on; its event `added` names the dataset that they went into."""

    def add(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Take uploaded "files", each {"path", "name"}, into the dataset "data", or into a new one."""
        mine = area(request)
        files = list(ask["files"])
        draft = mine.dataset(str(ask["data"])) if ask.get("data") else mine.new_dataset(_title(files))
        with uploads.laid_out(files) as paths:
            try:
                took = draft.add(paths)
            finally:
                if not len(draft) and not ask.get("data"):
                    draft.delete()
        shared = [file for file in files if not str(file["name"]).lower().endswith((".jsonl", ".csv"))]
        uploads.discard(shared)  # what describes a whole folder comes with every part of it
        return {
            "data": draft.id if ask.get("data") or took.added else "",
            "added": len(took.added),
            "captioned": len(took.captioned),
            "refused": list(took.refused),
        }

    call = answered(add)
    gr.api(call, api_name="add_images", queue=False)
    return drawn("drop", {}, server_functions=[call])


def _title(files: list[dict[str, Any]]) -> str:
    """What a dataset is called at first: the folder or zip that it came in."""
    names = [str(file["name"]).replace("\\", "/") for file in files]
    folders = {name.split("/")[0] for name in names if "/" in name}
    if len(folders) == 1:
        return folders.pop()
    zips = [name for name in names if name.lower().endswith(".zip")]
    return zips[0].rsplit(".", 1)[0] if len(zips) == 1 else "New images"


def shelf() -> gr.HTML:
    """The datasets that there are; its events are `open`, `delete`, and `rename` to "title", with the id as "data"."""

    def delete_dataset(data: str, request: gr.Request) -> str:
        """Delete a dataset with its images; what was trained on it has its own copy."""
        area(request).dataset(data).delete()
        return data

    def rename_dataset(data: str, title: str, request: gr.Request) -> str:
        """Give a dataset another title."""
        area(request).dataset(data).rename(title)
        return data

    gr.api(told(rename_dataset), api_name="rename_dataset", queue=False)
    gr.api(told(delete_dataset), api_name="delete_dataset", queue=False)
    return drawn("shelf", {})
