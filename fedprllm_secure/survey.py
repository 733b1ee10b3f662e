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

from fedprllm_secure.baseline_masks import Masks
from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.models.memory import release_freed_memory
from fedprllm_secure.payloads import Statistics
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.propagation import Clock
from fedprllm_secure.residuals.public_basis import public_basis
from fedprllm_secure.sessions import cost_by_step
from fedprllm_secure.shared_work import Key
from fedprllm_secure.survey_state import SurveyState
from fedprllm_secure.surveyed import ExactEnergies, NoisyResiduals, Surveyed, Totals
from fedprllm_secure.work import FEDERATED, BlockRecord

if TYPE_CHECKING:
    from fedprllm_secure.federation import Federation


class Survey:
    """The surveyed form of one federation."""

    def __init__(self, federation: Federation, *, progress: Callable[[str, int, int], None]) -> None:
        """Take over a federation that was prepared."""
        self._federation, self._progress = federation, progress
        self._model, self._work, self._parties = federation.model, federation.work, federation.parties
        self._state = SurveyState(federation.work.folder, num_segments=len(self._parties.segments))

    def run(self) -> None:
        """Do what is not done yet."""
        if self._state.surveyed_blocks() < self._model.num_blocks:
            self.survey()
        surveyed = self._surveyed()
        if not self._state.has_totals:
            self._sum(surveyed)
        stored, record = self._state.totals()
        totals = {name: total.numpy() for name, total in stored.items()}
        first, last = self._federation.finished_blocks(), self._model.num_blocks
        self._progress("prune", first, last)
        for index in range(first, last):
            self._prune_block(index, surveyed, totals, record)
            release_freed_memory(self._model.block_bytes(index))
            self._progress("prune", index + 1, last)

    def survey(self) -> SurveyState:
        """Pass all windows through the model once, unless another run did; returns where their statistics are."""
        shared, started = self._federation.shared, time.perf_counter()
        found: list[InputEnergy] | None = shared.find(self._key()) if shared.is_on else None
        if found is None:
            is_whole = self._pass_all()
            # One that went on from another process may have been begun with other threads, which round otherwise.
            if shared.is_on and is_whole:
                seconds, size = time.perf_counter() - started, self._state.num_bytes()
                shared.keep(self._key(), lambda: list(self._state.blocks()), num_bytes=size, seconds=seconds)
            return self._state
        for index, sums in enumerate(found):
            self._state.save_block(index, sums, {"pruning": 0.0})
        return self._state

    def _key(self) -> Key:
        """Say what decides the survey."""
        return ("survey", *self._federation.propagation.key)

    def _pass_all(self) -> bool:
        """Pass every block that is not passed yet; returns whether that were all."""
        last = self._model.num_blocks
        # A survey that was taken over from another run, and cut short, has no hidden states to go on from.
        first = self._state.surveyed_blocks()
        if first < last and not self._work.has_states(first):
            first = 0
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
        return first == 0

    def _surveyed(self) -> Surveyed:
        """Say what clients share of the finished survey."""
        federation, method = self._federation, self._federation.method
        assert isinstance(federation.payload, Statistics)
        if method.privacy is None:
            return ExactEnergies(self._model, self._parties, self._state, federation.payload)
        rows, noise = federation.public_rows(), federation.noises[0]
        rank = noise.release.dimension
        basis = federation.shared.get(
            lambda: ("basis", *self._key(), repr(rows), rank),
            lambda: public_basis(self._state.blocks, rows, rank=rank),
            num_bytes=lambda value: value.num_bytes,
        )
        return NoisyResiduals(
            self._model,
            self._parties,
            self._state,
            federation.payload,
            basis=basis,
            rows=rows,
            noise=noise,
            num_clients=federation.num_clients,
            per_client=federation.windows.per_client,
            by_window=is_window_level(method.privacy.adjacency),
            clip=method.clip,
        )

    def _sum(self, surveyed: Surveyed) -> None:
        """Run the one session and store its totals."""
        clock = Clock()
        with clock.timed("protocol"):
            contents = surveyed.contents()
            (session,) = self._federation.sessions.open([contents])
        for client in session.submitters():
            with clock.timed("decide"):
                vectors = surveyed.vectors(client)
            with clock.timed("protocol"):
                session.submit(client, vectors)
        with clock.timed("protocol"):
            result = session.close()
        record = BlockRecord(
            survivors=list(result.survivors),
            seconds=dict(clock.seconds),
            cost_by_step=cost_by_step(result),
            agreed=dict(contents.public),
        )
        self._state.save_totals({name: torch.from_numpy(total) for name, total in result.totals.items()}, record)

    def _prune_block(self, index: int, surveyed: Surveyed, totals: Totals, session: BlockRecord) -> None:
        clock, started = Clock(), time.perf_counter()
        sums = self._state.block(index)
        survivors = len(session.survivors)
        own = surveyed.own_totals(index, totals)
        with ExitStack() as stack:
            block = self._federation.enter(index, stack, clock)
            server = block.view(sums)
            with clock.timed("select"):
                masks: Masks = {FEDERATED: surveyed.choose(server, sums, totals, survivors=survivors)}
                undecided = surveyed.undecided(server, totals, survivors=survivors)
            with clock.timed("decide"):
                for number in range(len(self._parties.streams)):
                    variant = self._parties.variant(number)
                    if variant is not None:
                        view = block.view(sums, self._parties.energies(sums, number))
                        masks[variant] = self._federation.payload.decide(view).prune_masks
            masks |= self._federation.shortcuts.masks(block, sums)
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
            agreed=session.agreed,
        )
        self._work.save_block(index, record, {name: torch.from_numpy(total) for name, total in own.items()}, masks)


def _nothing(costs: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {step: dict.fromkeys(figures, 0) for step, figures in costs.items()}
