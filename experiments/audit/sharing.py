"""What a client with some windows shares of their statistics: energies as they are, or clipped residuals.

Noise is not here: it is drawn when a session is held. Knows nothing of games, coins or attackers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.audit.statistics import WindowStatistics
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.payloads import PartyView, Statistics
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.residuals.public_basis import public_basis
from fedprllm_secure.sessions import Contents
from fedprllm_secure.surveyed import NoisyResiduals, without_weights
from protocols import PROTOCOLS

Vectors = Mapping[str, Tensor]
Shares = Callable[[NDArray[np.int64]], Vectors]


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a client with some windows shares.

    Attributes:
        contents: of the session.
        vectors: of windows by number, without noise.
    """

    contents: Contents
    vectors: Shares = field(repr=False)

    def row(self, vectors: Mapping[str, Any]) -> NDArray[np.float64]:
        """Put vectors one after another, float64 (entries,)."""
        return np.concatenate([np.asarray(vectors[spec.name], np.float64) for spec in self.contents.specs])


def exact_sharing(statistics: WindowStatistics, method: Method, *, num_clients: int, per_client: int) -> Sharing:
    """Share energies as they are, in fixed point."""
    federation, model = statistics.federation, statistics.model
    bound = PROTOCOLS[method.protocol].largest_bound(num_clients)
    payload = method.make_payload(largest_bound=bound).in_model(model)
    assert isinstance(payload, Statistics)  # the method is of statistics
    parties = federation.parties
    assert parties.public is not None  # a survey always has a public party
    public = parties.streams[parties.public]
    sums = list(statistics.state.blocks())

    def view(index: int, rows: slice | Tensor) -> PartyView:
        matrices = prunable_matrices(model, index)
        return PartyView(matrices, without_weights, sums[index].sources, sums[index].of(rows))

    for index in range(model.num_blocks):
        public_view = view(index, slice(public.start, public.stop))
        payload = payload.prepared(public_view, share=per_client / (public.stop - public.start))
    first = slice(0, 1)
    specs = tuple(spec for index in range(model.num_blocks) for spec in payload.specs(view(index, first)))

    def vectors(windows: NDArray[np.int64]) -> Vectors:
        found: dict[str, Tensor] = {}
        for index in range(model.num_blocks):
            found |= payload.vectors(view(index, torch.from_numpy(windows)), None)
        return found

    return Sharing(Contents(0, specs, payload.public()), vectors)


def noisy_sharing(
    statistics: WindowStatistics, method: Method, noise: SessionNoise, *, num_clients: int, per_client: int
) -> Sharing:
    """Share clipped residuals to the public prior."""
    federation = statistics.federation
    assert method.privacy is not None  # there is noise
    payload = method.make_payload(largest_bound=PROTOCOLS[method.protocol].largest_bound(num_clients))
    payload = payload.in_model(statistics.model)
    assert isinstance(payload, Statistics)  # the method is of statistics
    rows = federation.public_rows()
    noisy = NoisyResiduals(
        statistics.model,
        federation.parties,
        statistics.state,
        payload,
        basis=public_basis(statistics.state.blocks, rows, rank=noise.release.dimension),
        rows=rows,
        noise=noise,
        num_clients=num_clients,
        per_client=per_client,
        by_window=is_window_level(method.privacy.adjacency),
        clip=method.clip,
    )
    return Sharing(noisy.contents(), lambda windows: noisy.of_windows(torch.from_numpy(windows)))
