"""Sessions of an audit and sessions of a run of the federation over the same windows: the very same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from experiments.audit.shared_statistics import exact_sharing, noisy_sharing
from experiments.audit.statistics import WindowStatistics
from experiments.audit.victims import Victims
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.privacy.session_noise import plan_noise
from tests.experiments.audit.tiny_audit import (
    CLIENTS,
    PER_CLIENT,
    WINDOWS,
    full_run,
    method,
    target,
    thresholds,
    vote_sessions,
)

HELD = np.array([[6, 2], [13, 0], [9, 4]])  # clients' windows in the world that is compared


@pytest.mark.parametrize("protocol", ["plain", "additive", "ckks"])
def test_sessions_of_votes_are_a_runs(
    protocol: str, model: StreamedModel, ids: Tensor, statistics: WindowStatistics, tmp_path: Path
) -> None:
    """Totals and prune masks of every block; every client's vector, where a server sees those."""
    run = full_run(model, ids[HELD.ravel()], method("votes", protocol), tmp_path / "run")
    sessions = vote_sessions(statistics, tmp_path / "audit", protocol=protocol)
    victims = Victims(HELD[None], np.arange(WINDOWS).reshape(-1, 1), sessions={protocol: sessions})
    for block in statistics.blocks():
        view = run.seen(block.index, protocol)
        held = sessions.hold(block, [sessions.payload.decide(block.view(own)) for own in HELD])
        seen = victims.block(block)[protocol]
        assert held.seen.totals.keys() == view.totals.keys()
        for matrix in block.matrices:
            name, totals = matrix.name, view.totals[matrix.name]
            assert held.seen.totals[name].tobytes() == held.left[name].tobytes() == totals.tobytes()
            assert np.array_equal(seen.totals[name][0], totals.reshape(matrix.shape))
            assert np.array_equal(run.work.totals(block.index, matrix).numpy().ravel(), totals)
            assert np.array_equal(seen.choice[name][0], run.work.prune_mask(block.index, matrix).numpy())
            for client in range(CLIENTS) if protocol == "plain" else ():
                vector = view.vectors(client)[name]
                assert held.vectors[client][name].tobytes() == vector.tobytes()
                assert seen.masks is not None
                assert np.array_equal(seen.masks[name][client], vector.reshape(matrix.shape))


@pytest.mark.parametrize("protocol", ["plain", "additive"])
def test_exact_statistics_are_a_runs(
    protocol: str, model: StreamedModel, ids: Tensor, statistics: WindowStatistics, tmp_path: Path
) -> None:
    """What parties agreed on, the totals, and every client's vector, where a server sees those."""
    how = method("statistics", protocol)
    run = full_run(model, ids[HELD.ravel()], how, tmp_path / "run")
    view = run.seen(0, protocol)
    sharing = exact_sharing(statistics, how, num_clients=CLIENTS, per_client=PER_CLIENT)
    vectors = [sharing.vectors(own) for own in HELD]

    assert dict(sharing.contents.public) == run.work.record(0).agreed
    assert sharing.contents.specs == run.plans[0].vectors
    for spec in sharing.contents.specs:
        own = [each[spec.name].numpy() for each in vectors]
        assert np.array_equal(np.sum(own, axis=0), view.totals[spec.name])
        for client in range(CLIENTS) if protocol == "plain" else ():
            assert np.array_equal(own[client], view.vectors(client)[spec.name])


@pytest.mark.parametrize("adjacency", ["window-replace", "client-replace"])
def test_noisy_statistics_are_a_runs_but_for_the_noise(
    adjacency: str,
    model: StreamedModel,
    ids: Tensor,
    public: Tensor,
    based_statistics: WindowStatistics,
    tmp_path: Path,
) -> None:
    """Clip, grid and directions are those agreed on; totals that a trusted server sees are the clients' sums."""
    privacy = target("central", adjacency)
    how = method("statistics", "additive", privacy)
    run = full_run(model, ids[HELD.ravel()], how, tmp_path / "run", public=public)
    (noise,) = plan_noise(
        privacy,
        [based_statistics.federation.residual_sensitivity(privacy.adjacency, how.rank)],
        protocol="additive",
        thresholds=thresholds("additive"),
        num_clients=CLIENTS,
    )
    sharing = noisy_sharing(based_statistics, how, noise, num_clients=CLIENTS, per_client=PER_CLIENT)

    assert dict(sharing.contents.public) == run.work.record(0).agreed
    assert sharing.contents.noisy_specs == run.plans[0].vectors
    own = np.sum([sharing.row(sharing.vectors(windows)) for windows in HELD], axis=0)
    assert np.array_equal(own, sharing.row(run.seen(0, "additive").totals))
