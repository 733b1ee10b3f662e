"""Laws of integer noise against high-precision probabilities, and samples against bisection in exact integers."""

from __future__ import annotations

import doctest
from bisect import bisect_right
from fractions import Fraction
from functools import cache
from math import inf, nan

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.noise import NOISES, DiscreteGaussian, Skellam, SystemWords, exponentials
from protocols.noise.exponentials import scaled_exp
from protocols.noise.law import LARGEST_VARIANCE, TABLE_ENTRIES, IntegerNoise
from protocols.noise.table import CHUNK, GUIDE_BITS, NoiseTable
from protocols.noise.thresholds import Thresholds
from tests.protocols.insecure_words import InsecureScript, InsecureWords

ONE = 1 << 128
VARIANCES = [Fraction(1, 20), Fraction(1, 3), 1.0, 25, 400]
every_law = pytest.mark.parametrize("law", NOISES.values(), ids=NOISES)


@pytest.fixture(autouse=True)
def precision():
    """Let every test compute with 300 bits."""
    with mpmath.workprec(300):
        yield


def weight(law, order, variance):
    """Return what P(X = order) is proportional to."""
    variance = mpmath.mpf(variance.numerator) / variance.denominator
    if law is Skellam:
        return mpmath.besseli(order, variance) * mpmath.exp(-variance)
    return mpmath.exp(-(mpmath.mpf(order) ** 2) / (2 * variance))


@cache
def ideal(law, variance):
    """Return P(X = 0), P(X = 1) and so on, far past what a table holds, to 300 bits."""
    with mpmath.workprec(300):
        orders = law(variance).largest + 60
        weights = [weight(law, order, Fraction(variance)) for order in range(orders)]
        total = weights[0] + 2 * mpmath.fsum(weights[1:])
        return [value / total for value in weights]


def numbers(thresholds):
    """Return thresholds as integers."""
    return [(high << 64) + low for high, low in zip(thresholds.high.tolist(), thresholds.low.tolist(), strict=True)]


def probabilities(noise):
    """Return what the table really samples, in units of 2**-128, by value."""
    bounds = [0, *numbers(noise.table.thresholds), ONE]
    return {value - noise.largest: bounds[value + 1] - bounds[value] for value in range(2 * noise.largest + 1)}


@every_law
@pytest.mark.parametrize("variance", VARIANCES)
def test_thresholds_are_the_distribution_function(law, variance):
    """Every threshold is 2**128 P(X >= j), rounded, and none is left out that is not 0."""
    noise = law(variance)
    chances = ideal(law, variance)
    tails = [mpmath.fsum(chances[order:]) * ONE for order in range(1, len(chances))]
    lower = numbers(noise.table.thresholds)[: noise.largest][::-1]
    errors = [abs(threshold - tail) for threshold, tail in zip(lower, tails, strict=False)]

    assert max(errors) <= mpmath.mpf(1) / 2 + mpmath.mpf(2) ** -12
    assert tails[noise.largest] <= mpmath.mpf(1) / 2 + mpmath.mpf(2) ** -12
    assert numbers(noise.table.thresholds) == [*lower[::-1], *(ONE - threshold for threshold in lower)]


def at_zero(law, variance):
    """Return P(X = 0) of a wide law: by Hankel's expansion of I_0, or by Poisson summation."""
    wide = mpmath.mpf(variance.numerator) / variance.denominator
    term = series = mpmath.mpf(1)
    for order in range(1, 12 if law is Skellam else 0):
        term *= (2 * order - 1) ** 2 / (8 * order * wide)
        series += term
    return series / mpmath.sqrt(2 * mpmath.pi * wide)


@every_law
@pytest.mark.parametrize("variance", [Fraction(10**7, 7), 4558.0**2])
def test_wide_tables_hold_the_right_probabilities(law, variance):
    """The probability of 0, and what ties neighbours to each other, hold all over a wide table."""
    noise = law(variance)
    made = probabilities(noise)

    assert abs(made[0] - at_zero(law, noise.variance) * ONE) <= 1.001
    for order in [*range(1, 50), *range(1, noise.largest - 1, noise.largest // 500)]:
        if law is Skellam:  # I_(k-1) - I_(k+1) = (2k / v) I_k
            share = 2 * order / noise.variance
            assert abs(made[order - 1] - made[order + 1] - share * made[order]) <= 2 + share
        else:
            expected = (
                mpmath.exp(
                    -(mpmath.mpf(order) ** 2)
                    / (2 * mpmath.mpf(variance.as_integer_ratio()[0]))
                    * variance.as_integer_ratio()[1]
                )
                * made[0]
            )
            assert abs(made[order] - expected) <= 2.001


@every_law
@pytest.mark.parametrize("variance", VARIANCES)
def test_distance_bounds_the_statistical_distance(law, variance):
    """Half the sum of all differences from the ideal law is at most the distance, which is not far above it."""
    noise = law(variance)
    chances = ideal(law, variance)
    made = probabilities(noise)
    differences = [abs(mpmath.mpf(made.get(order, 0)) / ONE - chance) for order, chance in enumerate(chances)]
    distance = (differences[0] + 2 * mpmath.fsum(differences[1:])) / 2

    assert distance <= noise.distance < min(100 * distance, mpmath.mpf(2) ** -100)


def test_shares_of_skellam_noise_add_up():
    """The law of the sum of three shares is the law of the whole, within the distances of all four."""
    share, whole = Skellam(Fraction(5, 3)), Skellam(5)
    chances = {0: 1}
    for _ in range(3):
        added = {}
        for value, chance in chances.items():
            for step, weight_of_step in probabilities(share).items():
                added[value + step] = added.get(value + step, 0) + chance * weight_of_step
        chances = added
    expected = probabilities(whole)
    difference = sum(abs(chance - expected.get(value, 0) * ONE**2) for value, chance in chances.items())

    assert whole.largest < max(chances)
    assert sum(chances.values()) == ONE**3
    assert Fraction(difference, 2 * ONE**3) <= 3 * Fraction(share.distance) + Fraction(whole.distance)


def test_sums_of_discrete_gaussians_are_none():
    """Two shares of variance 1/4 are far from a discrete Gaussian of variance 1/2."""
    share, whole = probabilities(DiscreteGaussian(0.25)), probabilities(DiscreteGaussian(0.5))
    both_zero = sum(share[value] * share[-value] for value in share)

    assert abs(both_zero / ONE**2 - whole[0] / ONE) > 0.01


@every_law
@pytest.mark.parametrize("variance", [0.4, 6, 400])
def test_moments(law, variance):
    """Mean and variance of many samples are those of the law, within five standard errors."""
    count = 400_000
    samples = law(variance).sample(count, InsecureWords(1)).astype(float)
    second, fourth = (
        float(2 * mpmath.fsum(order**power * chance for order, chance in enumerate(ideal(law, variance))))
        for power in (2, 4)
    )

    assert second == pytest.approx(variance, rel=1e-9 if law is Skellam else 0.02)
    assert abs(samples.mean()) < 5 * np.sqrt(second / count)
    assert abs(samples.var() - second) < 5 * np.sqrt((fourth - second**2) / count)


@every_law
def test_samples_follow_the_law(law):
    """A chi-square test at a fixed seed, over values and tails."""
    count, reach = 500_000, 7
    samples = np.clip(law(4).sample(count, InsecureWords(2)), -reach, reach)
    chances = [float(chance) for chance in ideal(law, 4)]
    expected = np.array([chances[abs(value)] for value in range(-reach, reach + 1)])
    expected[[0, -1]] = sum(chances[reach:])
    observed = np.bincount(samples + reach, minlength=2 * reach + 1)
    statistic = ((observed - count * expected) ** 2 / (count * expected)).sum()

    assert statistic < 2 * reach + 5 * np.sqrt(4 * reach)


def naive(table, highs, lows):
    """Return the samples of draws one by one, and the low words that were needed."""
    bounds = numbers(table.thresholds)
    halves = {bound >> 64 for bound in bounds}
    lows = iter(lows)
    samples = [bisect_right(bounds, (high << 64) + (next(lows) if high in halves else 0)) for high in highs]
    return [sample - table.largest for sample in samples]


@every_law
@pytest.mark.parametrize("variance", [0.05, 2, 400, 10**6])
def test_samples_equal_bisection(law, variance):
    """On random words, words around every kind of threshold and both ends of the guide's stretches, over chunks."""
    table = law(variance).table
    bounds = table.thresholds.high[:: max(1, table.largest // 50)].tolist()
    edges = [stretch << (64 - GUIDE_BITS) for stretch in (0, 1, 2**15, 2**16 - 1)]
    near = [word + step for word in bounds + edges for step in (-1, 0, 1)]
    highs = [word for word in near if 0 <= word < 2**64]
    highs += InsecureWords(3).words(2 * CHUNK + 5 - len(highs)).tolist()
    # Chunk by chunk, the low words that a chunk needs follow its high words.
    halves = set(table.thresholds.high.tolist())
    script, lows = [], []
    for first in range(0, len(highs), CHUNK):
        chunk = highs[first : first + CHUNK]
        needed = InsecureWords(4).words(sum(word in halves for word in chunk)).tolist()
        script += chunk + needed
        lows += needed
    source = InsecureScript(script)
    samples = table.sample(len(highs), source)

    assert samples.dtype == np.int64
    assert samples.tolist() == naive(table, highs, lows)
    assert len(lows) > 0
    assert source.left == []


@every_law
def test_a_tie_is_resolved_by_the_low_word(law):
    """A draw that equals a threshold is past it, one that is smaller by 1 in the low word is not."""
    table = law(30).table
    for place in (0, 3, table.largest - 1, table.largest, 2 * table.largest - 1):
        high, low = divmod(numbers(table.thresholds)[place], 2**64)
        at = table.sample(1, InsecureScript([high, low]))
        below = table.sample(1, InsecureScript([high, low - 1]))

        assert at.tolist() == [place + 1 - table.largest]
        assert below.tolist() == [place - table.largest]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    values=st.lists(st.tuples(st.sampled_from([0, 1, 5, 2**64 - 1]), st.integers(0, 3)), max_size=9),
    draws=st.lists(st.tuples(st.sampled_from([0, 1, 2, 5, 2**64 - 1]), st.integers(0, 3)), max_size=9),
)
def test_ranks_equal_bisection(values, draws):
    """Thresholds that share their high words, or are equal, are counted as integers of 128 bits."""
    bounds = sorted((high << 64) + low for high, low in values)
    thresholds = Thresholds.of(bounds)
    tied = [low for high, low in draws if high in thresholds.high.tolist()]
    ranks = thresholds.ranks(np.array([high for high, _ in draws], np.uint64), InsecureScript(tied))

    assert ranks.tolist() == [bisect_right(bounds, (high << 64) + low) for high, low in draws]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.integers(1, 5), st.integers(1, ONE - 1), st.sampled_from([2**64, 2**127])), max_size=6))
def test_mirrored_thresholds(values):
    """A mirrored threshold is 2**128 less the threshold, also where its low word is 0."""
    assert numbers(Thresholds.of(sorted(values)).mirrored()) == sorted(ONE - value for value in values)


def test_a_table_of_one_value_gives_that_value():
    """Where no other value has a weight, or all but 0 round to nothing, every sample is 0."""
    assert NoiseTable.symmetric([7]).sample(3, InsecureWords(5)).tolist() == [0, 0, 0]
    assert NoiseTable.symmetric([2**130, 1]).largest == 0
    assert Skellam(1e-300).sample(3).tolist() == DiscreteGaussian(1e-300).sample(3).tolist() == [0, 0, 0]
    assert Skellam(Fraction(1, 10**400)).largest == 0


@every_law
def test_noise_is_fresh(law):
    """Without a source no two calls give the same samples, and the system's words follow the law."""
    noise = law(10**6)
    first, second, third = noise.sample(1000), noise.sample(1000), noise.sample(1000, SystemWords())

    assert len({tuple(samples) for samples in (first, second, third)}) == 3
    assert 500 < np.std(np.concatenate([first, second, third])) < 1500
    assert noise.sample(0).shape == (0,)


@every_law
def test_negative_lengths_are_refused(law):
    """A number of samples is at least 0."""
    with pytest.raises(ValueError, match="length=-1 must be at least 0"):
        law(1).sample(-1)


@every_law
@pytest.mark.parametrize("variance", [2, 2.0, np.float64(2), Fraction(2)], ids=lambda value: type(value).__name__)
def test_a_variance_is_an_exact_fraction(law, variance):
    """However it is given, the variance is the fraction that it is; equal laws share a table."""
    noise = law(variance)

    assert noise.variance == Fraction(2)
    assert type(noise.variance) is Fraction
    assert noise == law(2) != law(0.1)
    assert noise.table is law(2).table
    assert law(0.1).variance == Fraction(0.1) != Fraction(1, 10)
    assert repr(noise) == f"{law.__name__}(variance=Fraction(2, 1))"


@every_law
@pytest.mark.parametrize("variance", [0, -1, 0.0, nan, inf, Fraction(-1, 3)])
def test_variances_that_are_none_are_refused(law, variance):
    """A variance is finite and above 0."""
    with pytest.raises(ValueError, match=f"variance={variance} must be finite and above 0"):
        law(variance)


@every_law
@pytest.mark.parametrize("variance", ["2", None, True, np.int64(2)])
def test_variances_of_other_types_are_refused(law, variance):
    """A number that is no int, float or Fraction is not converted silently."""
    with pytest.raises(ValueError, match="must be an int, a float or a Fraction"):
        law(variance)


@every_law
def test_variances_beyond_a_table_are_refused_at_once(law):
    """The largest variance is accepted, one more is refused with what would do, and neither makes a table."""
    assert law(LARGEST_VARIANCE).variance == LARGEST_VARIANCE
    with pytest.raises(ValueError, match=f"must be at most {LARGEST_VARIANCE}.*coarser scale.*several draws"):
        law(LARGEST_VARIANCE + 1)
    with pytest.raises(ValueError, match="must be at most"):
        law(1e300)


@every_law
def test_tables_keep_to_the_number_of_entries(law):
    """A law reaches no further than the variance's limit assumes: 13.4 standard deviations if it is wide."""
    reach = TABLE_ENTRIES / 2 / np.sqrt(LARGEST_VARIANCE)

    assert 13 * 1000 < law(10**6).largest < reach * 1000
    assert reach < 13.4


@pytest.mark.parametrize(("law", "bits"), [(Skellam, 200), (DiscreteGaussian, 160)], ids=NOISES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_weights_reach_as_far_as_their_proof_says(law, bits, variance):
    """What lies past the weights is as improbable as each law's error bound assumes."""
    past = len(law.weights(Fraction(variance)))
    orders = range(past if law is DiscreteGaussian else past - 1, past + 200)
    tail = mpmath.fsum(weight(law, order, Fraction(variance)) for order in orders)

    assert 0 < tail / weight(law, 0, Fraction(variance)) <= mpmath.mpf(2) ** -bits


def test_a_law_must_give_its_weights():
    """The shared part alone is no law."""
    with pytest.raises(TypeError, match="weights"):
        IntegerNoise(1)


def test_names():
    """A law is listed under its own name."""
    assert {"skellam": Skellam, "discrete-gaussian": DiscreteGaussian} == NOISES
    for name, law in NOISES.items():
        assert law.name == name


@settings(max_examples=60, deadline=None, derandomize=True)
@given(exponent=st.fractions(0, 2000, max_denominator=10**9), bits=st.sampled_from([1, 64, 192, 256]))
def test_scaled_exponentials(exponent, bits):
    """An exponential comes out within one unit of its last place."""
    with mpmath.workprec(400):
        expected = mpmath.exp(-mpmath.mpf(exponent.numerator) / exponent.denominator) * mpmath.mpf(2) ** bits

        assert abs(scaled_exp(exponent, bits) - expected) <= 0.5 + 1e-9


def test_exponentials_of_very_large_numbers_are_zero():
    """An exponent past every range of the arithmetic gives 0."""
    assert scaled_exp(Fraction(10**12), 256) == 0


def test_examples_in_docstrings_hold():
    """The doctest of the exponentials runs."""
    assert doctest.testmod(exponentials) == (0, 1)
