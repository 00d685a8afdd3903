"""Why a job failed, in a sentence for the person whose job it is, with what to do about it."""

import errno

from lorastyle import LorastyleError

OUT_OF_MEMORY = (
    "There was not enough memory. Clone the job with a smaller batch or resolution, or with gradient checkpointing on."
)
DISK_FULL = "The disk is full. Make room, then retry; a training goes on from its last checkpoint."
UNREACHABLE = "The hub could not be reached, and what is needed is not on this machine. Check the connection and retry."


def sentence(error: BaseException) -> str:
    """What to tell of an error; the log has its details."""
    if isinstance(error, LorastyleError):
        return str(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"} or "not enough memory" in str(error):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    if names & {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "TransportError"}:
        return UNREACHABLE
    return (
        f"Something went wrong that nobody foresaw ({type(error).__name__}). Retry it; a training goes on from its "
        "last checkpoint. If it fails again, the log has the details for a bug report."
    )
