"""The models that a base consists of, in memory while they are needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import nn


class Parts(Mapping[str, Any]):
    """The parts of a base by name (models, tokenizers, schedulers), each loaded when it is first asked for.

    Models are frozen, in evaluation mode and on one device.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Any]]) -> None:
        self._device = torch.device("cpu")
        self._loaders = dict(loaders)
        self._loaded: dict[str, Any] = {}

    @classmethod
    def of(cls, **loaded: Any) -> Self:
        """Parts that are in memory already and, having come from nowhere, stay there when dropped."""
        return cls({name: partial(_same, part) for name, part in loaded.items()})

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        return self._device

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._prepared(self._loaders[name]())
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaders  # without loading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)

    @property
    def loaded(self) -> list[str]:
        """The names of the parts that are in memory."""
        return [name for name in self if name in self._loaded]

    def only(self, names: Sequence[str]) -> Mapping[str, Any]:
        """A view of some parts, which loads none until it is asked for it."""
        return _View(self, names)

    def replaced(self, **others: Any) -> "Parts":
        """These parts with some others in their place; the rest is shared, loaded once and dropped for both."""
        return _Replaced(self, others)

    def drop(self, name: str) -> None:
        """Let the part go from memory; it is loaded again when it is next asked for."""
        self._loaded.pop(name, None)

    def to(self, device: torch.device) -> None:
        """Move what is in memory to `device`; what is loaded later goes there too."""
        self._device = device
        self._loaded = {name: self._prepared(part) for name, part in self._loaded.items()}

    def _prepared(self, part: Any) -> Any:
        return part.eval().requires_grad_(False).to(self.device) if isinstance(part, nn.Module) else part


class _Replaced(Parts):
    def __init__(self, parts: Parts, others: Mapping[str, Any]) -> None:
        self._parts, self._others = parts, others

    @property
    def device(self) -> torch.device:
        return self._parts.device

    def __getitem__(self, name: str) -> Any:
        return self._others[name] if name in self._others else self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def loaded(self) -> list[str]:
        return self._parts.loaded

    def drop(self, name: str) -> None:
        self._parts.drop(name)

    def to(self, device: torch.device) -> None:
        self._parts.to(device)


def _same(part: Any) -> Any:
    return part


class _View(Mapping[str, Any]):
    def __init__(self, parts: Parts, names: Sequence[str]) -> None:
        self._parts, self._names = parts, names

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
