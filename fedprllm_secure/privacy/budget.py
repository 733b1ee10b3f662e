r"""A budget and the filter that keeps it: what may be released when later releases depend on earlier results.

Adding up is a theorem for releases whose parameters were fixed beforehand. Here a person looks at one result and then
decides on the next release, so a *filter* is needed: a rule that stops the sequence, whatever was chosen, before the
budget is exceeded. Two are proven, each for one yardstick that is fixed before the first result is seen:

- Gaussian: every release mu_i-GDP and sum mu_i^2 <= mu^2 make the whole mu-GDP (Smith and Thakurta 2022, "Fully
  Adaptive Composition for Gaussian Differential Privacy"; Koskela, Tobaben and Honkela 2022).
- Renyi of one order a: sum r_i(a) <= r makes the whole (a, r)-RDP (Feldman and Zrnic 2021, "Individual Privacy
  Accounting via a Renyi Filter"). One order: "some order still fits" is not proven, since the order that fits may
  depend on the results, and each order may fail with probability delta of its own.

So the yardstick is a function of the budget and of the first release, which no result has yet influenced: the one by
which that release takes the smallest share. A sequence of like releases loses nothing by it, compared with
:func:`.claim.epsilon_of`. Statistical distances of samplers add up on every path, and go into delta as there.

Adjacency. A budget about one adjacency counts releases about the same, and one other: client-replace covers
window-replace, for a client with one window replaced is a client with another text. Nothing else is covered, and what
is not counts as infinite. Zero-out of a client says nothing of one window: a client's vector clipped to norm C moves by
C to zero, and by up to 2C if a window is taken away. Zero-out never covers replace (which may cost twice the
sensitivity), and replace covers zero-out only where the zero vector is some text's. A window-level claim is about one
row of a data set, so a window that is there twice is not covered either.

Knows no file and no data set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.adjacency import Adjacency, check_adjacency, is_window_level
from fedprllm_secure.privacy.gaussian import check_delta, check_epsilon, gaussian_mu
from fedprllm_secure.privacy.release import Release
from fedprllm_secure.privacy.renyi import ORDERS, Floats

LARGEST_EPSILON = 30.0
ROUNDING = 1e-12  # relative; sums of floats lose less
COVERED: dict[Adjacency, frozenset[Adjacency]] = {
    "client-zero-out": frozenset({"client-zero-out"}),
    "client-replace": frozenset({"client-replace"}),
    "window-zero-out": frozenset({"window-zero-out"}),
    "window-replace": frozenset({"window-replace", "client-replace"}),
}


class BudgetRefused(InputError):
    """A release would overspend a budget; nothing was changed. The command line exits with status 4."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What all releases that touch a data set may cost together.

    Attributes:
        epsilon: above 0, at most 30.
        delta: in (0, 1).
        adjacency: what neighbouring inputs differ in.
    """

    epsilon: float
    delta: float
    adjacency: Adjacency

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InputError: one is out of range.
        """
        check_epsilon(self.epsilon)
        check_delta(self.delta)
        check_adjacency(self.adjacency)
        if self.epsilon > LARGEST_EPSILON:
            raise InputError(
                f"epsilon={self.epsilon:g} must be at most {LARGEST_EPSILON:g}: a larger one is hardly a "
                "promise; give no budget"
            )

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:g} at delta {self.delta:g} about {self.adjacency}"

    def to_record(self) -> dict[str, Any]:
        """Give plain JSON."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Budget:
        """Read what :meth:`to_record` wrote.

        Raises:
            InputError: a value is out of range.
            KeyError: a field is missing.
        """
        return cls(float(record["epsilon"]), float(record["delta"]), record["adjacency"])


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What costs are measured in.

    Attributes:
        place: of the Renyi order among ``renyi.ORDERS``, or None for the Gaussian yardstick.
    """

    place: int | None

    @classmethod
    def best(cls, budget: Budget, first: Release) -> Yardstick:
        """Choose the yardstick by which ``first`` takes the smallest share of the budget."""
        rest = _rest_of_delta(budget, first.distance)
        if rest <= 0:
            return cls(None)
        limits = _renyi_limits(budget.epsilon, rest)
        shares = np.divide(first.curve(), limits, out=np.full(limits.shape, np.inf), where=limits > 0)
        gaussian, renyi = cls(None), cls(int(shares.argmin()))
        return gaussian if gaussian.share(budget, [first]) <= renyi.share(budget, [first]) else renyi

    def cost(self, release: Release) -> float:
        """Measure one release: mu^2, or the divergence of the order. Costs add up."""
        return release.gaussian_mu**2 if self.place is None else float(release.curve()[self.place])

    def limit(self, budget: Budget, distance: float) -> float:
        """Give the cost that uses up a budget.

        Args:
            budget: epsilon and delta count.
            distance: statistical distance of all releases from the ideal ones.
        """
        rest = _rest_of_delta(budget, distance)
        if rest <= 0:
            return 0.0
        if self.place is None:
            return gaussian_mu(budget.epsilon, rest) ** 2
        return max(0.0, float(_renyi_limits(budget.epsilon, rest)[self.place]))

    def share(self, budget: Budget, releases: Iterable[Release]) -> float:
        """Give the share of a budget that releases take; above 1 is too much, infinite without any claim."""
        counted = Counter(releases)
        if not counted:
            return 0.0
        cost = sum(count * self.cost(release) for release, count in counted.items()) * (1 + ROUNDING)
        limit = self.limit(budget, sum(count * release.distance for release, count in counted.items()))
        return cost / limit if limit > 0 else math.inf


def counted_as(release: Release, adjacency: Adjacency, *, repeated: bool = False) -> Release:
    """Give a release as it counts in a budget about ``adjacency``: as it is, or as exact where it is not covered.

    Args:
        release: as it was made.
        adjacency: the budget's.
        repeated: whether the window in question is in the released data set more than once.
    """
    if why_not_covered(release, adjacency, repeated=repeated):
        return Release(mechanism="exact", adjacency=adjacency, adversary=release.adversary, dimension=release.dimension)
    return replace(release, adjacency=adjacency)


def why_not_covered(release: Release, adjacency: Adjacency, *, repeated: bool = False) -> str:
    """Say why a release costs a budget about ``adjacency`` infinitely much; empty where it does not."""
    if release.mechanism == "exact":
        return "an exact release has no epsilon"
    if release.adjacency not in COVERED[adjacency]:
        return f"a claim about {release.adjacency} says nothing about {adjacency}"
    if repeated and is_window_level(release.adjacency):
        return f"a window is in the data set more than once, and a claim about {release.adjacency} is about one row"
    return ""


def _rest_of_delta(budget: Budget, distance: float) -> float:
    # As in claim.epsilon_of: outputs within distance s of ideal ones cost (1 + exp(epsilon)) s of delta.
    return budget.delta - (1 + math.exp(budget.epsilon)) * distance


def _renyi_limits(epsilon: float, delta: float) -> Floats:
    # renyi.epsilon, solved for the divergence.
    return epsilon - np.log1p(-1 / ORDERS) + (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
