"""What clients share of a survey: exact energies, or clipped residuals under noise. One session serves all blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Parties
from fedprllm_secure.payloads import PartyView, Statistics
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.residuals.clipping import grid_bound, public_clip, to_grid
from fedprllm_secure.residuals.log_energies import residuals
from fedprllm_secure.residuals.public_basis import PublicBasis, Rows
from fedprllm_secure.residuals.shrinkage import shrunk
from fedprllm_secure.sessions import Contents
from fedprllm_secure.survey_state import SurveyState
from protocols import VectorSpec

RESIDUALS = "residuals"
Totals = Mapping[str, NDArray[Any]]


class Surveyed(Protocol):
    """Turns a finished survey into one session's vectors, and their totals into every block's prune masks."""

    def contents(self) -> Contents:
        """Describe the session."""
        ...

    def vectors(self, client: int) -> Mapping[str, Tensor]:
        """Make a client's vectors, integers (length,)."""
        ...

    def own_totals(self, index: int, totals: Totals) -> Totals:
        """Give the totals that are of one block; those of all blocks go with the first."""
        ...

    def choose(self, view: PartyView, sums: InputEnergy, totals: Totals, *, survivors: int) -> dict[str, Tensor]:
        """Give a block's prune masks."""
        ...

    def undecided(self, view: PartyView, totals: Totals, *, survivors: int) -> int:
        """Count the weights of a block whose order the rounding of what is shared could have changed."""
        ...


class ExactEnergies:
    """Every client's energies, in fixed point."""

    def __init__(self, model: StreamedModel, parties: Parties, state: SurveyState, payload: Statistics) -> None:
        """Fit the payload to all blocks by what the public party sent into them."""
        self._model, self._parties, self._state = model, parties, state
        assert parties.public is not None  # a survey always has a public party
        client, public = parties.streams[0], parties.streams[parties.public]
        share = (client.stop - client.start) / (public.stop - public.start)
        self._specs: list[tuple[VectorSpec, ...]] = []
        for index in range(model.num_blocks):
            view = self._view(index, parties.public)
            payload = payload.prepared(view, share=share)
            self._specs.append(payload.specs(view))
        self._payload = payload

    def _view(self, index: int, party: int) -> PartyView:
        """Read what a party's own windows sent into a block, and nothing of the others'."""
        stream = self._parties.streams[party]
        sums = self._state.block(index, slice(stream.start, stream.stop))
        return PartyView(prunable_matrices(self._model, index), without_weights, sums.sources, sums.of(slice(None)))

    def contents(self) -> Contents:
        """One vector for each input of each block."""
        return Contents(0, tuple(spec for block in self._specs for spec in block), self._payload.public())

    def vectors(self, client: int) -> Mapping[str, Tensor]:
        """Give a client's energies.

        Raises:
            InputError: an entry is above the bound.
        """
        vectors: dict[str, Tensor] = {}
        for index in range(self._model.num_blocks):
            vectors |= self._payload.vectors(self._view(index, client), None)
        return vectors

    def own_totals(self, index: int, totals: Totals) -> Totals:
        """Pick the vectors of a block's inputs."""
        return {spec.name: totals[spec.name] for spec in self._specs[index]}

    def choose(self, view: PartyView, sums: InputEnergy, totals: Totals, *, survivors: int) -> dict[str, Tensor]:
        """Prune by the sums, as one party that held all text would."""
        return self._payload.choose(view, totals, survivors=survivors)

    def undecided(self, view: PartyView, totals: Totals, *, survivors: int) -> int:
        """Count as :meth:`~fedprllm_secure.payloads.Statistics.undecided`."""
        return self._payload.undecided(view, totals, survivors=survivors)


class NoisyResiduals:
    """Clipped residuals to a public prior, in a public basis, under noise."""

    def __init__(
        self,
        model: StreamedModel,
        parties: Parties,
        state: SurveyState,
        payload: Statistics,
        *,
        basis: PublicBasis,
        rows: Rows,
        noise: SessionNoise,
        num_clients: int,
        per_client: int,
        by_window: bool,
        clip: float | None,
    ) -> None:
        """Fit basis and clip to the noise, from public text and public counts alone.

        Args:
            model: the public model.
            parties: whose windows were surveyed.
            state: the finished survey.
            payload: how the server prunes.
            basis: of public windows, with as many directions as the noise has dimensions.
            rows: which of the windows are public.
            noise: what is added; its dimension is the rank.
            num_clients: how many clients contribute if nobody leaves.
            per_client: windows of each.
            by_window: whether a window's contribution is clipped, or the mean of a client's.
            clip: the clip, in stretched coordinates; what held-out public windows say if None.
        """
        self._model, self._parties, self._state, self._payload = model, parties, state, payload
        self._rows, self._noise, self._by_window = rows, noise, by_window
        self._per_client = per_client
        self.bound = grid_bound(noise.release.dimension)
        contributions = num_clients * (self._per_client if by_window else 1)
        noise_ratio = float(noise.full) ** 0.5 / self.bound / contributions
        self._basis = basis.truncated(basis.worth_sharing(noise_ratio))
        held_out = self._basis.coordinates[rows.held_out]
        self.clip = clip or public_clip(held_out, group=1 if by_window else self._per_client)

    def contents(self) -> Contents:
        """One vector, as long as the basis has directions."""
        contributions = self._per_client if self._by_window else 1
        spec = VectorSpec(RESIDUALS, self._noise.release.dimension, contributions * self.bound, signed=True)
        directions = int((self._basis.stretch > 0).sum())
        public = {
            "clip": self.clip.hex(),
            "grid_bound": self.bound,
            "by_window": self._by_window,
            "directions": directions,
        }
        return Contents(0, (spec,), public, self._noise)

    def vectors(self, client: int) -> Mapping[str, Tensor]:
        """Sum a client's clipped contributions."""
        stream = self._parties.streams[client]
        return self.of_windows(slice(stream.start, stream.stop))

    def of_windows(self, rows: slice | Tensor) -> Mapping[str, Tensor]:
        """Sum the clipped contributions of a client with these surveyed windows."""
        own = self._basis.coordinates[rows]
        if not self._by_window:
            own = own.mean(0, keepdim=True)
        return {RESIDUALS: to_grid(own, clip=self.clip, bound=self.bound).sum(0)}

    def own_totals(self, index: int, totals: Totals) -> Totals:
        """Keep the one vector with the first block."""
        return totals if index == 0 else {}

    def choose(self, view: PartyView, sums: InputEnergy, totals: Totals, *, survivors: int) -> dict[str, Tensor]:
        """Prune by the public prior, shifted by what the noisy sum says."""
        point = self._point(totals, survivors)
        energies: dict[str, Tensor | None] = {
            inputs.source: (inputs.prior + self._basis.shift(inputs, self._rows, point)).exp()
            for inputs in residuals(sums, self._rows.prior)
        }
        return self._payload.prune(replace(view, energies=energies))

    def undecided(self, view: PartyView, totals: Totals, *, survivors: int) -> int:
        """Count none: rounding is far below the noise."""
        return 0

    def _point(self, totals: Totals, survivors: int) -> Tensor:
        """Estimate the mean of the stretched coordinates from the noisy sum, (rank,)."""
        contributions = survivors * (self._per_client if self._by_window else 1)
        unit = self.clip / self.bound / contributions
        noise = self._noise.added * (survivors if self._noise.is_distributed else 1)
        mean = torch.from_numpy(totals[RESIDUALS]).double() * unit
        return shrunk(mean, deviation=float(noise) ** 0.5 * unit, expected=self.clip**2 * self._basis.spread)


def without_weights(matrix: PrunableMatrix) -> Tensor:
    """Refuse to give weights, where only the shape of a matrix is looked at."""
    raise AssertionError(f"{matrix.name} is looked at without weights")
