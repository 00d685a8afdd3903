"""How much memory there is and how much is in use, in bytes: of the graphics card, or of the computer."""

import threading
from types import TracebackType
from typing import Self

import psutil
import torch

SECONDS_BETWEEN_LOOKS = 0.01


def memory_in_use(device: torch.device) -> int:
    """What this process holds there now."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return psutil.Process().memory_info().rss


def free_memory(device: torch.device) -> int:
    """What this process could have there in all: what is free now, and what it holds itself."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return psutil.virtual_memory().available + memory_in_use(device)


def is_exhaustion(error: Exception) -> bool:
    """Whether it says that there was not enough memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class Peak:
    """The most that this process holds while the block is open, in `bytes`."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.bytes = device, 0
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:  # the system knows the highest mark of a process's whole life alone
            self._watch.start()
        return self

    def _look(self) -> None:
        while not self._closed.wait(SECONDS_BETWEEN_LOOKS):
            self.bytes = max(self.bytes, memory_in_use(self.device))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_reserved(self.device)
            return
        self._closed.set()
        self._watch.join()
        self.bytes = max(self.bytes, memory_in_use(self.device))
