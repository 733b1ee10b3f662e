"""How much noise a target needs, and how much of it each client adds.

The target is met by the claim of the mechanism that runs (``claim``), never by the continuous Gaussian's. Under secure
aggregation the noise is a sum of clients' shares, sized so that those of the clients that are certain to be in the sum,
and honest, are enough. Adds no noise itself and knows no protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.claim import epsilon_of
from fedprllm_secure.privacy.gaussian import check_delta, check_epsilon
from fedprllm_secure.privacy.release import Release

GRID = 2**20  # squared noise multipliers are multiples of 1/GRID
MOST_NOISE = 2**80  # in units of 1/GRID: an epsilon so small is not asked for, but cannot be reached


def sized(releases: Sequence[Release], *, epsilon: float, delta: float) -> tuple[Release, ...]:
    """Give releases the smallest noise with which they meet a target together.

    All get one noise multiplier z: variances z^2 Delta2^2, z^2 the smallest multiple of 2**-20.

    Args:
        releases: of noise (Skellam, discrete Gaussian); their variances are not used, and their statistical distances
            must be bounds for whatever variance comes out: 2**-100 is for the samplers of ``protocols.noise``.
        epsilon: what their claim may be, above 0.
        delta: in (0, 1).

    Raises:
        InputError: a target is out of range, or no noise meets it, as the sampler's distance alone uses up delta.
        ValueError: a release is not one of noise, or they do not add up.
    """
    check_epsilon(epsilon)
    check_delta(delta)
    high = 1
    while epsilon_of(_with_noise(releases, high), delta) > epsilon:
        high *= 2
        if high > MOST_NOISE:
            raise InputError(f"epsilon={epsilon} at delta={delta} cannot be reached with any noise")
    low = high // 2  # too little, or none
    while high - low > 1:
        middle = (low + high) // 2
        if epsilon_of(_with_noise(releases, middle), delta) > epsilon:
            low = middle
        else:
            high = middle
    return _with_noise(releases, high)


def noise_variance_for(release: Release, *, epsilon: float, delta: float, count: int = 1) -> Fraction:
    """Give the smallest variance with which ``count`` releases like this one meet a target together.

    Args:
        release: as for :func:`sized`.
        epsilon: above 0.
        delta: in (0, 1).
        count: how many such releases there will be, at least 1.

    Raises:
        InputError: as :func:`sized`.
        ValueError: as :func:`sized`, or the count is below 1.
    """
    if count < 1:
        raise ValueError(f"count={count} must be at least 1")
    variance = sized([release] * count, epsilon=epsilon, delta=delta)[0].variance
    assert variance is not None  # a release of noise
    return variance


def _with_noise(releases: Sequence[Release], multiplier: int) -> tuple[Release, ...]:
    given = []
    for release in releases:
        if release.sensitivity is None:
            raise ValueError(f"mechanism={release.mechanism} must be one of noise")
        given.append(replace(release, variance=Fraction(multiplier * release.sensitivity.l2_squared, GRID)))
    return tuple(given)


def share_variance(total: Fraction, *, minimum_survivors: int, assumed_colluders: int) -> Fraction:
    """Give the variance of the share that each client adds.

    The sum holds at least ``minimum_survivors`` shares, and colluders subtract their own: ``minimum_survivors -
    assumed_colluders`` of them must make up the total. That number is also ``Release.shares``.

    Args:
        total: the variance that the claim needs.
        minimum_survivors: fewer clients than that are never added up.
        assumed_colluders: clients that may help the server.

    Raises:
        ValueError: the total is not above 0.
        InputError: fewer than 2 honest shares are certain, so that each client would be left with its own.
    """
    if total <= 0:
        raise ValueError(f"total={total} must be above 0")
    if assumed_colluders < 0:
        raise InputError(f"assumed_colluders={assumed_colluders} must be at least 0")
    honest = minimum_survivors - assumed_colluders
    if honest < 2:
        raise InputError(
            f"minimum_survivors={minimum_survivors} must be at least 2 more than assumed_colluders={assumed_colluders}"
        )
    return total / honest


def printed_variance(total: Fraction, *, roster: int, minimum_survivors: int, assumed_colluders: int) -> Fraction:
    """Give the variance of the noise in the totals if nobody drops out: what lanes must hold and reports print.

    Args:
        total: as :func:`share_variance`.
        roster: clients that may take part.
        minimum_survivors: as :func:`share_variance`.
        assumed_colluders: as :func:`share_variance`.

    Raises:
        ValueError: as :func:`share_variance`.
        InputError: as :func:`share_variance`, or the roster is smaller than the minimum survivors.
    """
    if roster < minimum_survivors:
        raise InputError(f"roster={roster} must be at least minimum_survivors={minimum_survivors}")
    share = share_variance(total, minimum_survivors=minimum_survivors, assumed_colluders=assumed_colluders)
    return roster * share
