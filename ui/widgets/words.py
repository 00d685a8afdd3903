"""Numbers as people say them: how long, how large, how long ago."""

import time


def duration(seconds: float) -> str:
    """About how long: "40 seconds", "3 minutes", "1 h 20 min"."""
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    if seconds < 90 * 60:
        return counted(round(seconds / 60), "minute")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def ago(epoch: float) -> str:
    """How long before now: "just now", "5 minutes ago", or the day."""
    passed = time.time() - epoch
    if passed < 60:
        return "just now"
    if passed < 24 * 3600:
        return f"{duration(passed)} ago"
    return time.strftime("%-d %B %Y", time.localtime(epoch))


def size(count: float) -> str:
    """Bytes as file managers count them: "812 kB", "4.2 MB"; a kB is 1024 bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.2g} {unit}"
        count /= 1024
    return f"{count:.2g} TB"


def counted(number: int, thing: str) -> str:
    """ "1 picture", "3 pictures"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
