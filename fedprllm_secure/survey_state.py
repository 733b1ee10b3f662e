"""What a survey leaves behind: every window's statistics of every block, and the totals of its one session.

Files lie in the run's work folder (mode 0700), appear by rename and go with it. A block is surveyed when its file has
its name; the session is over when its totals have theirs, and is never run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.checkpoint import TensorWriter
from fedprllm_secure.work import BlockRecord


class SurveyState:
    """The files of one survey."""

    def __init__(self, folder: Path, *, num_segments: int) -> None:
        """Use the folder of a run; segments are those of its parties."""
        self._folder, self._num_segments = folder, num_segments

    def surveyed_blocks(self) -> int:
        """Count the blocks, from the first on, whose statistics are stored."""
        count = 0
        while self._block_file(count).exists():
            count += 1
        return count

    def save_block(self, index: int, sums: InputEnergy, seconds: Mapping[str, float]) -> None:
        """Store a block's statistics, and what they took."""
        tensors = {f"energy/{source}": energy.cpu() for source, energy in sums.energies.items()}
        tensors |= {f"tokens/{source}": tokens.cpu() for source, tokens in sums.tokens.items()}
        _write(self._block_file(index), tensors, {"sources": sums.sources, "seconds": dict(seconds)})

    def block(self, index: int, rows: slice | None = None) -> InputEnergy:
        """Read a block's statistics: of every window, or of ``rows`` alone, which are then numbered from 0."""
        tensors, facts = _read(self._block_file(index), rows)
        sums = InputEnergy(self._num_segments if rows is None else rows.stop - rows.start)
        sums.sources = dict(facts["sources"])
        for name, tensor in tensors.items():
            kind, _, source = name.partition("/")
            (sums.energies if kind == "energy" else sums.tokens)[source] = tensor
        return sums

    def blocks(self) -> Iterator[InputEnergy]:
        """Read every surveyed block's statistics in order, one at a time."""
        return (self.block(index) for index in range(self.surveyed_blocks()))

    def num_bytes(self) -> int:
        """Give the bytes of all stored statistics."""
        return sum(self._block_file(index).stat().st_size for index in range(self.surveyed_blocks()))

    def seconds(self, index: int) -> dict[str, float]:
        """Read what a block's statistics took, by phase."""
        return dict(_read(self._block_file(index))[1]["seconds"])

    @property
    def has_totals(self) -> bool:
        """Whether the session is over."""
        return self._totals_file.exists()

    def save_totals(self, totals: Mapping[str, Tensor], record: BlockRecord) -> None:
        """Store the session's totals and figures."""
        _write(self._totals_file, dict(totals), {"record": asdict(record)})

    def totals(self) -> tuple[dict[str, Tensor], BlockRecord]:
        """Read the session's totals, (length,) int32 or int64 by vector name, and its figures."""
        tensors, facts = _read(self._totals_file)
        return tensors, BlockRecord(**facts["record"])

    @property
    def _totals_file(self) -> Path:
        return self._folder / "survey-totals.safetensors"

    def _block_file(self, index: int) -> Path:
        return self._folder / f"survey-{index:04d}.safetensors"


def _write(file: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    with TensorWriter(file, layout, metadata={"facts": json.dumps(facts)}) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor.contiguous())


def _read(file: Path, rows: slice | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    part = slice(None) if rows is None else rows
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_slice(name)[part] for name in opened.keys()}  # noqa: SIM118 - no mapping
            return tensors, json.loads(opened.metadata()["facts"])
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} cannot be read or was cut short ({error}); start over with --overwrite") from error
