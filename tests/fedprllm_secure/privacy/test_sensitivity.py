"""Sensitivities are the worst pair's: found by trying all pairs where that is possible."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import (
    ADJACENCIES,
    Sensitivity,
    VoteGroups,
    centred,
    clipped_sensitivity,
    is_replace,
    score_range,
    votes_sensitivity,
)
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.sparsity import Sparsity

VOTE_ADJACENCIES = [adjacency for adjacency in ADJACENCIES if adjacency != "window-zero-out"]


def all_masks(groups: list[VoteGroups]) -> list[np.ndarray]:
    """List every vector of masks a client can have."""
    sizes = [(group.size, group.ones) for group in groups for _ in range(group.number)]
    masks = [
        [np.isin(np.arange(size), marked).astype(int) for marked in itertools.combinations(range(size), ones)]
        for size, ones in sizes
    ]
    return [np.concatenate(parts) for parts in itertools.product(*masks)]


def worst_pair(vectors: list[np.ndarray], adjacency: Adjacency) -> tuple[int, int]:
    """Give the largest L1 and squared L2 distance between neighbours: one vector and zero, or two vectors."""
    others = vectors if is_replace(adjacency) else [np.zeros_like(vectors[0])]
    differences = np.array([one - other for one in vectors for other in others])
    return int(np.abs(differences).sum(axis=1).max()), int((differences**2).sum(axis=1).max())


@pytest.mark.parametrize("adjacency", VOTE_ADJACENCIES)
@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 1), (1, 2), (2, 3), (3, 4)])
@pytest.mark.parametrize(
    "groups",
    [
        [VoteGroups(4, 2)],
        [VoteGroups(5, 3)],
        [VoteGroups(3, 1, 2), VoteGroups(2, 1)],
        [VoteGroups(4, 3), VoteGroups(3, 0)],
        [VoteGroups(2, 2), VoteGroups(3, 2)],
    ],
    ids=str,
)
def test_votes_move_the_sum_as_far_as_the_worst_pair(
    groups: list[VoteGroups], a: int, b: int, adjacency: Adjacency
) -> None:
    """Exactly the largest norms among all masks with as many ones in each group."""
    sent = [b * votes - a for votes in all_masks(groups)]
    found = votes_sensitivity(groups, a=a, b=b, adjacency=adjacency)

    assert (found.l1, found.l2_squared) == worst_pair(sent, adjacency)


def test_votes_of_a_whole_model() -> None:
    """Half of 5,971,968 votes as +-1: every vote counts one."""
    rows = [VoteGroups(288, 144, 5_971_968 // 288)]

    assert votes_sensitivity(rows, a=1, b=2, adjacency="client-zero-out") == Sensitivity(5_971_968, 5_971_968)
    assert votes_sensitivity(rows, a=1, b=2, adjacency="client-replace") == Sensitivity(2 * 5_971_968, 4 * 5_971_968)
    # in units of a vote, 1222 and 2444
    assert math.sqrt(5_971_968) / 2 == pytest.approx(1222, abs=0.5)


@pytest.mark.parametrize(
    ("fraction", "expected"), [("0.5", (1, 2)), ("0.6", (2, 3)), ("0.7", (2, 3)), ("0.8", (3, 4)), ("0.9", (7, 8))]
)
def test_votes_are_centred_by_small_integers(fraction: str, expected: tuple[int, int]) -> None:
    """Half is +-1; the others as a table has them."""
    assert centred(Fraction(fraction)) == expected
    assert centred(Sparsity.parse(fraction).fraction) == expected


@settings(deadline=None)
@given(st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=5000))
def test_no_smaller_integers_centre_votes_within_a_percent(fraction: Fraction) -> None:
    """The pair loses at most 1 % of noise, and every pair with a smaller b loses more."""
    a, b = centred(fraction)

    def noise(numerator: int, denominator: int) -> float:
        share = numerator / denominator
        return math.sqrt(fraction * (1 - share) ** 2 + (1 - fraction) * share**2)

    least = math.sqrt(fraction * (1 - fraction))
    assert 0 <= a <= b
    assert noise(a, b) <= 1.01 * least * (1 + 1e-9)
    for smaller in range(1, b):
        assert min(noise(numerator, smaller) for numerator in range(smaller + 1)) > 1.01 * least * (1 - 1e-9)


@pytest.mark.parametrize("fraction", [Fraction(0), Fraction(1), Fraction(3, 2)])
def test_what_cannot_be_centred_is_refused(fraction: Fraction) -> None:
    """All zeros and all ones have nothing to vote on."""
    with pytest.raises(ValueError, match=rf"fraction={fraction} must be above 0 and below 1"):
        centred(fraction)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
@pytest.mark.parametrize("bound", [1, 2, 3, 4, 5, 7, 9, 10])
def test_clipped_vectors_move_the_sum_as_far_as_the_worst_pair(
    dimension: int, bound: int, adjacency: Adjacency
) -> None:
    """Exactly the largest L1 norm among all clipped integer vectors, and the L2 norm if a vector reaches the bound."""
    reach = range(-math.isqrt(bound), math.isqrt(bound) + 1)
    vectors = [
        np.array(vector)
        for vector in itertools.product(reach, repeat=dimension)
        if sum(entry**2 for entry in vector) <= bound
    ]
    times = 4 if is_replace(adjacency) else 1
    reached = max(int((vector**2).sum()) for vector in vectors)
    norms = [(int(np.abs(vector).sum()), int((vector**2).sum())) for vector in vectors]
    found = clipped_sensitivity(l2_bound_squared=bound, dimension=dimension, adjacency=adjacency)

    if len(vectors) <= 200:
        assert worst_pair(vectors, adjacency) == (found.l1, times * reached)
    # the farthest from a vector is its opposite
    assert found.l1 == (2 if is_replace(adjacency) else 1) * max(l1 for l1, _ in norms)
    assert times * reached <= found.l2_squared <= times * bound
    assert dimension < 4 or found.l2_squared == times * bound


@settings(deadline=None)
@given(st.integers(1, 10**12), st.integers(1, 10**10))
def test_clipped_norms_are_within_the_general_bounds(bound: int, dimension: int) -> None:
    """L1 is at most min(D2^2, floor(sqrt(d) D2)), and the flattest vector that the bound allows."""
    found = clipped_sensitivity(l2_bound_squared=bound, dimension=dimension, adjacency="window-zero-out")
    level, raised = divmod(found.l1 + 1, dimension)

    assert found.l2_squared == min(bound, found.l1**2)
    assert found.l1 <= min(bound, math.isqrt(dimension * bound))
    assert level**2 * dimension + raised * (2 * level + 1) > bound  # the flattest vector with one unit more


@pytest.mark.parametrize("adjacency", VOTE_ADJACENCIES)
def test_the_range_of_scores_is_the_worst_pairs(adjacency: Adjacency) -> None:
    """How far apart two totals' changes are when one client's 0/1 votes vanish or change."""
    votes = all_masks([VoteGroups(4, 2)])
    others = votes if is_replace(adjacency) else [np.zeros(4, int)]

    assert score_range(adjacency) == max(int(np.ptp(one - other)) for one in votes for other in others)


def test_a_windows_votes_cannot_vanish() -> None:
    """Window-zero-out is refused for votes: the mask is of all windows."""
    with pytest.raises(InputError, match="adjacency=window-zero-out has no meaning for votes"):
        votes_sensitivity([VoteGroups(4, 2)], a=1, b=2, adjacency="window-zero-out")
    with pytest.raises(InputError, match="adjacency=window-zero-out has no meaning for votes"):
        score_range("window-zero-out")


@pytest.mark.parametrize(("a", "b"), [(-1, 2), (0, 0), (3, 2)])
def test_offsets_out_of_range_are_refused(a: int, b: int) -> None:
    """No entry of a centred vote lies beyond -b and b."""
    with pytest.raises(ValueError, match=rf"a={a} must be in \[0, b={b}\], and b at least 1"):
        votes_sensitivity([VoteGroups(4, 2)], a=a, b=b, adjacency="client-replace")


@pytest.mark.parametrize("groups", [[], [VoteGroups(4, 0)], [VoteGroups(4, 4, 3)]], ids=["none", "zeros", "ones"])
def test_votes_that_nobody_can_move_are_refused(groups: list[VoteGroups]) -> None:
    """There is nothing to protect, and no noise to size."""
    with pytest.raises(
        ValueError, match="nothing would be removed at this sparsity, so there is no vote that noise could hide"
    ):
        votes_sensitivity(groups, a=1, b=2, adjacency="client-replace")


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ((0, 0, 1), "size=0 and number=1 must be at least 1"),
        ((3, 1, 0), "size=3 and number=0 must be at least 1"),
        ((3, 4, 1), r"ones=4 must be in \[0, size=3\]"),
        ((3, -1, 1), r"ones=-1 must be in \[0, size=3\]"),
    ],
)
def test_groups_out_of_range_are_refused(group: tuple[int, int, int], message: str) -> None:
    """A group has entries, and no more ones than entries."""
    with pytest.raises(ValueError, match=message):
        VoteGroups(*group)


@pytest.mark.parametrize(("bound", "dimension"), [(0, 3), (3, 0)])
def test_clips_out_of_range_are_refused(bound: int, dimension: int) -> None:
    """There is something to release, and it has entries."""
    with pytest.raises(ValueError, match=rf"l2_bound_squared={bound} and dimension={dimension} must be at least 1"):
        clipped_sensitivity(l2_bound_squared=bound, dimension=dimension, adjacency="client-replace")
