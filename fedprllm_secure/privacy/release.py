"""A noisy release describes itself: what is necessary and sufficient to account for it.

Mechanisms are written without knowing an accountant, the ledger without knowing a mechanism: both know this value. Its
meaning never changes; what needs another meaning is another mechanism. Knows neither budgets nor vectors, and adds no
noise; how each kind is accounted for is in ``mechanisms``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import numpy as np

from fedprllm_secure.privacy.adjacency import Adjacency, check_adjacency
from fedprllm_secure.privacy.mechanisms import MECHANISMS
from fedprllm_secure.privacy.record_fields import (
    LARGEST,
    LONGEST_TEXT,
    check_distance,
    check_fraction,
    check_integer,
    known_fields,
    read_fraction,
)
from fedprllm_secure.privacy.renyi import ORDERS, Floats


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far one participant moves the exact vector of integers, at most.

    Attributes:
        l1: the largest sum of absolute differences, in grid units.
        l2_squared: the largest sum of squared differences.
    """

    l1: int
    l2_squared: int

    def __post_init__(self) -> None:
        """Check that integer vectors can have these norms.

        Raises:
            ValueError: they cannot: |x| <= x^2 for every integer, and the sum of squares is at most the square of the
                sum.
        """
        check_integer("l1", self.l1)
        check_integer("l2_squared", self.l2_squared)
        if not self.l1 <= self.l2_squared <= self.l1**2:
            raise ValueError(
                f"l2_squared={self.l2_squared} must be between l1={self.l1} and its square, as for integers"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release.

    Attributes:
        mechanism: a name in ``mechanisms.MECHANISMS``.
        adjacency: what neighbouring inputs differ in.
        adversary: whom the claim holds against, in words.
        dimension: numbers released, or for ``gumbel-top-k`` units to choose from.
        sensitivity: of the exact vector; for noise.
        variance: of the noise that is guaranteed to be in each number, the honest shares alone; the sum of the laws'
            parameters; for noise.
        shares: independent draws of equal law that make up the variance; 1 if one party adds all.
        statistical_distance: of one draw (of noise, or of one pick) from its law, at most; for noise and
            ``gumbel-top-k``.
        picks: units chosen by ``gumbel-top-k``.
        epsilon_each: bounded range of each pick: range of the scores' change over the Gumbel scale.
    """

    mechanism: str
    adjacency: Adjacency
    adversary: str
    dimension: int
    sensitivity: Sensitivity | None = None
    variance: Fraction | None = None
    shares: int = 1
    statistical_distance: float | None = None
    picks: int | None = None
    epsilon_each: Fraction | None = None

    def __post_init__(self) -> None:
        """Check every field, and that the mechanism has those it needs and no others.

        Raises:
            ValueError: one is out of range, missing, or of no meaning here; the message names it.
        """
        if self.mechanism not in MECHANISMS:
            raise ValueError(f"mechanism={str(self.mechanism)[:LONGEST_TEXT]} must be one of {', '.join(MECHANISMS)}")
        check_adjacency(self.adjacency)
        if not isinstance(self.adversary, str) or not 0 < len(self.adversary) <= LONGEST_TEXT:
            raise ValueError(f"adversary={str(self.adversary)[:LONGEST_TEXT]} must be 1 to {LONGEST_TEXT} characters")
        check_integer("dimension", self.dimension)
        check_integer("shares", self.shares)
        self._check_needs()
        MECHANISMS[self.mechanism].check(self)

    def _check_needs(self) -> None:
        needs = MECHANISMS[self.mechanism].needs
        checks: dict[str, Callable[[str, Any], None]] = {
            "sensitivity": _check_sensitivity,
            "variance": check_fraction,
            "statistical_distance": check_distance,
            "picks": check_integer,
            "epsilon_each": check_fraction,
        }
        for name, check in checks.items():
            value = getattr(self, name)
            if name in needs:
                check(name, value)
            elif value is not None:
                raise ValueError(f"{name} has no meaning for mechanism={self.mechanism}")

    def rdp(self, order: int) -> float:
        """Bound the Renyi divergence between the ideal outputs on neighbouring inputs, proven.

        The distance of the sampler from its law (:attr:`distance`) comes on top, as a part of delta.

        Args:
            order: an integer of at least 2.

        Raises:
            ValueError: it is not.
        """
        if isinstance(order, bool) or not isinstance(order, int) or not 2 <= order < LARGEST:
            raise ValueError(f"order={order} must be an integer from 2 to 2**128 - 1")
        return float(MECHANISMS[self.mechanism].curve(self, np.array([order], dtype=np.float64))[0])

    def curve(self) -> Floats:
        """Give :meth:`rdp` at all of ``renyi.ORDERS``: (orders,)."""
        return MECHANISMS[self.mechanism].curve(self, ORDERS)

    @property
    def gaussian_mu(self) -> float:
        """The mu for which the ideal release is proven mu-GDP, that is as private as N(0, 1) + mu; infinite if none."""
        return MECHANISMS[self.mechanism].gaussian_mu(self)

    @property
    def distance(self) -> float:
        """Statistical distance of the whole release from the ideal one, at most."""
        return MECHANISMS[self.mechanism].draws(self) * (self.statistical_distance or 0.0)

    def to_record(self) -> dict[str, Any]:
        """Give plain JSON; fractions are written "p/q", and fields of no meaning are left out."""
        record: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Fraction):
                record[field.name] = f"{value.numerator}/{value.denominator}"
            elif isinstance(value, Sensitivity):
                record[field.name] = {"l1": value.l1, "l2_squared": value.l2_squared}
            elif value is not None:
                record[field.name] = value
        return record

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Release:
        """Read what :meth:`to_record` wrote, trusting nothing.

        Raises:
            ValueError: a field is missing, unknown or wrong; the message names it.
        """
        values = known_fields(record, {field.name for field in fields(cls)}, "release")
        for name in ("mechanism", "adjacency", "adversary", "dimension"):
            if name not in values:
                raise ValueError(f"{name} is missing")
        for name in ("mechanism", "adjacency"):
            if not isinstance(values[name], str):
                raise ValueError(f"{name} must be a text")
        for name in ("variance", "epsilon_each"):
            if name in values:
                values[name] = read_fraction(name, values[name])
        if "sensitivity" in values:
            norms = known_fields(values["sensitivity"], {"l1", "l2_squared"}, "sensitivity")
            values["sensitivity"] = Sensitivity(norms.get("l1", 0), norms.get("l2_squared", 0))
        return cls(**values)


def _check_sensitivity(name: str, value: object) -> None:
    if not isinstance(value, Sensitivity):
        raise ValueError(f"{name} must be a Sensitivity")
