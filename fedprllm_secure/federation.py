"""Federated pruning: one loop over decoder blocks, several clients, one prune mask (FedPrLLM, arXiv 2505.13547).

For every block: calibrate all streams of windows, let each client decide what it would remove, sum the clients'
vectors in one session of the protocol, let the server select the global prune mask, and let hidden states flow on. The
in-process simulation and a deployment drive the same roles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fedprllm_secure.calibration import InputEnergy, Stream, advance, calibrate, row_batches
from fedprllm_secure.data.windows import Windows
from fedprllm_secure.editing import EditableBlock, pruned_edit
from fedprllm_secure.errors import InputError
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.manifest import Manifest
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.memory import release_freed_memory
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import CENTRAL, MAGNITUDE, Baselines, Parties
from fedprllm_secure.payloads import PAYLOADS
from fedprllm_secure.payloads.device_packing import pack_on_device
from fedprllm_secure.pruners import PRUNERS, Pruned
from fedprllm_secure.pruners.magnitude import magnitude
from fedprllm_secure.selection import select, tie_order
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import FEDERATED, BlockRecord, WorkFolder
from protocols import (
    PROTOCOLS,
    Integers,
    PackedVector,
    Roster,
    SessionPlan,
    SessionResult,
    Simulation,
    Step,
    generate_signing_key,
)

Progress = Callable[[str, int, int], None]


class Federation:
    """One federated pruning run of a model over clients' windows."""

    def __init__(
        self,
        model: StreamedModel,
        windows: Windows,
        method: Method,
        work: WorkFolder,
        *,
        thresholds: Thresholds | None = None,
        baselines: Baselines | None = None,
        batch_windows: int = 8,
        hidden_dtype: torch.dtype | None = None,
        hidden_memory_bytes: int = 4 << 30,
        dropouts: Callable[[int], Mapping[Step, frozenset[int]]] = lambda _: {},
        transcript: Callable[[int, Any], None] | None = None,
        progress: Progress = lambda *_: None,
    ) -> None:
        """Prepare a run; nothing is computed yet.

        Args:
            model: the public model.
            windows: each client's calibration windows.
            method: how to prune.
            work: where finished blocks are kept; a folder that holds some is continued from.
            thresholds: who must stay and who may collude; chosen for protocol and clients if None.
            baselines: prune masks to make beside the federated one.
            batch_windows: windows a forward pass.
            hidden_dtype: how hidden states are kept between blocks; the model's dtype if None.
            hidden_memory_bytes: past this, hidden states lie on disk.
            dropouts: by block, the clients that leave at each step (simulated).
            transcript: receives (block, entry) for every message the server sees.
            progress: receives (phase, done, total).

        Raises:
            InputError: a baseline names no client or no window, or a token id is none of the model's.
        """
        self.model, self.windows, self.method, self.work = model, windows, method, work
        self.thresholds = thresholds or Thresholds.choose(method.protocol, windows.num_clients)
        self.baselines = baselines or Baselines()
        self.num_clients = windows.num_clients
        self._batch, self._dropouts = batch_windows, dropouts
        self._transcript, self._progress = transcript, progress
        self._payload, self._pruner = PAYLOADS[method.payload], PRUNERS[method.pruner]
        self._keys = [generate_signing_key() for _ in range(self.num_clients)]
        self._roster = Roster.of(self._keys)
        self._manifest = Manifest(model, method, self._roster, window_length=windows.length)
        _check_vocabulary(windows.ids, model, "the clients' windows")
        if self.baselines.public is not None:
            _check_vocabulary(self.baselines.public, model, "the public windows")
        self._parties = Parties(windows, self.baselines, method.schedule)
        self._states = HiddenStates(
            len(self._parties.ids),
            (windows.length, model.hidden_size),
            hidden_dtype or model.dtype,
            memory_limit_bytes=hidden_memory_bytes,
            folder=work.folder,
        )
        self._seconds: dict[str, float] = {}

    def run(self) -> None:
        """Prune every block that is not finished yet.

        Raises:
            InputError: the sparsity does not fit a matrix, an activation is not finite, or the work folder holds
                another run or is in use.
            protocols.ProtocolError: a session failed; what was finished before stays.
        """
        with self.work.locked():
            self._claim_work()
            self._run()

    def _claim_work(self) -> None:
        """Make sure that finished blocks, if any, are this very run's."""
        public = self.baselines.public
        settings = self.method.manifest() | {
            "clients": self.num_clients,
            "dtype": str(self.model.dtype),
            "hidden_dtype": str(self._states.dtype),
            "central": self.baselines.central,
            "local_only": list(self.baselines.local_only),
            "magnitude": self.baselines.magnitude,
            "thresholds": self.thresholds.public(),
            "dropouts": [
                {step.name.lower(): sorted(clients) for step, clients in self._dropouts(index).items() if clients}
                for index in range(self.model.num_blocks)
            ],
        }
        texts = {"windows": self.windows.ids, "public windows": public}
        self.work.claim("federation", settings, texts=texts, digests={"model": self.model.checkpoint.sha256})

    def _run(self) -> None:
        first = self.work.finished_blocks()
        for index in range(self.model.num_blocks):
            matrices = prunable_matrices(self.model, index)
            for matrix in matrices:
                self.method.sparsity.check_fits(matrix.name, matrix.shape)
            try:
                PROTOCOLS[self.method.protocol].check(self._plan(index, matrices, session_number=0))
            except ValueError as error:
                raise InputError(f"--protocol {self.method.protocol}: {error}") from error
        self._progress("prune", first, self.model.num_blocks)
        with self.model.outer():
            self._embed(fill=first == 0)
        if 0 < first < self.model.num_blocks:
            self.work.load_states(first, self._states)
        for index in range(first):
            self._announce(self.work.prune_mask(index, matrix) for matrix in prunable_matrices(self.model, index))
        for index in range(first, self.model.num_blocks):
            self._prune_block(index)
            release_freed_memory(self.model.block_bytes(index))
            self._progress("prune", index + 1, self.model.num_blocks)

    @torch.no_grad()
    def _prune_block(self, index: int) -> None:
        self._seconds = {}
        started = time.perf_counter()
        matrices = prunable_matrices(self.model, index)
        with ExitStack() as stack:
            with self._timed("load"):
                block = stack.enter_context(self.model.block(index))
            editable = EditableBlock(block, matrices)
            with self._timed("calibrate"):
                sums = calibrate(
                    self.model,
                    index,
                    matrices,
                    self._states,
                    self._parties.streams,
                    batch_windows=self._batch,
                    keep_outputs=self.method.schedule.propagate == "dense",
                )
            session = self._open_session(index, matrices)
            masks, unseen = self._run_parties(index, editable, matrices, sums, session)
            with self._timed("protocol"):
                result = session.close()
            with self._timed("select"):
                masks[FEDERATED] = self._select(editable, matrices, result)
            if self.method.schedule.propagate == "global":
                decided = {name: Pruned(prune_mask) for name, prune_mask in masks[FEDERATED].items()}
                self._flow(index, editable, decided, self._parties.all_clients)
            self._announce(masks[FEDERATED][matrix.name] for matrix in matrices)
            masks |= self._shortcuts(editable, matrices, sums)
            self._seconds["pruning"] = time.perf_counter() - started
            record = BlockRecord(
                survivors=[int(client) for client in result.survivors],
                unseen_experts=unseen,
                seconds=dict(self._seconds),
                cost_by_step=_cost_by_step(result),
            )
            totals = {m.name: torch.from_numpy(result.totals[m.name]).view(m.shape) for m in matrices}
            self.work.save_block(index, record, totals, masks, self._states)

    def _run_parties(
        self,
        index: int,
        editable: EditableBlock,
        matrices: Sequence[PrunableMatrix],
        sums: InputEnergy,
        session: Simulation,
    ) -> tuple[dict[str, dict[str, Tensor]], int]:
        """Let every client decide, submit and go on, then every baseline; one party's masks are held at a time."""
        propagate = self.method.schedule.propagate
        present = set(session.submitters())
        masks: dict[str, dict[str, Tensor]] = {}
        unseen = 0
        for number, stream in enumerate(self._parties.streams):
            energies = {m.stream: sums.of(m, number) for m in matrices}
            pruned, missing = self._decide(editable, matrices, energies)
            is_client = self._parties.is_client(number)
            unseen += missing if is_client else 0
            if number in present:
                with self._timed("protocol"):
                    session.submit(number, self._vectors(session.plan, matrices, pruned))
            variant = self._parties.variant(number)
            if variant is not None:
                masks[variant] = {name: decision.prune_mask for name, decision in pruned.items()}
            if propagate == "local" or (propagate == "global" and not is_client):
                self._flow(index, editable, pruned, stream)
        return masks, unseen

    def _vectors(
        self, plan: SessionPlan, matrices: Sequence[PrunableMatrix], pruned: Mapping[str, Pruned]
    ) -> dict[str, Integers | PackedVector]:
        """Make what a client submits; on a GPU it is packed there, so that packed words cross to the host."""
        protocol = PROTOCOLS[self.method.protocol]
        vectors: dict[str, Integers | PackedVector] = {}
        for matrix, spec in zip(matrices, plan.vectors, strict=True):
            values = self._payload.vector(matrix, pruned[matrix.name])
            if values.device.type == "cpu":
                vectors[spec.name] = values.numpy()
            else:
                vectors[spec.name] = pack_on_device(values, protocol.layout(plan, spec), bound=spec.bound)
        return vectors

    def _decide(
        self, editable: EditableBlock, matrices: Sequence[PrunableMatrix], energies: Mapping[str, Tensor | None]
    ) -> tuple[dict[str, Pruned], int]:
        """Let one party prune every matrix; count the experts it never saw."""
        decided, unseen = {}, 0
        with self._timed("decide"):
            for matrix in matrices:
                weight = editable.weight(matrix)
                weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
                energy = energies[matrix.stream]
                if energy is None and not matrix.region:
                    raise InputError(
                        f"{matrix.name} takes no part in the model's forward pass, so it cannot be calibrated; this "
                        "architecture cannot be pruned"
                    )
                if energy is None:
                    # No token of this party reached the expert: all its inputs count alike, which is magnitude.
                    unseen += 1
                    energy = torch.ones(matrix.shape[1], device=weight.device)
                decided[matrix.name] = self._pruner(
                    weight,
                    energy.to(weight.device, weight.dtype),
                    sparsity=self.method.sparsity,
                    group=self.method.local_group,
                )
        return decided, unseen

    def _announce(self, prune_masks: Iterable[Tensor]) -> None:
        """Bind later sessions to a block's result, where clients are told it before they go on."""
        if self.method.schedule.propagate == "global":
            self._manifest.announce(prune_masks)

    def _flow(self, index: int, editable: EditableBlock, pruned: Mapping[str, Pruned], stream: Stream) -> None:
        with self._timed("propagate"), editable.edited(pruned_edit(pruned)):
            advance(self.model, index, self._states, stream, batch_windows=self._batch)

    def _select(
        self, editable: EditableBlock, matrices: Sequence[PrunableMatrix], result: SessionResult
    ) -> dict[str, Tensor]:
        selected = {}
        for matrix in matrices:
            weight = editable.weight(matrix)
            keys = [
                self._payload.removal_keys(matrix, result.totals[matrix.name]).to(weight.device),
                *tie_order(self.method.ties, weight, seed=self.method.seed, name=matrix.name),
            ]
            selected[matrix.name] = select(keys, self.method.sparsity, self.method.group)
        return selected

    def _shortcuts(
        self, editable: EditableBlock, matrices: Sequence[PrunableMatrix], sums: InputEnergy
    ) -> dict[str, dict[str, Tensor]]:
        """Make the baselines that need no forward pass of their own."""
        found = {}
        if self.baselines.central and self.method.schedule.propagate == "dense":
            # Unpruned activations do not depend on who holds a window: the parties' sums are the central party's.
            energies = {m.stream: sums.of_first(m, self.num_clients) for m in matrices}
            decided, _ = self._decide(editable, matrices, energies)
            found[CENTRAL] = {name: decision.prune_mask for name, decision in decided.items()}
        if self.baselines.magnitude:
            found[MAGNITUDE] = {
                m.name: magnitude(
                    editable.weight(m), torch.empty(0), sparsity=self.method.sparsity, group=self.method.local_group
                ).prune_mask
                for m in matrices
            }
        return found

    def _embed(self, *, fill: bool) -> None:
        """Fill the hidden states that enter block 0; a resumed run only records what blocks need for each shape."""
        seen: set[int] = set()
        for stream in [*self._parties.streams, self._parties.all_clients]:
            for rows in row_batches(stream.start, stream.stop, self._batch):
                count = rows.stop - rows.start
                if fill or count not in seen:
                    hidden = self.model.embed(self._parties.ids[rows])
                    if fill:
                        self._states.write(rows.start, hidden)
                seen.add(count)
        for rows in row_batches(0, len(self._parties.ids), self._batch):  # batches across streams may have another size
            if rows.stop - rows.start not in seen:
                self.model.embed(self._parties.ids[rows])
                seen.add(rows.stop - rows.start)

    def claim(self) -> str:
        """Say in a line what the protocol protects against under the thresholds of this run."""
        plan = self._plan(0, prunable_matrices(self.model, 0), session_number=0)
        return PROTOCOLS[self.method.protocol].claim(plan)

    def _plan(self, index: int, matrices: Sequence[PrunableMatrix], *, session_number: int) -> SessionPlan:
        return SessionPlan(
            manifest_hash=self._manifest.digest(block=index, session_number=session_number),
            session_number=session_number,
            roster=self._roster,
            vectors=self._payload.specs(matrices),
            recovery_threshold=self.thresholds.recovery_threshold,
            minimum_survivors=self.thresholds.minimum_survivors,
            assumed_colluders=self.thresholds.assumed_colluders,
            neighbours=self.thresholds.neighbours,
            beacon=self.thresholds.beacon,
        )

    def _open_session(self, index: int, matrices: Sequence[PrunableMatrix]) -> Simulation:
        plan = self._plan(index, matrices, session_number=self.work.next_session_number())
        recorder = None if self._transcript is None else partial(self._transcript, index)
        session = Simulation(
            PROTOCOLS[self.method.protocol], plan, self._keys, dropouts=self._dropouts(index), transcript=recorder
        )
        with self._timed("protocol"):
            session.open()
        return session

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - started


def _check_vocabulary(ids: Tensor, model: StreamedModel, what: str) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < model.vocabulary_size:
        raise InputError(
            f"{what} hold token ids from {int(ids.min())} to {int(ids.max())}, the model knows 0 to "
            f"{model.vocabulary_size - 1}; cut them with the model's own tokenizer"
        )


def _cost_by_step(result: SessionResult) -> dict[str, dict[str, float]]:
    return {
        step.name.lower(): {
            "client_up_max_bytes": max(traffic.bytes_up.values(), default=0),
            "client_down_max_bytes": max(traffic.bytes_down.values(), default=0),
            "server_in_bytes": traffic.server_bytes_in,
            "server_out_bytes": traffic.server_bytes_out,
            "client_max_seconds": max(traffic.client_seconds.values(), default=0.0),
            "server_seconds": traffic.server_seconds,
        }
        for step, traffic in result.traffic.items()
    }
