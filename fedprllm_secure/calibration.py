"""Calibration: what flows into every prunable matrix of a block, summed for each of several streams of windows.

One calibrator handles a list of streams: the n clients of a simulation, one client of a deployment, and the
pseudo-clients that baselines need. Windows of several streams share a batch; their sums are kept apart by segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedprllm_secure.errors import InputError
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.models.streamed import StreamedModel


@dataclass(frozen=True, slots=True)
class Stream:
    """A run of windows that belong together: a client's, or a baseline's.

    Attributes:
        name: for messages, such as ``client 3``.
        start: its first row in the hidden states.
        stop: the row after its last.
    """

    name: str
    start: int
    stop: int


class InputEnergy:
    """Sums of squared inputs by stream of windows and by stream of activations.

    Attributes:
        sources: by input stream of a matrix, the stream that stands for all with the very same activations (those of q
            for q, k and v).
        energies: by source, float64 (streams, in): sum over tokens of the squared input of each channel.
        tokens: by source, int64 (streams,): tokens counted (fewer than all for an expert).
    """

    def __init__(self, num_streams: int) -> None:
        """Start at zero."""
        self._num_streams = num_streams
        self.sources: dict[str, str] = {}
        self.energies: dict[str, Tensor] = {}
        self.tokens: dict[str, Tensor] = {}

    def add(self, key: str, segments: Tensor, energy: Tensor, tokens: int) -> None:
        """Add energies (windows, in) of windows that belong to ``segments`` (windows,), ``tokens`` tokens each."""
        if key not in self.energies:
            self.energies[key] = torch.zeros(
                self._num_streams, energy.shape[1], dtype=torch.float64, device=energy.device
            )
            self.tokens[key] = torch.zeros(self._num_streams, dtype=torch.int64, device=energy.device)
        self.energies[key].index_add_(0, segments, energy.double())
        self.tokens[key].index_add_(0, segments, torch.full_like(segments, tokens))

    def of(self, rows: slice | Tensor, sources: Iterable[str] | None = None) -> dict[str, Tensor | None]:
        """Give what these streams of windows together sent into each source, (in,); None where no token got there.

        Args:
            rows: streams of windows.
            sources: those that are asked for; by default all.
        """
        return {
            source: self.energies[source][rows].sum(0) if bool(self.tokens[source][rows].any()) else None
            for source in (self.energies if sources is None else sources)
        }

    @property
    def num_bytes(self) -> int:
        """Bytes of the sums."""
        return sum(t.numel() * t.element_size() for t in (*self.energies.values(), *self.tokens.values()))

    def check_finite(self, streams: Sequence[Stream], block_name: str) -> None:
        """Refuse infinite or undefined activations.

        Raises:
            InputError: naming the matrix, the stream and the channel.
        """
        for key, energy in self.energies.items():
            wrong = (~energy.isfinite()).nonzero()
            if len(wrong):
                stream, channel = wrong[0].tolist()
                raise InputError(
                    f"activations entering {block_name}.{key}, channel {channel}, are not finite for "
                    f"{streams[stream].name}: the model overflows in the dtype of its weights or hidden states; "
                    "use float32 for both (--dtype, --hidden-dtype)"
                )


class _AllSeen(Exception):
    """Every input of the block has been seen; what would follow is not needed."""


class InputRecorder:
    """Watches a block's forward passes and adds up what enters its prunable matrices."""

    def __init__(self, matrices: Sequence[PrunableMatrix], block: nn.Module, sums: InputEnergy) -> None:
        """Prepare to watch ``block``; :meth:`watching` attaches it."""
        self._sums = sums
        self._block = block
        self._modules = {m.stream: block.get_submodule(m.stream) for m in matrices if not m.region}
        self._experts = {m.parameter: block.get_parameter(m.parameter) for m in matrices if m.region}
        self._segments = torch.empty(0, dtype=torch.int64)
        self._last_input: Tensor | None = None
        self._last_source = ""
        self._last_module: str | None = None
        self._stops_early = False

    @property
    def routes_tokens(self) -> bool:
        """Whether some matrices see only some tokens, so that a batch must hold one stream only."""
        return bool(self._experts)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Attach to the block for the length of a ``with``."""
        with ExitStack() as stack:
            for key, module in self._modules.items():
                handle = module.register_forward_pre_hook(self._hook(key))
                stack.callback(handle.remove)
            if self._experts:
                stack.enter_context(_ExpertCalls(self))
            yield

    def run(
        self, model: StreamedModel, index: int, hidden: Tensor, segments: Tensor, *, keep_output: bool
    ) -> Tensor | None:
        """Pass a batch (windows, tokens, hidden) through the block; without output, stop at the last input needed."""
        self._segments = segments.to(hidden.device)
        self._last_input = None
        self._stops_early = not keep_output and self._last_module is not None and not self._experts
        try:
            output = model.forward(index, hidden)
        except _AllSeen:
            return None
        if self._last_module is None:
            self._last_module = self._latest
        return output

    def _hook(self, key: str) -> Any:
        def record(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            activations = args[0]
            # Matrices that share an input (q, k, v) are called one after the other with the very same tensor.
            if activations is not self._last_input:
                shaped = activations.reshape(len(self._segments), -1, activations.shape[-1])
                self._last_input, self._last_source = activations, key
                self._sums.add(key, self._segments, _energy(shaped), shaped.shape[1])
            self._sums.sources[key] = self._last_source
            self._latest = key
            if self._stops_early and key == self._last_module:
                raise _AllSeen

        return record

    def add_routed(self, key: str, activations: Tensor) -> None:
        """Add the tokens (tokens, in) that one expert received; all of one stream."""
        segment = self._segments[:1]
        self._sums.sources[key] = key
        self._sums.add(key, segment, _energy(activations[None]), activations.shape[0])

    def expert_of(self, weight: Any) -> str | None:
        """Name the input stream of a slice of a fused parameter, or None for any other weight."""
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            return None
        for name, parameter in self._experts.items():
            if weight.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr():
                expert = (weight.storage_offset() - parameter.storage_offset()) // parameter.stride(0)
                return f"{name}[{expert}]"
        return None


class _ExpertCalls(TorchFunctionMode):
    """Sees each expert's tokens at the moment they are multiplied with its slice of the fused parameter."""

    def __init__(self, recorder: InputRecorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.linear:
            key = self._recorder.expert_of(args[1])
            if key is not None:
                self._recorder.add_routed(key, args[0])
        return func(*args, **(kwargs or {}))


def _energy(activations: Tensor) -> Tensor:
    """Sum squares over tokens: (windows, tokens, in) to (windows, in), at least in float32."""
    dtype = torch.promote_types(activations.dtype, torch.float32)
    return torch.linalg.vector_norm(activations, dim=1, dtype=dtype).square()


def calibrate(
    model: StreamedModel,
    index: int,
    matrices: Sequence[PrunableMatrix],
    states: HiddenStates,
    streams: Sequence[Stream],
    *,
    batch_windows: int,
    keep_outputs: bool,
) -> InputEnergy:
    """Run the unpruned block over every stream and add up what enters its matrices.

    Args:
        model: with block ``index`` on the device.
        index: the block.
        matrices: its prunable matrices.
        states: the hidden states that enter it; replaced by what leaves it if ``keep_outputs``.
        streams: the rows that belong together.
        batch_windows: windows a batch.
        keep_outputs: whether the unpruned block's outputs flow on.

    Raises:
        InputError: an activation is not finite.
    """
    sums = InputEnergy(len(streams))
    recorder = InputRecorder(matrices, model.block_module(index), sums)
    with recorder.watching():
        for rows, segments in _batches(streams, batch_windows, apart=recorder.routes_tokens):
            hidden = states.read(rows, model.device, model.dtype)
            output = recorder.run(model, index, hidden, segments, keep_output=keep_outputs)
            if output is not None and keep_outputs:
                states.write(rows.start, output)
    sums.check_finite(streams, model.block_name(index))
    return sums


def advance(model: StreamedModel, index: int, states: HiddenStates, stream: Stream, *, batch_windows: int) -> None:
    """Replace a stream's hidden states by what the block on the device, as it now is, makes of them."""
    for rows in row_batches(stream.start, stream.stop, batch_windows):
        states.write(rows.start, model.forward(index, states.read(rows, model.device, model.dtype)))


def row_batches(start: int, stop: int, batch_windows: int) -> Iterator[slice]:
    """Cut rows start ... stop-1 into slices of at most ``batch_windows``."""
    for first in range(start, stop, batch_windows):
        yield slice(first, min(first + batch_windows, stop))


def _batches(streams: Sequence[Stream], batch_windows: int, *, apart: bool) -> Iterator[tuple[slice, Tensor]]:
    if apart:
        for number, stream in enumerate(streams):
            for rows in row_batches(stream.start, stream.stop, batch_windows):
                yield rows, torch.full((rows.stop - rows.start,), number)
        return
    # Streams lie one after the other, so a batch is a slice of rows and each row knows its stream.
    owner = torch.cat([torch.full((stream.stop - stream.start,), number) for number, stream in enumerate(streams)])
    offset = streams[0].start
    for rows in row_batches(offset, offset + len(owner), batch_windows):
        yield rows, owner[rows.start - offset : rows.stop - offset]
