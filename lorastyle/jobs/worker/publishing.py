"""Uploading an adapter to the Hugging Face hub."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lorastyle import BadInput
from lorastyle.jobs import tasks
from lorastyle.jobs.worker.log import logger

if TYPE_CHECKING:
    from lorastyle.jobs.worker.executors import Work

TOKEN = "HF_TOKEN"
AGAIN = "start the studio and its worker again"
UNREACHABLE = ("the hub cannot be reached", "check the connection, then retry")
REFUSED = ("the hub did not take it", "check the token's rights, the name and the connection, then retry")


def publish(settings: tasks.Publish, work: "Work") -> dict[str, Any]:
    """Put the bundle's files into a repository of the hub, made where there is none; returns its address.

    Raises BadInput where the hub does not take them, and where they were to be private and everybody can see it.
    """
    from huggingface_hub import HfApi

    token = os.environ.get(TOKEN)
    if not token:
        raise BadInput("publish", f"there is no token for the hub in the environment ({TOKEN})", f"set it and {AGAIN}")
    hub, repo = HfApi(token=token), settings.repo
    with _told_plainly(repo):
        work.say(f"Looking for {repo}")
        hub.create_repo(repo, private=settings.private, exist_ok=True)
        if settings.private and not hub.model_info(repo).private:  # it was there before
            raise BadInput("publish", f"everybody can see {repo} on the hub",
                           "choose another name, or publish it for all to see")  # fmt: skip
        work.say(f"Uploading to {repo}")
        done = hub.upload_folder(
            repo_id=repo, folder_path=work.path(settings.bundle), commit_message="Upload with lorastyle"
        )
    return {"repo": repo, "address": str(done.repo_url) if done.repo_url else repo}


@contextmanager
def _told_plainly(repo: str) -> Iterator[None]:
    """What goes wrong at the hub, or on the way there, as a sentence; the log has the hub's own words."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    # By which of these an upload ends depends on where it broke.
    except (HTTPError, OSError, ValueError, KeyError, RuntimeError) as error:
        causes = list(_causes(error))
        logger.info("The hub: %s", " / ".join(str(one) for one in causes))
        raise BadInput("publish", *_reason(repo, causes)) from error


def _reason(repo: str, causes: list[BaseException]) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    status = next((found for one in causes if (found := getattr(getattr(one, "response", None), "status_code", 0))), 0)
    told = {
        401: ("the hub does not know the token", f"set {TOKEN} to one that is valid and {AGAIN}"),
        403: (f"the token may not write to {repo}",
              f"choose a name that begins with your own, or set {TOKEN} to one that may write and {AGAIN}"),
        404: (f"the hub has no place for {repo}", "check the name, and that the token may write"),
    }  # fmt: skip
    if status:
        return told.get(status, (f"{REFUSED[0]} (status {status})", REFUSED[1]))
    kinds = {kind.__name__ for one in causes for kind in type(one).__mro__}
    return UNREACHABLE if kinds & {"TransportError", "ConnectionError"} else REFUSED


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
