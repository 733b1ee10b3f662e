"""How far one client or window moves what is released: votes, clipped vectors, and scores to choose from.

All in integers, as the vectors are. The neighbour of a zero-out adjacency is the zero vector, so vectors are centred
before they are sent and not by the server afterwards. Knows neither noise nor epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.adjacency import Adjacency, is_replace
from fedprllm_secure.privacy.release import Sensitivity

CENTRING_LOSS = Fraction(201, 10_000)  # 1 % of noise, squared: 1.01^2 - 1


@dataclass(frozen=True, slots=True)
class VoteGroups:
    """Groups of equal size in each of which every client marks equally many entries.

    Attributes:
        size: entries a group.
        ones: how many of them are 1, in [0, size].
        number: how many such groups there are.
    """

    size: int
    ones: int
    number: int = 1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: one is out of range.
        """
        if self.size < 1 or self.number < 1:
            raise ValueError(f"size={self.size} and number={self.number} must be at least 1")
        if not 0 <= self.ones <= self.size:
            raise ValueError(f"ones={self.ones} must be in [0, size={self.size}]")


def centred(fraction: Fraction) -> tuple[int, int]:
    """Choose the integers a, b so that votes b M - a are centred: the smallest b within 1 % of the least noise.

    With a share f of ones, the noise on a vote goes with sqrt(f (1-f) + (a/b - f)^2). That is least at a/b = f, but the
    denominator of f may be as large as the group.

    Args:
        fraction: f, the share of ones in a mask, in (0, 1).

    Returns:
        a and b, 0 <= a <= b; a = 0 where ones are so rare that centring gains less than 1 %.

    Raises:
        ValueError: the fraction is out of range.

    >>> centred(Fraction(1, 2)), centred(Fraction(7, 10))
    ((1, 2), (2, 3))
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction} must be above 0 and below 1")
    allowed = CENTRING_LOSS * fraction * (1 - fraction)
    b = 1
    while (Fraction(round(fraction * b), b) - fraction) ** 2 > allowed:
        b += 1
    return round(fraction * b), b


def votes_sensitivity(groups: Iterable[VoteGroups], *, a: int, b: int, adjacency: Adjacency) -> Sensitivity:
    """Give the sensitivity of the sum of votes b M - a, M a client's mask of zeros and ones.

    Zero-out: the norm of a vote, which is that of every mask with as many ones: k (b-a)^2 + (d-k) a^2 squared.
    Replace: two masks differ in at most 2 min(k, d-k) entries of each group, by b. A window may change its client's
    whole mask, so replacing a window counts like replacing the client.

    Args:
        groups: all groups of all vectors that are released together.
        a: subtracted from every entry; 0 sends the mask itself.
        b: what a one counts.
        adjacency: what neighbouring inputs differ in.

    Raises:
        InputError: window-zero-out, which has no meaning for votes: no mask is a window's own; or nobody can move the
            sum.
        ValueError: a or b is out of range.
    """
    if not 0 <= a <= b or b < 1:
        raise ValueError(f"a={a} must be in [0, b={b}], and b at least 1")
    if adjacency == "window-zero-out":
        raise InputError(f"adjacency={adjacency} has no meaning for votes: a client's one mask is of all its windows")
    l1 = l2_squared = 0
    for group in groups:
        ones, zeros = group.number * group.ones, group.number * (group.size - group.ones)
        if is_replace(adjacency):
            differing = 2 * min(ones, zeros)
            l1, l2_squared = l1 + b * differing, l2_squared + b**2 * differing
        else:
            l1, l2_squared = l1 + (b - a) * ones + a * zeros, l2_squared + (b - a) ** 2 * ones + a**2 * zeros
    if l1 == 0:
        raise InputError("nothing would be removed at this sparsity, so there is no vote that noise could hide")
    return Sensitivity(l1, l2_squared)


def clipped_sensitivity(*, l2_bound_squared: int, dimension: int, adjacency: Adjacency) -> Sensitivity:
    """Give the sensitivity of a sum of integer vectors whose squared entries sum to at most a bound.

    The largest L1 norm is that of the flattest vector: q + 1 in r entries and q in the others, where q and r are the
    largest that the bound allows. (It is at most min(D2^2, sqrt(d) D2).) The contribution is a window's or a client's,
    whichever was clipped; replaced by its opposite, it moves the sum by twice that.

    Args:
        l2_bound_squared: D2^2, in grid units squared, at least 1.
        dimension: d, at least 1.
        adjacency: what neighbouring inputs differ in.

    Raises:
        ValueError: an argument is below 1.
    """
    if l2_bound_squared < 1 or dimension < 1:
        raise ValueError(f"l2_bound_squared={l2_bound_squared} and dimension={dimension} must be at least 1")
    level = math.isqrt(l2_bound_squared // dimension)
    raised = (l2_bound_squared - level**2 * dimension) // (2 * level + 1)
    l1 = level * dimension + raised
    l2_squared = min(l2_bound_squared, l1**2)  # few entries may not reach the bound
    return Sensitivity(2 * l1, 4 * l2_squared) if is_replace(adjacency) else Sensitivity(l1, l2_squared)


def score_range(adjacency: Adjacency) -> int:
    """Give the range of one client's influence on totals of 0/1 votes: R of the Gumbel scale R / epsilon_each.

    Votes taken away move all totals one way, by at most 1; replaced, some go up and others down.

    Raises:
        InputError: window-zero-out, which has no meaning for votes.
    """
    if adjacency == "window-zero-out":
        raise InputError(f"adjacency={adjacency} has no meaning for votes: a client's one mask is of all its windows")
    return 2 if is_replace(adjacency) else 1
