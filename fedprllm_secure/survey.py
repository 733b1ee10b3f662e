"""A federated run in which clients share statistics of the unpruned model: survey, one session, prune.

Unpruned activations do not depend on what is removed, so every party passes its windows through the model once, all
vectors of all blocks are summed in a single session, and what is left is the server's alone: it reads the blocks a
second time and prunes. Statistics are kept for every window, since a window is what differential privacy may protect.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.memory import release_freed_memory
from fedprllm_secure.payloads import PartyView, Statistics
from fedprllm_secure.propagation import Clock
from fedprllm_secure.sessions import Contents, cost_by_step
from fedprllm_secure.survey_state import SurveyState
from fedprllm_secure.work import FEDERATED, BlockRecord

if TYPE_CHECKING:
    from fedprllm_secure.federation import Federation, Masks


class Survey:
    """The surveyed form of one federation."""

    def __init__(self, federation: Federation, *, progress: Callable[[str, int, int], None]) -> None:
        """Take over a federation that was prepared."""
        self._federation, self._progress = federation, progress
        self._model, self._work, self._parties = federation.model, federation.work, federation.parties
        self._state = SurveyState(federation.work.folder, num_segments=len(self._parties.segments))

    def run(self) -> None:
        """Do what is not done yet."""
        if not self._state.has_totals:
            self._survey()
            self._sum()
        totals, record = self._state.totals()
        payload = self._prepared()
        first, last = self._federation.finished_blocks(), self._model.num_blocks
        self._progress("prune", first, last)
        for index in range(first, last):
            self._prune_block(index, payload, totals, record)
            release_freed_memory(self._model.block_bytes(index))
            self._progress("prune", index + 1, last)

    def _survey(self) -> None:
        first, last = self._state.surveyed_blocks(), self._model.num_blocks
        self._progress("survey", first, last)
        self._federation.embed(first)
        for index in range(first, last):
            clock, started = Clock(), time.perf_counter()
            with ExitStack() as stack:
                block = self._federation.enter(index, stack, clock)
                with clock.timed("calibrate"):
                    sums = self._federation.propagation.calibrate(index, block.matrices)
            clock.seconds["pruning"] = time.perf_counter() - started
            if index + 1 < last:
                self._work.save_states(index + 1, self._federation.propagation.states)
            self._state.save_block(index, sums, clock.seconds)
            self._work.drop_states(index)
            release_freed_memory(self._model.block_bytes(index))
            self._progress("survey", index + 1, last)

    def _prepared(self) -> Statistics:
        """Fit the payload to all blocks by what the public party sent into them."""
        assert self._parties.public is not None  # a survey always has a public party
        payload = self._federation.payload
        assert isinstance(payload, Statistics)
        public = self._parties.streams[self._parties.public]
        share = self._federation.windows.per_client / (public.stop - public.start)
        for index in range(self._model.num_blocks):
            payload = payload.prepared(self._view(index, self._parties.public), share=share)
        return payload

    def _view(self, index: int, party: int) -> PartyView:
        sums = self._state.block(index)
        matrices = prunable_matrices(self._model, index)
        return PartyView(matrices, _no_weights, sums.sources, self._parties.energies(sums, party))

    def _sum(self) -> None:
        """Run the one session and store its totals."""
        clock = Clock()
        payload = self._prepared()
        blocks = range(self._model.num_blocks)
        specs = tuple(spec for index in blocks for spec in payload.specs(self._view(index, 0)))
        with clock.timed("protocol"):
            (session,) = self._federation.sessions.open([Contents(0, specs, payload.public())])
        for client in session.submitters():
            vectors: dict[str, Tensor] = {}
            with clock.timed("decide"):
                for index in blocks:
                    vectors |= payload.vectors(self._view(index, client), None)
            with clock.timed("protocol"):
                session.submit(client, vectors)
        with clock.timed("protocol"):
            result = session.close()
        record = BlockRecord(
            survivors=list(result.survivors), seconds=dict(clock.seconds), cost_by_step=cost_by_step(result)
        )
        self._state.save_totals({name: torch.from_numpy(total) for name, total in result.totals.items()}, record)

    def _prune_block(self, index: int, payload: Statistics, totals: dict[str, Tensor], session: BlockRecord) -> None:
        clock, started = Clock(), time.perf_counter()
        sums = self._state.block(index)
        survivors = len(session.survivors)
        with ExitStack() as stack:
            block = self._federation.enter(index, stack, clock)
            server = block.view(sums)
            own = {spec.name: totals[spec.name].numpy() for spec in payload.specs(server)}
            with clock.timed("select"):
                masks: Masks = {FEDERATED: payload.choose(server, own, survivors=survivors)}
                undecided = payload.undecided(server, own, survivors=survivors)
            with clock.timed("decide"):
                for number in range(len(self._parties.streams)):
                    variant = self._parties.variant(number)
                    if variant is not None:
                        view = block.view(sums, self._parties.energies(sums, number))
                        masks[variant] = payload.decide(view).prune_masks
            masks |= self._federation.shortcuts(block, sums)
        seconds = self._state.seconds(index)
        clock.seconds["pruning"] = time.perf_counter() - started + seconds.pop("pruning")
        for phase, count in [*seconds.items(), *(session.seconds.items() if index == 0 else [])]:
            clock.seconds[phase] = clock.seconds.get(phase, 0.0) + count
        record = BlockRecord(
            survivors=session.survivors,
            unseen_experts=sum(
                block.view(sums, self._parties.energies(sums, client)).unseen()
                for client in range(self._parties.num_clients)
            ),
            undecided_weights=undecided,
            seconds=dict(clock.seconds),
            # The one session is counted once, with the first block.
            cost_by_step=session.cost_by_step if index == 0 else _nothing(session.cost_by_step),
        )
        self._work.save_block(index, record, {name: torch.from_numpy(total) for name, total in own.items()}, masks)


def _nothing(costs: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {step: dict.fromkeys(figures, 0) for step, figures in costs.items()}


def _no_weights(matrix: object) -> Tensor:
    raise AssertionError(f"{matrix} is looked at without weights")
