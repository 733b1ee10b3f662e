"""How bytes pass to and from the encryption library, which reads and writes named files only.

These are files in memory, or, where the system has none, files in a folder that this user alone may read, overwritten
and removed at once: the session's secret key passes through one on its way into the library.

What the library writes it compresses by Zstandard, for which the standard library of Python has no decoder. Ciphertexts
modulo primes of 60 bits are too random to be compressed, so their frames hold raw blocks only, which need none.

Imports no encryption library.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Compressed(RuntimeError):
    """The library compressed what it wrote, which nothing here can read."""

    def __init__(self) -> None:
        super().__init__("this build of TenSEAL compresses ciphertexts; install tenseal 0.3.18")


class ScratchFile:
    """A named file for one exchange with the library."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self.path = path

    def write(self, content: bytes) -> None:
        """Replace the content."""
        os.ftruncate(self._descriptor, len(content))
        os.pwrite(self._descriptor, content, 0)

    def read(self) -> bytes:
        """Return the content."""
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)


@contextmanager
def scratch_file() -> Iterator[ScratchFile]:
    """Make a file in memory, or else in a private folder; overwrite it in the end, since it may have held a key."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fedprllm", os.MFD_CLOEXEC)
        try:
            yield ScratchFile(descriptor, f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory(prefix="fedprllm-") as folder:  # mode 0700
        path = Path(folder) / "exchange"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            yield ScratchFile(descriptor, str(path))
        finally:
            os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
            os.fsync(descriptor)
            os.close(descriptor)


def raw_blocks(frame: bytes) -> bytes:
    """Return the content of a Zstandard frame (RFC 8878) that holds raw blocks only.

    Raises:
        Compressed: If a block is, which coefficients modulo a prime of 60 bits are too random for.
    """
    descriptor = frame[4]
    sizes = {0: 1 if descriptor & 0x20 else 0, 1: 2, 2: 4, 3: 8}
    offset = 5 + (0 if descriptor & 0x20 else 1) + (0, 1, 2, 4)[descriptor & 3] + sizes[descriptor >> 6]
    content, last = [], False
    while not last:
        block = int.from_bytes(frame[offset : offset + 3], "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind != 0:
            raise Compressed
        content.append(frame[offset + 3 : offset + 3 + size])
        offset += 3 + size
    return b"".join(content)
