"""Noisy choices against enumerated probabilities and against Gumbel noise in floats."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import exp, inf, log, nan

import numpy as np
import pytest

from protocols.noise import gumbel, top_k, top_k_distance
from protocols.noise.exponentials import scaled_exp
from tests.protocols.insecure_words import InsecureScript, InsecureWords


def ordered_choices(scores, k, rate):
    """Return the probability of every ordered choice: k exponential mechanisms, one after the other."""
    chances = {}
    for choice in permutations(range(len(scores)), k):
        left, chance = set(range(len(scores))), 1.0
        for unit in choice:
            chance *= exp(rate * scores[unit]) / sum(exp(rate * scores[other]) for other in left)
            left.remove(unit)
        chances[choice] = chance
    return chances


@pytest.mark.parametrize(
    ("scores", "k", "epsilon_each", "sensitivity"),
    [([3, 1, 1, 0], 2, Fraction(4, 5), 1), ([0, 0, 4], 3, 0.7, 2), ([-2, 5, 5, 4, 4], 1, Fraction(1, 2), 1)],
    ids=["pairs", "orders", "one"],
)
def test_choices_follow_the_exponential_mechanism(scores, k, epsilon_each, sensitivity):
    """The frequencies of all ordered choices pass a chi-square test at a fixed seed."""
    source, count = InsecureWords(1), 2000
    chances = ordered_choices(scores, k, float(epsilon_each) / sensitivity)
    seen = dict.fromkeys(chances, 0)
    for _ in range(count):
        chosen = top_k(np.array(scores), k, epsilon_each=epsilon_each, sensitivity=sensitivity, source=source)
        seen[tuple(chosen.tolist())] += 1
    statistic = sum((seen[choice] - count * chance) ** 2 / (count * chance) for choice, chance in chances.items())

    assert sum(chances.values()) == pytest.approx(1)
    assert statistic < len(chances) - 1 + 4 * np.sqrt(2 * (len(chances) - 1))


def test_choices_are_those_of_gumbel_noise():
    """Every unit is as often among the first of many as where Gumbel noise of scale R / epsilon is added."""
    generator = np.random.default_rng(2)
    scores, k, count = generator.integers(0, 20, 300), 60, 400
    source = InsecureWords(3)
    places = np.zeros((2, 300))
    for _ in range(count):
        chosen = top_k(scores, k, epsilon_each=Fraction(1, 2), sensitivity=2, source=source)
        places[0, chosen] += np.arange(k, 0, -1)
        chosen = np.argsort(-(scores + generator.gumbel(scale=4.0, size=300)))[:k]
        places[1, chosen] += np.arange(k, 0, -1)
    by_score = [[np.mean(row[scores == score]) / count for score in range(20)] for row in places]

    np.testing.assert_allclose(by_score[0], by_score[1], atol=1.5)
    assert by_score[0][19] - by_score[0][0] > 20


def first_choice(scores, *, epsilon_each, sensitivity):
    """Return the probability with which each unit is chosen first, by the integer weights of the code."""
    rate = Fraction(epsilon_each) / sensitivity
    remaining = gumbel._Remaining(np.array(scores), lambda gap: scaled_exp(rate * gap, gumbel.PRECISION))
    sums = [0, *remaining._cumulative_weights()]
    by_score = {
        remaining.scores[place]: Fraction(sums[place + 1] - sums[place], sums[-1] * int(remaining.sizes[place]))
        for place in range(len(sums) - 1)
    }
    return [by_score[score] for score in scores]


def spread(first, second, **arguments):
    """Return the range, over units, of the log ratio of probabilities under two lists of scores."""
    pairs = zip(first_choice(first, **arguments), first_choice(second, **arguments), strict=True)
    ratios = [log(chance / other) for chance, other in pairs]
    return max(ratios) - min(ratios)


def test_the_range_of_one_choice_is_the_epsilon_claimed():
    """Votes taken away need sensitivity 1, votes replaced need 2: with 1 the range is twice what is claimed."""
    others, votes, replaced = np.array([5, 3, 2, 2, 0]), np.array([1, 0, 1, 0, 0]), np.array([0, 1, 0, 1, 0])

    assert spread(others + votes, others, epsilon_each=0.5, sensitivity=1) == pytest.approx(0.5)
    assert spread(others + votes, others + replaced, epsilon_each=0.5, sensitivity=2) == pytest.approx(0.5)
    assert spread(others + votes, others + replaced, epsilon_each=0.5, sensitivity=1) == pytest.approx(1.0)


@pytest.mark.parametrize(("scores", "most"), [(range(200), 100), ([7] * 200, 175)], ids=["steep", "flat"])
def test_draws_are_few(scores, most):
    """A batch has no more draws than the weights make up for the largest: one where each outweighs all that follow."""

    class Counting(InsecureWords):
        counts = ()

        def words(self, count):
            self.counts += (count,)
            return super().words(count)

    source = Counting(7)
    top_k(np.array(scores), 100, epsilon_each=1, sensitivity=1, source=source)

    assert 100 <= sum(source.counts) / 2 <= most


@pytest.mark.parametrize("epsilon_each", [Fraction(1, 10**6), 0.05, 3])
def test_all_units_are_a_permutation(epsilon_each):
    """Choosing all units names each once; few choices name different ones."""
    scores = np.random.default_rng(4).binomial(64, 0.5, 5000)
    chosen = top_k(scores, 5000, epsilon_each=epsilon_each, sensitivity=1)

    assert sorted(chosen.tolist()) == list(range(5000))
    assert chosen.dtype == np.int64
    assert len(set(top_k(scores, 70, epsilon_each=epsilon_each, sensitivity=1).tolist())) == 70


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int16])
def test_little_noise_leaves_the_order_of_scores(dtype):
    """Under an epsilon without meaning units come in the order of their scores, though at first most weigh nothing."""
    scores = np.random.default_rng(5).permutation(100).astype(dtype)
    chosen = top_k(scores, 100, epsilon_each=1000, sensitivity=1)

    assert scores[chosen].tolist() == list(range(99, -1, -1))


def test_extreme_scores():
    """Scores at the ends of their type neither overflow nor stop the choice."""
    signed, unsigned = np.iinfo(np.int64), np.iinfo(np.uint64)
    chosen = top_k(np.array([signed.min, signed.max, 0]), 3, epsilon_each=1, sensitivity=1)
    large = top_k(np.array([0, unsigned.max], np.uint64), 2, epsilon_each=1, sensitivity=1)

    assert chosen.tolist() == [1, 2, 0]
    assert large.tolist() == [1, 0]


def test_equal_scores_are_chosen_alike():
    """Among equals each unit is chosen first, and last, equally often."""
    source = InsecureWords(6)
    runs = [top_k(np.full(5, 7), 5, epsilon_each=1, sensitivity=1, source=source) for _ in range(2000)]
    for place in (0, 4):
        counts = np.bincount([run[place] for run in runs], minlength=5)

        assert ((counts - 400) ** 2 / 400).sum() < 20


def test_choices_are_fresh():
    """Without a source no two calls choose alike."""
    scores = np.zeros(1000, np.int64)
    first, second = (top_k(scores, 500, epsilon_each=1, sensitivity=1).tolist() for _ in range(2))

    assert first != second
    assert sorted(first) != sorted(second)


def test_nothing_can_be_chosen():
    """Choosing no unit needs no draw, of any number of units."""
    none = InsecureScript([])

    assert top_k(np.array([3, 4]), 0, epsilon_each=1, sensitivity=1, source=none).shape == (0,)
    assert top_k(np.array([], np.int64), 0, epsilon_each=1, sensitivity=1, source=none).shape == (0,)


def test_members_are_drawn_without_bias():
    """A word past the last whole multiple of the bound is drawn again, one before it is not."""
    bounds = np.array([3, 3, 8, 1])
    words = [2**64 - 1, 2**64 - 2, 2**64 - 1, 2**64 - 1, 7]
    source = InsecureScript(words)

    assert gumbel._uniform_below(bounds, source).tolist() == [7 % 3, (2**64 - 2) % 3, 7, 0]
    assert source.left == []


@pytest.mark.parametrize("scores", [np.zeros((2, 2), int), np.zeros(3), np.zeros(3, bool)], ids=["2d", "float", "bool"])
def test_scores_that_are_no_integers_are_refused(scores):
    """Scores are a vector of integers."""
    with pytest.raises(ValueError, match=r"scores with shape .* must be integers \(num_units,\)"):
        top_k(scores, 1, epsilon_each=1, sensitivity=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": -1}, r"k=-1 must be in \[0, 3\]"),
        ({"k": 4}, r"k=4 must be in \[0, 3\]"),
        ({"epsilon_each": 0}, "epsilon_each=0 must be finite and above 0"),
        ({"epsilon_each": inf}, "epsilon_each=inf must be finite and above 0"),
        ({"epsilon_each": nan}, "epsilon_each=nan must be finite and above 0"),
        ({"sensitivity": 0}, "sensitivity=0 must be at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(changes, message):
    """Every argument is checked by name."""
    arguments = {"k": 1, "epsilon_each": 1, "sensitivity": 1} | changes
    with pytest.raises(ValueError, match=message):
        top_k(np.zeros(3, int), **arguments)


def test_the_distance_grows_with_choices_and_scores():
    """The bound is 2 k num_scores 2**-128: for a large model's units below 2**-100."""
    assert top_k_distance(3, 5) == 30 * 2.0**-128
    assert top_k_distance(200_000, 65) < 2.0**-100
    assert top_k_distance(0, 1) == 0
    with pytest.raises(ValueError, match="k=-1 must be at least 0"):
        top_k_distance(-1, 1)
    with pytest.raises(ValueError, match="num_scores=0 must be at least 1"):
        top_k_distance(1, 0)
