"""Releases to try things on."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fedprllm_secure.privacy import READERS, SERVER_ALONE, Release, Sensitivity


def noisy(mechanism: str = "skellam", *, l1: int = 1, l2_squared: int = 1, **fields: Any) -> Release:
    """Make a release of noise; the sampler is exact and the variance 100 unless told otherwise."""
    given = {
        "adjacency": "client-zero-out",
        "adversary": SERVER_ALONE,
        "dimension": l1,
        "variance": Fraction(100),
        "statistical_distance": 0.0,
    }
    return Release(mechanism=mechanism, sensitivity=Sensitivity(l1, l2_squared), **(given | fields))


def chosen(*, picks: int, epsilon_each: Fraction, **fields: Any) -> Release:
    """Make a release of the best ``picks`` units under Gumbel noise."""
    given = {"adjacency": "client-zero-out", "adversary": READERS, "dimension": 2000, "statistical_distance": 0.0}
    return Release(mechanism="gumbel-top-k", picks=picks, epsilon_each=epsilon_each, **(given | fields))


def exact() -> Release:
    """Make a release without noise."""
    return Release(mechanism="exact", adjacency="client-zero-out", adversary=SERVER_ALONE, dimension=3)
