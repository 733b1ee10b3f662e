"""Continuous references: what others would print for the same releases. Never a claim.

Our noise is integer; these treat each release as one of continuous Gaussian noise with the same noise multiplier,
standard deviation over L2 sensitivity: exactly (Balle and Wang; Dong, Roth and Su), and by Opacus's accountants, full
batch (no sampling). Opacus is imported when first needed, since it brings its optimizers along.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from fedprllm_secure.privacy.gaussian import check_delta, composed_mu, gaussian_epsilon
from fedprllm_secure.privacy.release import Release
from fedprllm_secure.privacy.renyi import ORDERS

PRV_ERROR = 0.01  # Opacus's own default
LARGEST_PRV_EPSILON = 300.0  # its grid grows with epsilon squared, and it takes exp(epsilon)


def noise_multipliers(releases: Iterable[Release]) -> list[tuple[float, int]]:
    """List the different noise multipliers, each with how many releases have it.

    Raises:
        ValueError: a release is not one of noise, and has none.
    """
    counted: Counter[float] = Counter()
    for release in releases:
        if release.sensitivity is None or release.variance is None:
            raise ValueError(f"mechanism={release.mechanism} has no continuous reference")
        counted[math.sqrt(release.variance / release.sensitivity.l2_squared)] += 1
    return sorted(counted.items())


def gaussian_reference(releases: Iterable[Release], delta: float) -> float:
    """Give the exact epsilon of continuous Gaussian noise.

    Raises:
        InputError: delta is out of range.
        ValueError: as :func:`noise_multipliers`.
    """
    mus = (math.sqrt(count) / multiplier for multiplier, count in noise_multipliers(releases))
    return gaussian_epsilon(composed_mu(mus), delta)


def opacus_rdp_reference(releases: Iterable[Release], delta: float) -> float:
    """Give Opacus's Renyi accountant's epsilon.

    Its own orders end at 63, where an epsilon below 0.1 is out of reach; ours, to 2**20, are added.

    Raises:
        InputError: delta is out of range.
        ValueError: as :func:`noise_multipliers`.
    """
    check_delta(delta)
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = _history(releases)
    with _known_warnings():
        orders = sorted({*RDPAccountant.DEFAULT_ALPHAS, *ORDERS.tolist()})
        return max(0.0, accountant.get_epsilon(delta, alphas=orders))


def opacus_prv_reference(releases: Sequence[Release], delta: float, *, error: float = PRV_ERROR) -> float:
    """Give the upper bound of Opacus's numerical accountant (privacy loss random variables).

    Args:
        releases: none at all cost nothing.
        delta: in (0, 1).
        error: how far the bound may be above the exact value; time grows as it falls.

    Returns:
        Infinite past an epsilon of 300, which it has no memory for.

    Raises:
        InputError: delta is out of range.
        ValueError: as :func:`noise_multipliers`.
    """
    check_delta(delta)
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = _history(releases)
    if not accountant.history:
        return 0.0  # Opacus fails on an empty history
    if gaussian_reference(releases, delta) > LARGEST_PRV_EPSILON:
        return math.inf
    with _known_warnings():
        return max(0.0, float(accountant.get_epsilon(delta, eps_error=error)))


def _history(releases: Iterable[Release]) -> list[tuple[float, float, int]]:
    return [(multiplier, 1.0, count) for multiplier, count in noise_multipliers(releases)]


@contextmanager
def _known_warnings() -> Iterator[None]:
    """Silence two notes of Opacus on full batches that say nothing of the result, and no others."""
    with warnings.catch_warnings():
        # log(1 - sampling rate), taken to compare with, and minus infinity at rate 1 as it should be
        warnings.filterwarnings("ignore", message="divide by zero encountered in log", category=RuntimeWarning)
        # the best order is the last one: the bound is valid all the same, only not the tightest
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        yield
