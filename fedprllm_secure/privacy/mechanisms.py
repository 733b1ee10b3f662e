"""How each kind of release is accounted for: one row a mechanism.

A new mechanism is a new row. Knows what is proven (``renyi``, ``gaussian_bound``) and which fields of a release it
takes; composes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedprllm_secure.privacy import gaussian_bound, renyi
from fedprllm_secure.privacy.adjacency import READERS
from fedprllm_secure.privacy.renyi import Floats

if TYPE_CHECKING:
    from fedprllm_secure.privacy.release import Release, Sensitivity


@dataclass(frozen=True, slots=True)
class Mechanism:
    """How a kind of release is accounted for.

    Attributes:
        needs: the fields that it has beyond those of all.
        check: raises where the fields contradict each other.
        curve: bounds on the Renyi divergence at given orders.
        gaussian_mu: the proven mu, or infinity.
        draws: how many draws the statistical distance counts for.
    """

    needs: frozenset[str]
    check: Callable[[Release], None]
    curve: Callable[[Release, Floats], Floats]
    gaussian_mu: Callable[[Release], float]
    draws: Callable[[Release], int]


def _noise(release: Release) -> tuple[Sensitivity, float]:
    assert release.sensitivity is not None  # checked when the release was made
    assert release.variance is not None
    return release.sensitivity, float(release.variance)


def _skellam_mu(release: Release) -> float:
    sensitivity, variance = _noise(release)
    return gaussian_bound.skellam_mu(l2_squared=sensitivity.l2_squared, variance=variance)


def _skellam_curve(release: Release, orders: Floats) -> Floats:
    sensitivity, variance = _noise(release)
    own = renyi.skellam(orders, l1=sensitivity.l1, l2_squared=sensitivity.l2_squared, variance=variance)
    return np.minimum(own, renyi.gaussian(orders, _skellam_mu(release)))


def _discrete_gaussian_mu(release: Release) -> float:
    sensitivity, variance = _noise(release)
    return gaussian_bound.discrete_gaussian_mu(
        l2_squared=sensitivity.l2_squared, variance=variance, shares=release.shares
    )


def _discrete_gaussian_curve(release: Release, orders: Floats) -> Floats:
    sensitivity, variance = _noise(release)
    own = renyi.discrete_gaussian_sum(
        orders,
        l1=sensitivity.l1,
        l2_squared=sensitivity.l2_squared,
        variance=variance,
        shares=release.shares,
        dimension=release.dimension,
    )
    return np.minimum(own, renyi.gaussian(orders, _discrete_gaussian_mu(release)))


def _top_k_curve(release: Release, orders: Floats) -> Floats:
    assert release.picks is not None  # checked when the release was made
    assert release.epsilon_each is not None
    return renyi.top_k(orders, picks=release.picks, epsilon_each=float(release.epsilon_each))


def _check_noise(release: Release) -> None:
    sensitivity, _ = _noise(release)
    if sensitivity.l1**2 > release.dimension * sensitivity.l2_squared:
        raise ValueError(
            f"sensitivity={sensitivity} must be of at most dimension={release.dimension} entries: l1^2 is at most "
            "dimension x l2_squared"
        )


def _check_top_k(release: Release) -> None:
    if (release.picks or 0) > release.dimension:
        raise ValueError(f"picks={release.picks} must be at most dimension={release.dimension}")
    if release.adversary != READERS or release.shares != 1:
        raise ValueError(f"adversary={release.adversary} must be {READERS!r}, and shares 1: the totals are known there")


NOISE = frozenset({"sensitivity", "variance", "statistical_distance"})
MECHANISMS: dict[str, Mechanism] = {
    "skellam": Mechanism(
        NOISE, _check_noise, _skellam_curve, _skellam_mu, lambda release: release.dimension * release.shares
    ),
    "discrete-gaussian": Mechanism(
        NOISE,
        _check_noise,
        _discrete_gaussian_curve,
        _discrete_gaussian_mu,
        lambda release: release.dimension * release.shares,
    ),
    "gumbel-top-k": Mechanism(
        frozenset({"picks", "epsilon_each", "statistical_distance"}),
        _check_top_k,
        _top_k_curve,
        lambda release: math.inf,
        lambda release: release.picks or 0,
    ),
    "exact": Mechanism(
        frozenset(),
        lambda release: None,
        lambda release, orders: np.full(orders.shape, np.inf),
        lambda release: math.inf,
        lambda release: 0,
    ),
}
