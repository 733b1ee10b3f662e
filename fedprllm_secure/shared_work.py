"""What several runs in one process would compute alike is computed once: a memo of pure values, limited in bytes.

A value is kept under what decides it: the digest of the model, token ids, prune masks that were applied, settings of
the computation. Keys and values stay in this process's memory, for both tell of private text. Only functions of public
settings and texts go through here, never keys, sessions, noise or charges: those are drawn or made anew by each run.

Knows nothing of models and runs. Values are handed out as they were kept, and nobody may change them in place.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")
Key = tuple[Hashable, ...]


@dataclass(slots=True)
class _Kept:
    value: Any = field(repr=False)
    num_bytes: int
    seconds: float
    run: int


class SharedWork:
    """A memo that runs take turns to use; one that may hold nothing, the default, computes everything anew.

    Attributes:
        saved_seconds: since :meth:`begin_run`, what making the values that were found had taken.
    """

    def __init__(self, *, most_bytes: int = 0) -> None:
        """Start empty; values of more than ``most_bytes`` in all are never held.

        Raises:
            ValueError: the limit is negative.
        """
        if most_bytes < 0:
            raise ValueError(f"most_bytes={most_bytes} must not be negative")
        self._most_bytes, self._held_bytes, self._run = most_bytes, 0, 0
        self._kept: dict[Key, _Kept] = {}  # least recently used first
        self.saved_seconds = 0.0

    @property
    def is_on(self) -> bool:
        """Whether anything can be kept; if not, keys need not be made."""
        return self._most_bytes > 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the values that are held."""
        return self._held_bytes

    def begin_run(self) -> None:
        """Say that another run begins; what the last ones used and this one does not may make room for it."""
        self._run += 1
        self.saved_seconds = 0.0

    def find(self, key: Key) -> Any:
        """Give the value kept under a key, or None."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        self._kept[key] = kept
        kept.run = self._run
        self.saved_seconds += kept.seconds
        return kept.value

    def keep(self, key: Key, make: Callable[[], Any], *, num_bytes: int, seconds: float) -> None:
        """Keep a value if there is room, or room can be made of what this run has not used.

        Runs ask for the same values in the same order. Were the oldest to go whatever their run, a memo too small for
        one run's values would have lost each of them just before the next run asked for it.

        Args:
            key: what decides the value.
            make: gives it; not called where there is no room.
            num_bytes: its size.
            seconds: what making it took, for :attr:`saved_seconds`.
        """
        idle = [(name, kept.num_bytes) for name, kept in self._kept.items() if kept.run < self._run]
        free = self._most_bytes - self._held_bytes
        if key in self._kept or num_bytes > free + sum(size for _, size in idle):
            return
        for name, size in idle:
            if num_bytes <= free:
                break
            del self._kept[name]
            free += size
        self._kept[key] = _Kept(make(), num_bytes, seconds, self._run)
        self._held_bytes = self._most_bytes - free + num_bytes

    def get(self, key: Callable[[], Key], make: Callable[[], Value], *, num_bytes: Callable[[Value], int]) -> Value:
        """Give the value kept under a key, or make it and keep it.

        Args:
            key: gives what decides the value; not called where nothing can be kept.
            make: computes it.
            num_bytes: gives its size.
        """
        if not self.is_on:
            return make()
        name = key()
        found = self.find(name)
        if found is not None:
            return found
        started = time.perf_counter()
        value = make()
        seconds = time.perf_counter() - started
        self.keep(name, lambda: value, num_bytes=num_bytes(value), seconds=seconds)
        return value


def digest(*parts: object) -> bytes:
    """Condense what decides a value: tensors by type, shape and content, anything else by its ``repr``."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            named = f"{part.dtype} {tuple(part.shape)} ".encode()
            content = part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
        else:
            named, content = b"", memoryview(repr(part).encode())
        found.update(f"{len(named)} {len(content)} ".encode() + named)
        found.update(content)
    return found.digest()


def tensor_bytes(tensor: Tensor) -> int:
    """Give the bytes of a tensor's entries."""
    return tensor.numel() * tensor.element_size()
