"""The hidden states that stand between two blocks, in memory up to a limit and on disk past it."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

import torch
from torch import Tensor

from fedprllm_secure.durable import partial_name, publish
from fedprllm_secure.errors import InputError

COPY_ROWS = 16


class HiddenStates:
    """Hidden states of many windows: rows of shape (tokens, hidden), read and written by slices of rows.

    Rows past ``memory_limit_bytes`` live in an unnamed temporary file, which vanishes with the object and is read and
    written without being mapped, so it never counts as resident memory.
    """

    def __init__(
        self,
        rows: int,
        row_shape: tuple[int, int],
        dtype: torch.dtype,
        *,
        memory_limit_bytes: int,
        folder: Path | None = None,
    ) -> None:
        """Set aside the room.

        Args:
            rows: number of windows.
            row_shape: (tokens, hidden).
            dtype: how they are kept.
            memory_limit_bytes: how much may stay in memory.
            folder: where the temporary file goes; the system's own folder if None.
        """
        self.rows, self.row_shape, self.dtype = rows, row_shape, dtype
        self._row_bytes = row_shape[0] * row_shape[1] * dtype.itemsize
        self._resident = min(rows, memory_limit_bytes // self._row_bytes)
        self._memory = torch.empty(self._resident, *row_shape, dtype=dtype)
        self._file = tempfile.TemporaryFile(dir=folder) if self._resident < rows else None  # noqa: SIM115 - lives as long
        if self._file is not None:
            weakref.finalize(self, self._file.close)
            # Reserve the room now: a disk that is too small should say so before the work, not amid it.
            os.posix_fallocate(self._file.fileno(), 0, (rows - self._resident) * self._row_bytes)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self._row_bytes

    @property
    def spilled_bytes(self) -> int:
        """How much lies on disk."""
        return (self.rows - self._resident) * self._row_bytes

    def read(self, rows: slice, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Read a slice of rows (windows, tokens, hidden) onto a device, in a dtype of the caller's choice."""
        parts = []
        if rows.start < self._resident:
            parts.append(self._memory[rows.start : min(rows.stop, self._resident)])
        if rows.stop > self._resident:
            parts.append(self._read_file(max(rows.start, self._resident), rows.stop))
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        return joined.to(device, dtype)

    def write(self, start: int, values: Tensor) -> None:
        """Write rows from ``start`` on."""
        values = values.detach().to("cpu", self.dtype)
        in_memory = max(0, min(self._resident - start, len(values)))
        self._memory[start : start + in_memory] = values[:in_memory]
        if in_memory < len(values):
            self._write_file(start + in_memory, values[in_memory:])

    def save(self, file: Path) -> None:
        """Copy everything to a file, which appears under its name when whole."""
        partial = partial_name(file)
        with partial.open("wb") as opened:
            for start in range(0, self.rows, COPY_ROWS):
                rows = slice(start, min(start + COPY_ROWS, self.rows))
                opened.write(_bytes_of(self.read(rows, torch.device("cpu"), self.dtype)))
            opened.flush()
            os.fsync(opened.fileno())
        publish(partial, file)

    def load(self, file: Path) -> None:
        """Read everything back from a file.

        Raises:
            InputError: the file is missing or has another length.
        """
        expected = self.rows * self._row_bytes
        actual = file.stat().st_size if file.exists() else 0
        if actual != expected:
            raise InputError(
                f"{file} has {actual} bytes instead of {expected}: it was cut short; start over with --overwrite"
            )
        with file.open("rb") as opened:
            for start in range(0, self.rows, COPY_ROWS):
                count = min(COPY_ROWS, self.rows - start)
                part = torch.empty(count, *self.row_shape, dtype=self.dtype)
                opened.readinto(_bytes_of(part))
                self.write(start, part)

    def _offset(self, row: int) -> int:
        return (row - self._resident) * self._row_bytes

    def _read_file(self, start: int, stop: int) -> Tensor:
        assert self._file is not None
        found = torch.empty(stop - start, *self.row_shape, dtype=self.dtype)
        view, offset, done = _bytes_of(found), self._offset(start), 0
        while done < len(view):
            count = os.preadv(self._file.fileno(), [view[done:]], offset + done)
            if count == 0:
                raise OSError(f"hidden states ended {len(view) - done} bytes early")
            done += count
        return found

    def _write_file(self, start: int, values: Tensor) -> None:
        assert self._file is not None
        data, offset, done = _bytes_of(values), self._offset(start), 0
        while done < len(data):
            done += os.pwritev(self._file.fileno(), [data[done:]], offset + done)


def _bytes_of(values: Tensor) -> memoryview:
    return values.contiguous().view(-1).view(torch.uint8).numpy().data
