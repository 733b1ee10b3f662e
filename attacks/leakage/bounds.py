"""Lower bounds on epsilon from an audit's samples, each made of the coins for which it is sound, beside its ceiling.

Clopper-Pearson and Gaussian bounds take one coin a run, since coins pooled from one run are not independent; the
one-run bound takes all. A bound that these samples cannot give says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from attacks.leakage.ceilings import clopper_pearson_ceiling, gaussian_ceiling, one_run_ceiling
from attacks.leakage.lower_bounds import (
    IndependentCounts,
    check_delta,
    clopper_pearson_epsilon,
    gaussian_epsilon,
    independent_counts,
    one_run_epsilon,
)
from attacks.leakage.plan import Guesses
from attacks.leakage.samples import Samples

Validity = Literal["any mechanism", "only for Gaussian-like mechanisms"]
ANY: Validity = "any mechanism"
GAUSSIAN_ONLY: Validity = "only for Gaussian-like mechanisms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What is shown about epsilon.

    Attributes:
        epsilon: the true one is at least this, but for a chance of the level; None where nothing can be said.
        ceiling: what a perfect attack on as many coins would have shown; None as `epsilon`.
        coins: how many coins it is made of.
        valid_for: which mechanisms it bounds.
        reason: why there is no bound; None if there is one.
    """

    epsilon: float | None
    ceiling: float | None
    coins: int
    valid_for: Validity
    reason: str | None = None


def clopper_pearson_bound(samples: Samples, *, cutoff: float, delta: float, level: float) -> Bound:
    """Bound epsilon by Clopper-Pearson, with one coin a run.

    Args:
        samples: of runs on which `cutoff` was not chosen.
        cutoff: scores at or above it are called members.
        delta: of the claim in question.
        level: chance of the bound to be wrong.

    Raises:
        ValueError: `delta` or `level` is out of range.
    """
    return _of_one_coin_a_run(
        samples,
        cutoff,
        ANY,
        epsilon=partial(clopper_pearson_epsilon, delta=delta, level=level),
        ceiling=partial(clopper_pearson_ceiling, delta=delta, level=level),
    )


def gaussian_bound(samples: Samples, *, cutoff: float, delta: float, level: float) -> Bound:
    """Bound epsilon of a Gaussian-like mechanism, with one coin a run; says nothing of other mechanisms.

    Args:
        samples: as of :func:`clopper_pearson_bound`, and so are the others.
        cutoff: likewise.
        delta: likewise; at 0 a Gaussian has no epsilon.
        level: likewise.

    Raises:
        ValueError: `delta` or `level` is out of range.
    """
    check_delta(delta)
    return _of_one_coin_a_run(
        samples,
        cutoff,
        GAUSSIAN_ONLY,
        epsilon=partial(gaussian_epsilon, delta=delta, level=level),
        ceiling=partial(gaussian_ceiling, delta=delta, level=level),
        reason="a Gaussian mechanism has no epsilon at delta 0" if delta == 0 else None,
    )


def one_run_bound(samples: Samples, *, guesses: Guesses, delta: float, level: float) -> Bound:
    """Bound epsilon by how many of all coins, of one run or more, are guessed rightly.

    Args:
        samples: of runs on which `guesses` was not chosen.
        guesses: which coins are guessed.
        delta: of the claim in question.
        level: chance of the bound to be wrong.

    Raises:
        ValueError: `delta` or `level` is out of range.
    """
    guessed, right = guesses.told(samples)
    return Bound(
        epsilon=one_run_epsilon(len(samples), guessed, right, delta=delta, level=level),
        ceiling=one_run_ceiling(len(samples), delta=delta, level=level),
        coins=len(samples),
        valid_for=ANY,
    )


def _of_one_coin_a_run(
    samples: Samples,
    cutoff: float,
    valid_for: Validity,
    *,
    epsilon: Callable[[IndependentCounts], float],
    ceiling: Callable[[int, int], float],
    reason: str | None = None,
) -> Bound:
    """Bound epsilon from one coin a run, unless there is a reason not to or these coins are all alike."""
    counts = independent_counts(samples, cutoff)
    if counts is None:
        reason = (
            f"needs members and non-members among one coin a run, here are {samples.num_runs} runs, all coins alike"
        )
    if counts is None or reason is not None:
        return Bound(epsilon=None, ceiling=None, coins=samples.num_runs, valid_for=valid_for, reason=reason)
    return Bound(
        epsilon=epsilon(counts),
        ceiling=ceiling(counts.members, counts.non_members),
        coins=samples.num_runs,
        valid_for=valid_for,
    )
