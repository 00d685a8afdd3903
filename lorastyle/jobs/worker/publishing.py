"""Uploading an adapter to the Hugging Face hub."""

import os
from typing import TYPE_CHECKING, Any

from lorastyle import BadInput
from lorastyle.jobs import tasks
from lorastyle.jobs.worker.log import logger

if TYPE_CHECKING:
    from lorastyle.jobs.worker.executors import Work

TOKEN = "HF_TOKEN"


def publish(settings: tasks.Publish, work: "Work") -> dict[str, Any]:
    """Put the bundle's files into a repository of the hub, made where there is none; returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    token = os.environ.get(TOKEN)
    if not token:
        raise BadInput("publish", f"there is no token for the hub in the environment ({TOKEN})",
                       "set it and start the studio and its worker again")  # fmt: skip
    work.say(f"Uploading to {settings.repo}")
    hub = HfApi(token=token)
    try:
        hub.create_repo(settings.repo, private=settings.private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=settings.repo, folder_path=work.path(settings.bundle), commit_message="Upload with lorastyle"
        )
    except (HfHubHTTPError, OSError) as error:
        logger.info("The hub answered: %s", error)
        what = f"the hub did not take it ({type(error).__name__})"
        raise BadInput("publish", what, "check the token's rights, the name and the connection, then retry") from error
    return {"repo": settings.repo, "address": str(done.repo_url) if done.repo_url else settings.repo}
