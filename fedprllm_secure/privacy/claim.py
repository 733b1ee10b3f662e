"""The claimed epsilon of a list of releases: the least of what is proven about the mechanisms that ran.

Two routes, each composed over all releases: Renyi curves, which every mechanism has, and mu-GDP, which Skellam and
discrete Gaussian noise have and which loses nothing in the conversion. The sampler's distance from its law goes into
delta on both. Knows no budget.

The distance. If the ideal outputs P, Q on neighbours are (epsilon, delta')-DP and the real ones P', Q' within
statistical distance s of them, then P'(S) <= P(S) + s <= exp(epsilon) Q(S) + delta' + s
<= exp(epsilon) Q'(S) + delta' + (1 + exp(epsilon)) s: the real outputs are (epsilon, delta)-DP with
delta = delta' + (1 + exp(epsilon)) s. Distances of releases, adaptive or not, add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from fedprllm_secure.privacy import gaussian, renyi
from fedprllm_secure.privacy.gaussian import check_delta
from fedprllm_secure.privacy.release import Release

ROUNDING = 1e-9  # relative; far above what sums of floats lose
STEPS = 100


def epsilon_of(releases: Iterable[Release], delta: float) -> float:
    """Give the epsilon that may be claimed for all releases together.

    The claim is for releases whose parameters were fixed by public data; each output may depend on those before. It
    holds against an adversary that every release's own claim names, about their one adjacency.

    Args:
        releases: in any order; none at all cost nothing.
        delta: in (0, 1).

    Returns:
        At least 0; infinite if a release is exact, or if the sampler's distance alone uses up delta.

    Raises:
        InputError: delta is out of range.
        ValueError: the releases are about different adjacencies.
    """
    check_delta(delta)
    counted = Counter(releases)
    adjacencies = sorted({release.adjacency for release in counted})
    if len(adjacencies) > 1:
        raise ValueError(
            f"adjacency={' and '.join(adjacencies)} must be one: claims about different ones do not add up"
        )
    if not counted:
        return 0.0
    curve = np.sum([count * release.curve() for release, count in counted.items()], axis=0)
    mu = gaussian.composed_mu(math.sqrt(count) * release.gaussian_mu for release, count in counted.items())
    distance = sum(count * release.distance for release, count in counted.items())
    routes: list[Callable[[float], float]] = [
        lambda rest: renyi.epsilon(curve, rest),
        lambda rest: gaussian.gaussian_epsilon(mu, rest),
    ]
    return min(_with_distance(route, delta, distance) for route in routes)


def _with_distance(route: Callable[[float], float], delta: float, distance: float) -> float:
    """Find the epsilon with delta(epsilon) + (1 + exp(epsilon)) distance <= delta, a little rounded up."""
    epsilon = 0.0
    for _ in range(STEPS):
        claim = epsilon * (1 + ROUNDING)
        rest = delta - (1 + math.exp(min(claim, 700.0))) * distance
        if rest <= 0:
            return math.inf
        needed = route(rest)
        if needed <= claim:
            return claim
        epsilon = needed
    return math.inf
