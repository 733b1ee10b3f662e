"""The hidden states of all parties on their way through the blocks, and the clock of each phase of the work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from fedprllm_secure.calibration import InputEnergy, Stream, advance, calibrate, row_batches
from fedprllm_secure.editing import EditableBlock, pruned_edit
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Parties
from fedprllm_secure.pruners import Pruned


class Clock:
    """Seconds by phase of the work on a block."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the length of a ``with`` to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started


class Propagation:
    """Takes the windows of all parties from block to block."""

    def __init__(
        self,
        model: StreamedModel,
        parties: Parties,
        *,
        batch_windows: int,
        hidden_dtype: torch.dtype | None,
        hidden_memory_bytes: int,
        folder: Path,
        keep_outputs: bool,
    ) -> None:
        """Set aside the room.

        Args:
            model: the public model.
            parties: whose windows.
            batch_windows: windows a forward pass.
            hidden_dtype: how hidden states are kept between blocks; the model's dtype if None.
            hidden_memory_bytes: past this, hidden states lie on disk.
            folder: where they lie then.
            keep_outputs: whether the outputs of the unpruned block flow on.
        """
        self._model, self._parties, self._batch, self._keep_outputs = model, parties, batch_windows, keep_outputs
        shape = (parties.ids.shape[1], model.hidden_size)
        self.states = HiddenStates(
            len(parties.ids),
            shape,
            hidden_dtype or model.dtype,
            memory_limit_bytes=hidden_memory_bytes,
            folder=folder,
        )

    def embed(self, *, fill: bool) -> None:
        """Fill the hidden states that enter block 0; a resumed run only records what blocks need for each shape."""
        recorded: set[int] = set()
        for stream in self._parties.streams if fill else []:
            for rows in row_batches(stream.start, stream.stop, self._batch):
                self.states.write(rows.start, self._model.embed(self._parties.ids[rows]))
                recorded.add(rows.stop - rows.start)
        everything = Stream("all rows", 0, len(self._parties.ids))  # batches across streams may have another size
        for stream in [*self._parties.streams, *self._parties.segments, self._parties.all_clients, everything]:
            for rows in row_batches(stream.start, stream.stop, self._batch):
                if rows.stop - rows.start not in recorded:
                    self._model.embed(self._parties.ids[rows])
                    recorded.add(rows.stop - rows.start)

    def calibrate(self, index: int, matrices: Sequence[PrunableMatrix]) -> InputEnergy:
        """Run the unpruned block, which is on the device, over all windows and add up what enters its matrices.

        Raises:
            InputError: an activation is not finite.
        """
        return calibrate(
            self._model,
            index,
            matrices,
            self.states,
            self._parties.segments,
            batch_windows=self._batch,
            keep_outputs=self._keep_outputs,
        )

    def flow(self, index: int, editable: EditableBlock, pruned: Mapping[str, Pruned], stream: Stream) -> None:
        """Let a stream of windows flow on through the pruned block."""
        with editable.edited(pruned_edit(pruned)):
            advance(self._model, index, self.states, stream, batch_windows=self._batch)
