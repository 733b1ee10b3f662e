"""The hidden states of all parties on their way through the blocks, and the clock of each phase of the work.

What a pass computes follows from the model, the windows and the prune masks that were applied so far: runs that agree
in them may share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fedprllm_secure.calibration import InputEnergy, Stream, advance, calibrate, row_batches
from fedprllm_secure.editing import EditableBlock, pruned_edit
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Parties
from fedprllm_secure.pruners import Pruned
from fedprllm_secure.shared_work import Key, SharedWork, digest


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
        shared: SharedWork | None = None,
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
            shared: keeps what passes computed for runs with the very same ones.
        """
        self._shared = shared or SharedWork()
        self._model, self._parties, self._batch, self._keep_outputs = model, parties, batch_windows, keep_outputs
        shape = (parties.ids.shape[1], model.hidden_size)
        self.states = HiddenStates(
            len(parties.ids),
            shape,
            hidden_dtype or model.dtype,
            memory_limit_bytes=hidden_memory_bytes,
            folder=folder,
        )
        # By party, condensed: what decides its hidden states beside its windows. Keys of shared values are made of it.
        self._passed = [b""] * len(parties.streams)

    @cached_property
    def key(self) -> Key:
        """What decides the passes of unpruned blocks, in memory only: it tells of private text."""
        segments = [(segment.start, segment.stop) for segment in self._parties.segments]
        streams = [(stream.start, stream.stop) for stream in self._parties.streams]
        settings = (segments, streams, self._batch, self._keep_outputs, torch.get_num_threads())
        number = (self._model.dtype, self._model.device, self.states.dtype)
        return (self._model.checkpoint.sha256, digest(settings, number, self._parties.ids))

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

        def compute() -> InputEnergy:
            return calibrate(
                self._model,
                index,
                matrices,
                self.states,
                self._parties.segments,
                batch_windows=self._batch,
                keep_outputs=self._keep_outputs,
            )

        return self._shared_pass("calibrate", index, slice(0, self.states.rows), compute, moves=self._keep_outputs)

    def flow(self, index: int, editable: EditableBlock, pruned: Mapping[str, Pruned], stream: Stream) -> None:
        """Let a stream of windows flow on through the pruned block."""

        def compute() -> InputEnergy:
            with editable.edited(pruned_edit(pruned)):
                advance(self._model, index, self.states, stream, batch_windows=self._batch)
            return InputEnergy(0)

        if self._shared.is_on:
            self._note(index, stream, [part for name in pruned for part in (name, *_parts(pruned[name]))])
        self._shared_pass("flow", index, slice(stream.start, stream.stop), compute, moves=True)

    def resume_from(self, index: int) -> None:
        """Take note that hidden states were read back, those that enter block ``index``."""
        for stream in self._parties.streams if self._shared.is_on else []:
            rows = slice(stream.start, stream.stop)
            self._note(index, stream, [self.states.read(rows, torch.device("cpu"), self.states.dtype)])

    def _note(self, index: int, stream: Stream, through: Sequence[object]) -> None:
        """Take down what rows went through on their way to block ``index + 1``."""
        found = digest(index, *through)
        for number in self._parties_in(slice(stream.start, stream.stop)):
            self._passed[number] = digest(self._passed[number], found)

    def _parties_in(self, rows: slice) -> list[int]:
        streams = self._parties.streams
        return [n for n, stream in enumerate(streams) if rows.start <= stream.start and stream.stop <= rows.stop]

    def _shared_pass(
        self, what: str, index: int, rows: slice, compute: Callable[[], InputEnergy], *, moves: bool
    ) -> InputEnergy:
        """Pass rows through the block on the device, or take over what another run made of the very same ones.

        Args:
            what: which pass it is.
            index: the block.
            rows: of the hidden states.
            compute: makes the pass.
            moves: whether it replaces the hidden states by what leaves the block.
        """
        if not self._shared.is_on:
            return compute()
        before = [self._passed[number] for number in self._parties_in(rows)]
        key = (what, *self.key, index, rows.start, rows.stop, digest(before))
        found: tuple[InputEnergy, Tensor | None] | None = self._shared.find(key)
        if found is not None:
            sums, outputs = found
            if outputs is not None:
                self.states.write(rows.start, outputs)
            return sums
        started = time.perf_counter()
        sums = compute()
        seconds = time.perf_counter() - started
        state_bytes = (rows.stop - rows.start) * self.states.row_bytes if moves else 0

        def copied() -> tuple[InputEnergy, Tensor | None]:
            return sums, self.states.read(rows, torch.device("cpu"), self.states.dtype).clone() if moves else None

        self._shared.keep(key, copied, num_bytes=sums.num_bytes + state_bytes, seconds=seconds)
        return sums


def _parts(pruned: Pruned) -> tuple[object, ...]:
    return (pruned.prune_mask,) if pruned.weight is None else (pruned.prune_mask, pruned.weight)
