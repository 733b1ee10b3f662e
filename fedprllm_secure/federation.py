"""Federated pruning: one loop over decoder blocks, several clients, one prune mask (FedPrLLM, arXiv 2505.13547).

For every block: calibrate all streams of windows, let each client make what it shares, sum the clients' vectors in one
session of the protocol, let the server choose the global prune mask, and let hidden states flow on. Where statistics of
the unpruned model are shared, one session serves all blocks: `fedprllm_secure.survey`. The in-process simulation and a
deployment drive the same roles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import torch
from torch import Tensor

from fedprllm_secure.baseline_masks import Masks, Shortcuts
from fedprllm_secure.block import Block
from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.data.windows import Windows
from fedprllm_secure.editing import EditableBlock
from fedprllm_secure.errors import InputError
from fedprllm_secure.manifest import Manifest
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.memory import release_freed_memory
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines, Parties, yardstick_windows
from fedprllm_secure.payloads import Decision, Payload
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.release import Release, Sensitivity
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.private_sessions import PrivateSessions, check_apart, synthetic_public
from fedprllm_secure.propagation import Clock, Propagation
from fedprllm_secure.pruners import Pruned
from fedprllm_secure.residuals.public_basis import Rows
from fedprllm_secure.sessions import Charge, Clients, Dropouts, OpenSession, Sessions, Transcript, cost_by_step
from fedprllm_secure.shared_work import SharedWork
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import FEDERATED, BlockRecord, WorkFolder
from protocols import PROTOCOLS

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
        dropouts: Dropouts = lambda _: {},
        transcript: Transcript | None = None,
        charge: Charge | None = None,
        progress: Progress = lambda *_: None,
        shared: SharedWork | None = None,
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
            transcript: receives every session's plan, and every message the server sees.
            charge: charges a client's ledger with a release before its message leaves.
            progress: receives (phase, done, total).
            shared: keeps what runs of this process compute alike, such as what flows into a block; nothing by default.

        Raises:
            InputError: a baseline names no client or no window, or a token id is none of the model's.
        """
        self.model, self.windows, self.method, self.work = model, windows, method, work
        self.thresholds = thresholds or Thresholds.choose(method.protocol, windows.num_clients)
        self.baselines = baselines or Baselines()
        self.num_clients = windows.num_clients
        self._dropouts, self._progress = dropouts, progress
        self.shared = shared or SharedWork()
        protocol = PROTOCOLS[method.protocol]
        payload = method.make_payload(largest_bound=protocol.largest_bound(self.num_clients)).in_model(model)
        clients = Clients(self.num_clients)
        self._manifest = Manifest(model, method, clients.roster, window_length=windows.length)
        self.sessions = Sessions(
            protocol,
            self.thresholds,
            clients,
            self._manifest,
            work,
            dropouts=dropouts,
            transcript=transcript,
            charge=charge,
        )
        _check_vocabulary(windows.ids, model, "the clients' windows")
        public = self.baselines.public
        if public is not None:
            _check_vocabulary(public, model, "the public windows")
            if method.privacy is not None:
                check_apart(windows.ids, public)
        yardstick = None if payload.submits_decision else yardstick_windows(windows.length, model.vocabulary_size)
        self.parties = Parties(
            windows,
            self.baselines,
            method.schedule,
            yardstick=yardstick,
            synthetic=synthetic_public(public, method, vocabulary_size=model.vocabulary_size),
            by_window=method.is_surveyed,
        )
        self._planned = PrivateSessions(
            model, method, payload, parties=self.parties, thresholds=self.thresholds, work=work
        )
        self.payload = self._planned.payload
        self.shortcuts = Shortcuts(method, self.payload, self.parties, self.baselines)
        self.propagation = Propagation(
            model,
            self.parties,
            batch_windows=batch_windows,
            hidden_dtype=hidden_dtype,
            hidden_memory_bytes=hidden_memory_bytes,
            folder=work.folder,
            keep_outputs=method.schedule.propagate == "dense",
            # A survey is shared as a whole: its hidden states are many times its statistics.
            shared=None if method.is_surveyed else self.shared,
        )

    def run(self) -> None:
        """Prune every block that is not finished yet.

        Raises:
            InputError: the sparsity does not fit a matrix, an activation is not finite, or the work folder holds
                another run or is in use.
            protocols.ProtocolError: a session failed; what was finished before stays.
        """
        with self.work.locked(), torch.no_grad():
            self._claim_work()
            for index in range(self.model.num_blocks):
                for matrix in prunable_matrices(self.model, index):
                    self.method.sparsity.check_fits(matrix.name, matrix.shape)
            if self.method.is_surveyed:
                from fedprllm_secure.survey import Survey

                Survey(self, progress=self._progress).run()
            else:
                self._run()

    def finished_blocks(self) -> int:
        """Count the blocks, from the first on, that an earlier run finished.

        Raises:
            InputError: something that the others rest on is gone.
        """
        return self.work.finished_blocks(needs_states=not self.method.is_surveyed)

    def claim(self) -> str:
        """Say in a line what the protocol protects against under the thresholds of this run."""
        return self.sessions.claim(self._planned.contents(0))

    def _claim_work(self) -> None:
        """Make sure that finished blocks, if any, are this very run's."""
        settings = self.method.manifest() | {
            "clients": self.num_clients,
            "dtype": str(self.model.dtype),
            "hidden_dtype": str(self.propagation.states.dtype),
            "central": self.baselines.central,
            "local_only": list(self.baselines.local_only),
            "magnitude": self.baselines.magnitude,
            "thresholds": self.thresholds.public(),
            "dropouts": [
                {step.name.lower(): sorted(clients) for step, clients in self._dropouts(index).items() if clients}
                for index in range(self.model.num_blocks)
            ],
        }
        texts = {"windows": self.windows.ids, "public windows": self.baselines.public}
        self.work.claim("federation", settings, texts=texts, digests={"model": self.model.checkpoint.sha256})

    def _run(self) -> None:
        first, last = self.finished_blocks(), self.model.num_blocks
        one_shot = self.method.schedule.rounds == "one-shot"
        for index in range(last) if one_shot else []:
            self.sessions.check(self._planned.contents(index))
        self._progress("prune", first, last)
        self.embed(first)
        for index in range(first):
            self._announce(self.work.prune_mask(index, matrix) for matrix in prunable_matrices(self.model, index))
        clock = Clock()
        with clock.timed("protocol"):
            # Clients of a one-shot run wait for no result, so nothing stands between them and all their keys.
            opened = self.sessions.open(
                [self._planned.contents(index) for index in range(first, last)] if one_shot else []
            )
        for index in range(first, last):
            self._prune_block(index, opened.pop(0) if opened else None, clock)
            clock = Clock()
            release_freed_memory(self.model.block_bytes(index))
            self._progress("prune", index + 1, last)

    def embed(self, first: int) -> None:
        """Make the hidden states that enter block ``first``, or read them back."""
        with self.model.outer():
            self.propagation.embed(fill=first == 0)
        if 0 < first < self.model.num_blocks:
            self.work.load_states(first, self.propagation.states)
            self.propagation.resume_from(first)

    def _prune_block(self, index: int, session: OpenSession | None, clock: Clock) -> None:
        started = time.perf_counter()
        with ExitStack() as stack:
            block = self.enter(index, stack, clock)
            with clock.timed("calibrate"):
                sums = self.propagation.calibrate(index, block.matrices)
            payload = self.prepared(block, sums)
            if session is None:
                with clock.timed("protocol"):
                    (session,) = self.sessions.open([self._planned.contents_of(index, payload, block.view(sums))])
            masks, unseen = self._run_parties(block, payload, sums, session, clock)
            with clock.timed("protocol"):
                result = session.close()
            with clock.timed("select"):
                chosen = payload.choose(block.view(sums), result.totals, survivors=len(result.survivors))
                masks[FEDERATED] = chosen
            if self.method.schedule.propagate == "global":
                decided = {name: Pruned(prune_mask) for name, prune_mask in chosen.items()}
                with clock.timed("propagate"):
                    self.propagation.flow(index, block.editable, decided, self.parties.all_clients)
            self._announce(chosen[matrix.name] for matrix in block.matrices)
            masks |= self.shortcuts.masks(block, sums)
            clock.seconds["pruning"] = time.perf_counter() - started
            record = BlockRecord(
                survivors=[int(client) for client in result.survivors],
                unseen_experts=unseen,
                seconds=dict(clock.seconds),
                cost_by_step=cost_by_step(result),
                agreed=dict(payload.public()),
            )
            # A noisy choice is all that is released then; its totals stay in memory and go.
            released = {} if self.chooses else result.totals
            totals = {name: torch.from_numpy(total) for name, total in released.items()}
            self.work.save_states(index + 1, self.propagation.states)
            self.work.save_block(index, record, totals, masks)
            self.work.drop_states(index)

    def enter(self, index: int, stack: ExitStack, clock: Clock) -> Block:
        """Load a block onto the device for as long as ``stack`` stands."""
        matrices = prunable_matrices(self.model, index)
        with clock.timed("load"):
            module = stack.enter_context(self.model.block(index))
        return Block(index, matrices, EditableBlock(module, matrices))

    def prepared(self, block: Block, sums: InputEnergy) -> Payload:
        """Fit the payload to a block by what the public party sent into it."""
        if self.parties.public is None:
            return self.payload
        public = self.parties.streams[self.parties.public]
        share = self.windows.per_client / (public.stop - public.start)
        view = block.view(sums, self.parties.energies(sums, self.parties.public))
        return self.payload.prepared(view, share=share)

    def _run_parties(
        self, block: Block, payload: Payload, sums: InputEnergy, session: OpenSession, clock: Clock
    ) -> tuple[Masks, int]:
        """Let every client decide, submit and go on, then every baseline; one party's masks are held at a time."""
        propagate = self.method.schedule.propagate
        present = set(session.submitters())
        masks: Masks = {}
        unseen = 0
        for number, stream in enumerate(self.parties.streams):
            view = block.view(sums, self.parties.energies(sums, number))
            variant, is_client = self.parties.variant(number), self.parties.is_client(number)
            flows_on_alone = propagate == "local" or (propagate == "global" and not is_client)
            unseen += view.unseen() if is_client else 0
            decision: Decision | None = None
            if variant is not None or flows_on_alone or payload.submits_decision:
                with clock.timed("decide"):
                    decision = payload.decide(view)
            if number in present:
                with clock.timed("protocol"):
                    session.submit(number, payload.vectors(view, decision))
            if decision is not None and variant is not None:
                masks[variant] = decision.prune_masks
            if decision is not None and flows_on_alone:
                with clock.timed("propagate"):
                    self.propagation.flow(block.index, block.editable, decision.pruned, stream)
        return masks, unseen

    def _announce(self, prune_masks: Iterable[Tensor]) -> None:
        """Bind later sessions to a block's result, where clients are told it before they go on."""
        if self.method.schedule.propagate == "global":
            self._manifest.announce(prune_masks)

    @property
    def chooses(self) -> bool:
        """Whether a trusted server releases a noisy choice, and no totals."""
        return self._planned.chooses

    @property
    def noises(self) -> list[SessionNoise]:
        """The noise of each session, in order; none without a target of differential privacy.

        Raises:
            InputError: the target cannot be met, or has no meaning for the payload.
        """
        return self._planned.noises

    @property
    def releases(self) -> list[Release]:
        """What an uninterrupted run lets out, in order: of the noisy totals, or exact ones."""
        return self._planned.releases

    @property
    def releases_made(self) -> list[Release]:
        """What a finished run let out: a session that was interrupted after a client had submitted counts too."""
        return self._planned.releases_made

    @property
    def releases_left(self) -> list[Release]:
        """What a run will still let out: nothing of sessions whose totals, or choices, an earlier attempt stored."""
        return self._planned.releases_left

    def public_rows(self) -> Rows:
        """Say which windows are whose: a quarter of the public ones is held out to set the clip."""
        return self._planned.public_rows()

    def residual_sensitivity(self, adjacency: Adjacency, most: int) -> tuple[Sensitivity, int]:
        """Say how far one participant moves the sum of clipped residuals, and in how many directions (at most)."""
        return self._planned.residual_sensitivity(adjacency, most)


def _check_vocabulary(ids: Tensor, model: StreamedModel, what: str) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < model.vocabulary_size:
        raise InputError(
            f"{what} hold token ids from {int(ids.min())} to {int(ids.max())}, the model knows 0 to "
            f"{model.vocabulary_size - 1}; cut them with the model's own tokenizer"
        )
