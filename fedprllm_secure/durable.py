"""Files that appear under their name when they are whole, and are still there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def partial_name(file: Path) -> Path:
    """Name the place beside ``file`` where it is written."""
    return file.with_name(file.name + ".partial")


def publish(partial: Path, file: Path) -> None:
    """Give a file that is whole, and on disk, its name."""
    partial.replace(file)
    _sync(file.parent)


def write_durably(file: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a small file at once.

    Args:
        file: its name.
        data: its content.
        mode: permissions of a new file, less the process's umask.
    """
    partial = partial_name(file)
    try:
        partial.touch(mode=mode)
        partial.write_bytes(data)
        _sync(partial)
        publish(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
