"""The margin likelihood against its formulas, and its probabilities against what happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from attacks.companions import Companions, absent_is_empty
from attacks.evidence import NOTHING
from attacks.margin_likelihood import MarginLikelihood, mask_line, totals_line
from attacks.margins import cutoffs_from, removal_probability, usual_cutoffs
from tests.attacks.planted import auc, plant

ATTACK = MarginLikelihood(draws=32, steps=6, first_order_from=99, least_rate=0.01)


def scores_of(game, attack=ATTACK):
    """Run the attack."""
    scoring = attack.start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return scoring.scores()


def probabilities(companions, sight):
    """Give P(removed) with every candidate, usual, and with a slot empty: each (clients, out, in), floored."""
    norms = companions.norms(sight.channels)
    start = usual_cutoffs(sight.log_weights, norms.usual, share=sight.sparsity)
    found = []
    for spread, steps in ((norms.present, ATTACK.steps), (norms.usual, 0), (norms.short, ATTACK.steps)):
        cutoffs = cutoffs_from(start, sight.log_weights, spread, share=sight.sparsity, steps=steps)
        probability = removal_probability(cutoffs, sight.log_weights, spread).astype(float)
        found.append(np.clip(probability, ATTACK.least_rate, 1 - ATTACK.least_rate))
    return found


def by_loop(game, ratio):
    """Add up log ``ratio`` (votes, with, without, usual) over bits in plain Python."""
    scores = np.zeros((len(game.sights[0].rows), len(game.setting.energies)))
    companions = Companions(game.setting, draws=ATTACK.draws, least_sd=ATTACK.least_sd)
    empty = absent_is_empty(game.setting)
    for sight in game.sights:
        present, usual, short = probabilities(companions, sight)
        for candidate, i, j in np.ndindex(present.shape):
            absent = short[0, i, j] if empty[candidate] else usual[0, i, j]
            scores[:, candidate] += ratio(
                sight.rows[:, i, j].astype(float), present[candidate, i, j], absent, usual[0, i, j]
            )
    return scores


def of_masks(votes, present, absent, usual):
    """The Bernoulli log-likelihood ratio."""
    return votes * np.log(present / absent) + (1 - votes) * np.log((1 - present) / (1 - absent))


def of_totals(clients, noise_variance):
    """The line through the totals nearest to what is expected, 0 midway."""

    def ratio(votes, present, absent, usual):
        def log_ratio(total):
            unit = (total - clients * usual) / (clients * usual * (1 - usual) + noise_variance)
            return np.log((1 + (present - usual) * unit) / (1 + (absent - usual) * unit))

        middle = (clients - 1) * usual + (present + absent) / 2
        low = min(max(middle - 0.5, 0), clients - 1)
        return (log_ratio(low + 1) - log_ratio(low)) * (votes - middle)

    return ratio


@pytest.mark.parametrize("targets", [[[0, 1], [2, 3]], [[0, NOTHING], [1, 2]]], ids=["replace", "mixed"])
@pytest.mark.parametrize(
    ("kind", "noise_sd", "ratio"),
    [("masks", 0.0, of_masks), ("totals", 0.0, of_totals(3, 0.0)), ("totals", 2.0, of_totals(3, 4.0))],
    ids=["plain", "totals", "noisy"],
)
def test_scores_are_the_formula(kind, noise_sd, ratio, targets):
    """Bit by bit: with the candidate, against another in its place or its slot empty."""
    game = plant(kind, seed=1, targets=2, strangers=0, observed=2, labelled=2, reference=2, noise_sd=noise_sd)
    game = replace(game, setting=replace(game.setting, targets=np.array(targets)))
    expected = by_loop(game, ratio)

    np.testing.assert_allclose(scores_of(game), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("per_client", "steps"), [(1, 6), (2, 0)])
def test_cutoffs_are_solved_where_a_candidate_moves_them_far(per_client, steps):
    """Where it is all that a client has; else they are moved to first order."""
    game = plant("totals", seed=1, targets=2, strangers=0, observed=2, labelled=2, reference=2, per_client=per_client)
    found = scores_of(game, replace(ATTACK, first_order_from=2))

    np.testing.assert_array_equal(found, scores_of(game, replace(ATTACK, steps=steps)))
    assert not np.array_equal(found, scores_of(game, replace(ATTACK, steps=6 - steps)))


@pytest.mark.parametrize("clients", [1, 3, 5])
def test_a_total_s_slope_is_that_of_the_exact_likelihood_ratio(clients):
    """Without noise and with whole totals next to the middle, the slope is exact: one client of n differs."""
    present, absent, usual = np.float32([0.75]), np.float32([0.25]), np.float32([0.5])
    slope, at_0 = totals_line(present, absent, usual, clients=clients, noise_variance=0)

    def likelihood(total, one):
        others = binom(clients - 1, 0.5)
        return one * others.pmf(total - 1) + (1 - one) * others.pmf(total)

    low = (clients - 1) // 2
    logs = [np.log(likelihood(total, 0.75) / likelihood(total, 0.25)) for total in (low, low + 1)]

    assert slope[0] == pytest.approx(logs[1] - logs[0], rel=1e-5)
    assert at_0[0] + slope[0] * clients / 2 == pytest.approx(0, abs=1e-5)


def test_a_mask_s_line_is_the_log_likelihood_ratio():
    """At 0 and at 1."""
    slope, at_0 = mask_line(np.float32([0.9]), np.float32([0.2]))

    assert at_0[0] == pytest.approx(np.log(0.1 / 0.8), rel=1e-5)
    assert at_0[0] + slope[0] == pytest.approx(np.log(0.9 / 0.2), rel=1e-5)


def test_noise_weakens_evidence():
    """The same total says less the more noise there is."""
    rates = [np.float32([p]) for p in (0.7, 0.4, 0.4)]
    slopes = [totals_line(*rates, clients=4, noise_variance=v)[0][0] for v in (0.0, 1.0, 100.0)]

    assert slopes[0] > slopes[1] > slopes[2] > 0


@pytest.mark.parametrize("deviation", [0.0, 10.0, 733.0, 5000.0])
@pytest.mark.parametrize("clients", [4, 64])
def test_single_precision_is_enough_under_any_noise(clients, deviation):
    """Slopes of a small noisy effect are those of double precision, with a candidate's absence as usual or not."""
    draw = np.random.default_rng(0)
    usual = draw.uniform(0.1, 0.9, 1000)
    present, absent = (np.clip(usual + draw.normal(0, 0.02, 1000), 0.001, 0.999) for _ in range(2))
    for rates in ((present, absent, usual), (present, usual, usual)):
        single = [each.astype(np.float32) for each in rates]
        if rates[1] is rates[2]:
            single[1] = single[2]
        double = [each.astype(np.float64) for each in single]
        if rates[1] is rates[2]:
            double[1] = double[2]
        found, expected = (
            totals_line(*each, clients=clients, noise_variance=deviation**2)[0] for each in (single, double)
        )
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_probabilities_are_what_happens():
    """Bits of usual clients go about as often as the model says."""
    game = plant("masks", seed=1, observed=1, labelled=1, reference=500)
    companions = Companions(game.setting, draws=256, least_sd=ATTACK.least_sd)
    for sight in game.sights:
        _, usual, _ = probabilities(companions, sight)

        assert np.abs(usual[0] - sight.reference.mean(0)).mean() < 0.03


@pytest.mark.parametrize("kind", ["masks", "totals"])
def test_a_client_left_with_nothing_is_told_from_one_with_a_candidate(kind):
    """Zero-out with one slot a client: absent, the client has no window at all."""
    game = plant(kind, seed=1, paired=False, per_client=1, separable=True, clients=2)

    assert auc(*game.coins(game.setting.paired(scores_of(game)))) >= 0.99


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_rate_out_of_range_is_refused(rate):
    """A probability that may be 0 or 1 has no logarithm; none is pushed to one half."""
    with pytest.raises(ValueError, match=r"least_rate=.* must be in \(0, 1/2\)"):
        MarginLikelihood(least_rate=rate)
