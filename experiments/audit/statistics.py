"""Statistics of every window of an audit, computed once and kept, so that a world costs a sum and a selection.

With dense propagation what a run's client calibrates on is exactly the sum over its windows; under other propagations
that holds for block 0 alone.

Kept files are named by a keyed hash of model, windows and version under a key that never leaves this machine: a name
tells nobody which text an audit was about (a plain hash would let anyone test a guess).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.audit.machine_key import machine_key
from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.data import Windows
from fedprllm_secure.editing import EditableBlock
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines
from fedprllm_secure.payloads import PartyView
from fedprllm_secure.survey import Survey
from fedprllm_secure.survey_state import SurveyState
from fedprllm_secure.work import WorkFolder

CACHE = Path("~/.cache/fedprllm-secure/audit")


@dataclass(frozen=True, slots=True)
class AuditBlock:
    """A block on the device, and what every window sent into it.

    Attributes:
        index: its number.
        matrices: its prunable matrices.
        editable: its weights.
        sums: statistics, a segment each window.
    """

    index: int
    matrices: tuple[PrunableMatrix, ...]
    editable: EditableBlock
    sums: InputEnergy

    def view(self, windows: np.ndarray | None = None, matrices: tuple[PrunableMatrix, ...] | None = None) -> PartyView:
        """Give the view of a party with these windows, negative numbers none; without windows, the server's."""
        view = PartyView(matrices or self.matrices, self.editable.weight, self.sums.sources)
        if windows is None:
            return view
        entered = dict.fromkeys(view.source(matrix) for matrix in view.matrices)
        reached = [source for source in entered if source in self.sums.energies]
        return replace(view, energies=self.sums.of(torch.from_numpy(windows[windows >= 0]), reached))


@dataclass(frozen=True, kw_only=True)
class KeptStatistics:
    """Statistics of windows, where they lie; another process can be given them.

    Attributes:
        model: the public model.
        window_length: tokens of a window.
        state: where they lie.
    """

    model: StreamedModel = field(repr=False)
    window_length: int
    state: SurveyState = field(repr=False)

    def blocks(self) -> Iterator[AuditBlock]:
        """Load one block after the other."""
        for index in range(self.model.num_blocks):
            with self.block(index) as block:
                yield block

    @contextmanager
    def block(self, index: int) -> Iterator[AuditBlock]:
        """Load a block onto the device for the length of a ``with``."""
        with self.model.block(index) as module:
            matrices = tuple(prunable_matrices(self.model, index))
            yield AuditBlock(index, matrices, EditableBlock(module, matrices), self.state.block(index))

    @cached_property
    def channels(self) -> dict[tuple[int, str], slice]:
        """Where each input source of each block stands among all channels, one after another."""
        places: dict[tuple[int, str], slice] = {}
        start = 0
        for index, sums in enumerate(self.state.blocks()):
            for source, energy in sums.energies.items():
                places[index, source] = slice(start, start + energy.shape[1])
                start += energy.shape[1]
        return places

    @cached_property
    def energies(self) -> np.ndarray:
        """Sums of squared inputs over each window's tokens, float64 (windows, channels)."""
        found = [energy.numpy() for sums in self.state.blocks() for energy in sums.energies.values()]
        return np.concatenate(found, axis=1)


@dataclass(frozen=True, kw_only=True)
class WindowStatistics(KeptStatistics):
    """Statistics of all windows of an audit.

    Attributes:
        federation: of all windows as clients with one each; what they were made with.
    """

    federation: Federation = field(repr=False)

    @property
    def kept(self) -> KeptStatistics:
        """The same without what made them."""
        return KeptStatistics(model=self.model, window_length=self.window_length, state=self.state)


def window_statistics(
    model: StreamedModel,
    ids: Tensor,
    method: Method,
    *,
    public: Tensor | None,
    cache: Path,
    batch_windows: int,
    progress: Callable[[str, int, int], None],
) -> WindowStatistics:
    """Pass windows through the unpruned model, or read what an earlier audit of the same windows kept.

    Args:
        model: the public model.
        ids: int64 (windows, tokens).
        method: of statistics with dense propagation; with differential privacy if public text is to make a basis.
        public: windows of public text, (windows, tokens).
        cache: folder of kept statistics; only this user may enter it.
        batch_windows: windows a forward pass.
        progress: receives (phase, done, total).

    Raises:
        InputError: an activation is not finite, another process is at the same windows, or the key was cut short.
    """
    folder = cache.expanduser() / _name(cache.expanduser(), model, ids, public, method)
    windows = Windows(ids, num_clients=len(ids), per_client=1, length=ids.shape[1])
    federation = Federation(
        model,
        windows,
        method,
        WorkFolder(folder),
        baselines=Baselines(public=public),
        batch_windows=batch_windows,
    )
    with federation.work.locked(), torch.no_grad():
        state = Survey(federation, progress=progress).survey()
    return WindowStatistics(model=model, window_length=windows.length, state=state, federation=federation)


def _name(cache: Path, model: StreamedModel, ids: Tensor, public: Tensor | None, method: Method) -> str:
    """Name the folder of these windows by a keyed hash."""
    digest = hmac.new(machine_key(cache), digestmod=hashlib.sha256)
    has_basis = method.privacy is not None
    for part in (version("fedprllm-secure"), model.checkpoint.sha256, str(model.dtype), f"basis {has_basis}"):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    for windows in (ids, public):
        found = b"" if windows is None else windows.numpy().astype("<i8").tobytes()
        digest.update(repr(None if windows is None else tuple(windows.shape)).encode() + b";" + found)
    return digest.hexdigest()[:32]
