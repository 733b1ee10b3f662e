"""The noise of a session: enough of it whoever leaves, room for it, drawn once a release."""

from __future__ import annotations

import inspect
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import Sensitivity, epsilon_of
from fedprllm_secure.privacy.session_noise import SessionNoise, claimed_epsilon, plan_noise
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.thresholds import Thresholds
from protocols import PROTOCOLS, Roster, SessionPlan, Step, VectorSpec, generate_signing_key, run_session

EXACT = [(Sensitivity(400, 400), 1000), (Sensitivity(100, 100), 250)]
THRESHOLDS = Thresholds(recovery_threshold=5, minimum_survivors=5, assumed_colluders=1)


def target(place: str = "distributed", **changes: object) -> PrivacyTarget:
    """A target of epsilon 3, unless told otherwise."""
    fields = {"place": place, "adjacency": "client-zero-out", "delta": 1e-5, "epsilon": 3.0} | changes
    return PrivacyTarget(**fields)


def planned(place: str = "distributed", clients: int = 7, **changes: object) -> list[SessionNoise]:
    """The noise of two sessions of seven clients, of whom five stay and one may collude."""
    protocol = "additive" if place == "distributed" else "plain"
    return plan_noise(target(place, **changes), EXACT, protocol=protocol, thresholds=THRESHOLDS, num_clients=clients)


@pytest.mark.parametrize("place", ["central", "distributed"])
@pytest.mark.parametrize("noise", ["skellam", "discrete-gaussian"])
@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
def test_the_claim_of_all_sessions_meets_the_target(place: str, noise: str, epsilon: float) -> None:
    """With the least noise on the grid: a thousandth less would miss it."""
    noises = planned(place, noise=noise, epsilon=epsilon)
    releases = [each.release for each in noises]
    less = [
        type(r)(**({f: getattr(r, f) for f in r.__slots__} | {"variance": r.variance * 999 / 1000})) for r in releases
    ]

    assert claimed_epsilon(noises, 1e-5) == epsilon_of(releases, 1e-5) <= epsilon < epsilon_of(less, 1e-5)
    assert releases[0].variance == 4 * releases[1].variance  # one noise multiplier


def test_a_noise_multiplier_is_met_exactly() -> None:
    """Variance over squared sensitivity is its square, rounded up to the grid."""
    noises = planned("central", epsilon=None, noise_multiplier=1.5)

    assert [each.release.variance for each in noises] == [Fraction(9, 4) * 400, Fraction(9, 4) * 100]
    assert [each.added for each in noises] == [each.full for each in noises] == [900, 225]


def test_every_tolerated_set_of_survivors_holds_the_accounted_noise() -> None:
    """Five to seven of seven clients may be left, any one of them may subtract its own share."""
    (noise, _) = planned()
    for survivors in range(5, 8):
        for gone in itertools.combinations(range(7), 7 - survivors):
            honest = [client for client in range(7) if client not in gone][1:]
            assert len(honest) * noise.added >= noise.release.variance
    assert noise.full == 7 * noise.added


@pytest.mark.parametrize("protocol", ["additive", "bfv", "ckks"])
@pytest.mark.parametrize("leavers", [frozenset(), frozenset({2, 6})], ids=["nobody leaves", "two leave"])
def test_sums_carry_the_shares_of_those_who_stay(protocol: str, leavers: frozenset[int]) -> None:
    """Totals through a real protocol: exact in the mean, with the variance of the survivors' shares, within 6 sigma."""
    length = 20_000
    (noise,) = plan_noise(
        target(), [(Sensitivity(400, 400), length)], protocol=protocol, thresholds=THRESHOLDS, num_clients=7
    )
    keys = [generate_signing_key() for _ in range(7)]
    plan = SessionPlan(
        manifest_hash=bytes(32),
        session_number=0,
        roster=Roster.of(keys),
        vectors=noise.specs([VectorSpec("v", length, 2, True)]),
        recovery_threshold=5,
        minimum_survivors=5,
        assumed_colluders=1,
    )
    clean = {"v": torch.arange(length) % 3}
    inputs = {client: {"v": noise.with_share(clean)["v"].numpy()} for client in range(7)}
    result = run_session(PROTOCOLS[protocol], plan, keys, inputs, dropouts={Step.SUBMIT: leavers})
    found = result.totals["v"] - len(result.survivors) * (np.arange(length) % 3)
    variance = float(len(result.survivors) * noise.added)

    assert noise.released(result.totals)["v"] is result.totals["v"]
    assert variance >= noise.release.variance
    assert abs(found.mean()) < 6 * math.sqrt(variance / length)
    assert abs(found.var() / variance - 1) < 6 * math.sqrt(2 / length)


def test_the_server_adds_central_noise_and_clients_add_none() -> None:
    """Vectors pass untouched, specs need no room, totals come out noisy, differently each time."""
    (noise, _) = planned("central")
    vectors = {"v": torch.ones(1000, dtype=torch.uint8)}
    specs = (VectorSpec("v", 1000, 1),)
    totals = {"v": np.full(1000, 7, np.int32)}
    first, second = noise.released(totals)["v"], noise.released(totals)["v"]
    variance = float(noise.release.variance)

    assert noise.with_share(vectors) is vectors
    assert noise.specs(specs) == specs
    assert first.dtype == np.int64
    assert (first != second).any()
    assert abs((first - 7).var() / variance - 1) < 6 * math.sqrt(2 / 1000)
    assert (totals["v"] == 7).all()


def test_lanes_have_room_for_everyones_noise() -> None:
    """The headroom is that of the noise if nobody leaves; past it, at most once in a million runs."""
    (noise, _) = planned()
    (spec,) = noise.specs([VectorSpec("v", 1000, 1, True)])

    assert spec.signed
    assert spec.headroom == noise.headroom > 4 * math.sqrt(noise.full)
    assert 0 < noise.wrap_probability <= 1e-6


def test_a_sampler_further_from_its_law_than_released_is_refused() -> None:
    """What a release says of its sampler is checked against the sampler."""
    (noise, _) = planned()
    release = noise.release
    fields = {name: getattr(release, name) for name in release.__slots__} | {"statistical_distance": 1e-60}
    with pytest.raises(ValueError, match="the sampler of skellam is not within"):
        SessionNoise(type(release)(**fields), noise.added, noise.full, noise.is_distributed)


def test_too_few_honest_shares_are_refused() -> None:
    """Each client would be left with its own noise."""
    few = Thresholds(recovery_threshold=2, minimum_survivors=2, assumed_colluders=1)
    with pytest.raises(InputError, match="minimum_survivors=2 must be at least 2 more than assumed_colluders=1"):
        plan_noise(target(), EXACT, protocol="additive", thresholds=few, num_clients=3)


def test_no_seed_reaches_the_noise() -> None:
    """Nothing that draws takes a seed or a source."""
    for function in (SessionNoise.with_share, SessionNoise.released, plan_noise):
        assert not {"seed", "source", "generator"} & set(inspect.signature(function).parameters)
