"""LiRA on scores that are drawn from known Gaussians."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from attacks.evidence import NOTHING, Setting
from attacks.lira import Lira
from tests.attacks.planted import auc

TARGETS = 5


def game(*, labelled, observed=400, second_absent=False, seed=0, means=(2.0, -1.0), sds=(1.0, 1.0)):
    """Draw coins, and scores of the first candidate that are Gaussian given the coin; the second scores 0."""
    generator = np.random.default_rng(seed)
    coins = generator.integers(0, 2, (observed + labelled, TARGETS)).astype(np.int8)
    level = generator.normal(0, 10, TARGETS)
    scores = np.zeros((observed + labelled, 2 * TARGETS))
    scores[:, :TARGETS] = level + np.where(
        coins == 1, generator.normal(means[0], sds[0], coins.shape), generator.normal(means[1], sds[1], coins.shape)
    )
    second = np.full(TARGETS, NOTHING) if second_absent else np.arange(TARGETS, 2 * TARGETS)
    setting = Setting(
        kind="totals",
        clients=2,
        slots=4,
        noise_sd=0.0,
        energies=np.ones((2 * TARGETS, 3)),
        population=np.ones((2, 3)),
        targets=np.column_stack([np.arange(TARGETS), second]),
        coins=coins[observed:],
        observed=observed,
        in_play=np.ones((observed, TARGETS), bool),
    )
    return setting, scores, coins, level


@pytest.mark.parametrize("second_absent", [True, False])
def test_online_is_the_true_ratio_with_many_labelled_rows(second_absent):
    """Densities of both sides, each with its own variance, per target."""
    setting, scores, _, level = game(labelled=4000, observed=50, second_absent=second_absent, sds=(2.0, 1.0))
    found = Lira().refine(setting, scores)[:50]
    centred = scores[:50, :TARGETS] - level
    truth = norm.logpdf(centred, 2.0, 2.0) - norm.logpdf(centred, -1.0, 1.0)

    np.testing.assert_allclose(found, truth, rtol=0.2, atol=0.3)


def test_offline_is_the_tail_above_the_second_side():
    """Minus the logarithm of the chance of a score as high where the second candidate is in."""
    setting, scores, _, level = game(labelled=4000, observed=50)
    found = Lira(online=False).refine(setting, scores)[:50]

    np.testing.assert_allclose(found, -norm.logsf(scores[:50, :TARGETS] - level, -1.0, 1.0), rtol=0.2, atol=0.1)


def test_few_labelled_rows_share_the_variance_of_their_own_side():
    """Variances are pooled over targets and not over sides: the wide side stays wide."""
    setting, scores, _, level = game(labelled=50, sds=(3.0, 0.5))
    pooled = Lira().refine(setting, scores)[:400]
    centred = scores[:400, :TARGETS] - level
    truth = norm.logpdf(centred, 2.0, 3.0) - norm.logpdf(centred, -1.0, 0.5)

    assert np.corrcoef(pooled.ravel(), truth.ravel())[0, 1] > 0.95
    single = Lira(pool_below=0).refine(setting, scores)[:400]
    assert np.abs(pooled - truth).mean() < np.abs(single - truth).mean()


@pytest.mark.parametrize("online", [True, False])
def test_levels_of_targets_are_taken_off(online):
    """Scores that differ more by target than by coin are told apart only after."""
    setting, scores, coins, _ = game(labelled=100)
    fell_first = coins[:400].ravel() == 1

    assert auc(fell_first, setting.paired(scores)[:400].ravel()) < 0.7
    assert auc(fell_first, Lira(online=online).refine(setting, scores)[:400].ravel()) > 0.95


@pytest.mark.parametrize("online", [True, False])
def test_a_labelled_row_does_not_vouch_for_itself(online):
    """Without signal, no row is scored better than chance, labelled ones included."""
    setting, scores, coins, _ = game(labelled=30, observed=0, means=(0.0, 0.0))
    areas = []
    for seed in range(20):
        setting, scores, coins, _ = game(labelled=12, observed=0, means=(0.0, 0.0), seed=seed + 100)
        if min((coins == 1).sum(0).min(), (coins == 0).sum(0).min()) < 2:
            continue
        areas.append(auc(coins.ravel() == 1, Lira(online=online).refine(setting, scores).ravel()))

    assert len(areas) >= 10
    assert np.mean(areas) < 0.55


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("pool_below", [0, 64])
def test_a_labelled_row_is_scored_as_if_it_were_observed(online, pool_below):
    """By the other labelled rows, whichever of all scores it holds."""
    setting, scores, _, _ = game(labelled=40, observed=0)
    scores[7, 2] = 1e12
    lira = Lira(online=online, pool_below=pool_below)
    found = lira.refine(setting, scores)
    for row in (0, 7, 39):
        others = np.arange(40) != row
        alone = replace(setting, observed=1, in_play=np.ones((1, TARGETS), bool), coins=setting.coins[others])

        expected = lira.refine(alone, np.concatenate([scores[[row]], scores[others]]))[0]
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


def test_coins_out_of_play_are_left_out():
    """A row in which a target is not in play teaches nothing about it."""
    setting, scores, _, _ = game(labelled=100, observed=3)
    coins = setting.coins.copy()
    coins[50:, 0] = -1
    wild = scores.copy()
    wild[53:, 0] = 1e6
    changed = Setting(**{name: getattr(setting, name) for name in Setting.__dataclass_fields__} | {"coins": coins})
    lira = Lira(pool_below=0)

    np.testing.assert_allclose(lira.refine(changed, wild)[:53], lira.refine(changed, scores)[:53], rtol=1e-9)


def test_scores_that_never_vary_give_finite_ratios():
    """A perfect attack's scores may be two numbers."""
    setting, scores, coins, _ = game(labelled=30, observed=20, sds=(0.0, 0.0))
    found = Lira().refine(setting, scores)

    assert np.isfinite(found).all()
    assert auc(coins.ravel() == 1, found.ravel()) == 1.0


def test_names_and_bases():
    """The two ways are two entries, on the attacks with a likelihood."""
    assert (Lira().name, Lira(online=False).name) == ("lira-online", "lira-offline")
    assert Lira().base["masks"] == "inverted"
    assert {Lira().base[kind] for kind in ("totals", "choice", "statistics")} == {"whitened"}


def test_too_few_labelled_rows_and_other_shapes_are_refused():
    """Every target must have been seen both ways, offline at least the second."""
    setting, scores, _, _ = game(labelled=20, observed=3)
    fields = {name: getattr(setting, name) for name in Setting.__dataclass_fields__}

    with pytest.raises(ValueError, match=r"scores=\(23, 9\) must be \(23, 10\)"):
        Lira().refine(setting, scores[:, :9])
    ones = Setting(**fields | {"coins": np.ones((20, TARGETS), np.int8)})
    with pytest.raises(ValueError, match="must fall on 0 twice for every target, and 3 times for one"):
        Lira(online=False).refine(ones, scores)
    zeros = Setting(**fields | {"coins": np.zeros((20, TARGETS), np.int8)})
    with pytest.raises(ValueError, match="must fall on 1 twice"):
        Lira().refine(zeros, scores)
    assert np.isfinite(Lira(online=False).refine(zeros, scores)).all()
