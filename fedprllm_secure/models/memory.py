"""Giving freed memory back to the system.

Weights and selections are tens of megabytes each, made and freed block after block. glibc serves sizes under 32 MiB
from its heap and keeps what is freed there; between blocks the heap only grows (measured: 40 MB a block on a model of
800 million parameters). A run over a model far larger than memory must not.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

WORTH_TRIMMING_BYTES = 32 << 20


def release_freed_memory(freed_bytes: int) -> None:
    """Return the C heap's free pages to the system after about this much was freed; does nothing outside glibc."""
    trim = _malloc_trim()
    if trim is not None and freed_bytes >= WORTH_TRIMMING_BYTES:
        trim(0)


@cache
def _malloc_trim() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # absent from other C libraries, such as musl
