"""ROC curves against slow obvious versions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from attacks.leakage.curves import CutoffSteps, balanced_accuracy, ppv, roc
from tests.attacks.leakage.simulated import samples


@st.composite
def tied(draw):
    """Few coins with many equal scores, both classes among them."""
    coins = draw(st.lists(st.tuples(st.integers(-2, 3), st.booleans()), min_size=1, max_size=25))
    scores, members = zip(*coins, (0, True), (1, False), strict=True)
    return samples(scores, members)


@given(tied())
def test_auc_is_the_share_of_pairs_in_order(drawn):
    """Mann-Whitney by counting pairs, ties half; and as scikit-learn has it."""
    inside, outside = drawn.scores[drawn.members], drawn.scores[~drawn.members]
    pairs = [(a > b) + (a == b) / 2 for a in inside for b in outside]

    assert roc(drawn).auc() == pytest.approx(np.mean(pairs))
    assert roc(drawn).auc() == pytest.approx(metrics.roc_auc_score(drawn.members, drawn.scores))


@given(tied(), st.sampled_from([0.0, 0.001, 0.1, 0.25, 1 / 3, 0.5, 1.0]))
def test_tpr_at_an_fpr_is_the_best_of_all_cutoffs(drawn, fpr):
    """Every cutoff is tried."""
    inside, outside = drawn.scores[drawn.members], drawn.scores[~drawn.members]
    tried = [
        (inside >= cutoff).mean() for cutoff in [np.inf, *drawn.scores] if (outside >= cutoff).mean() <= fpr + 1e-15
    ]

    assert roc(drawn).tpr_at(fpr) == pytest.approx(max(tried))


@given(tied())
def test_curve_is_scikit_learns(drawn):
    """Cutoffs and rates are the same, all of them kept."""
    false, true, cutoffs = metrics.roc_curve(drawn.members, drawn.scores, drop_intermediate=False)
    curve = roc(drawn)

    assert np.array_equal(curve.cutoffs, cutoffs)
    assert curve.true_positive_rates == pytest.approx(true)
    assert curve.false_positive_rates == pytest.approx(false)


@given(tied(), st.sampled_from([-9.0, -2.0, 0.5, 1.0, 9.0]))
def test_rates_at_a_cutoff_count_scores_at_or_above(drawn, cutoff):
    """Cutoffs need not be scores."""
    true, false = roc(drawn).rates_at(cutoff)

    assert true == pytest.approx((drawn.scores[drawn.members] >= cutoff).mean())
    assert false == pytest.approx((drawn.scores[~drawn.members] >= cutoff).mean())
    assert roc(drawn).advantage_at(cutoff) == pytest.approx(true - false)


def test_a_weight_counts_as_so_many_coins():
    """Whole weights are repetitions; many weightings go at once."""
    drawn = samples([3, 2, 2, 1, 0], [1, 0, 1, 1, 0])
    weights = np.array([[1.0, 2, 3, 1, 2], [2, 1, 1, 1, 1]])

    curves = CutoffSteps(drawn).curve(weights)

    for place, weight in enumerate(weights.astype(int)):
        repeated = samples(np.repeat(drawn.scores, weight), np.repeat(drawn.members, weight))
        assert curves.auc()[place] == pytest.approx(roc(repeated).auc())
        assert curves.tpr_at(0.5)[place] == pytest.approx(roc(repeated).tpr_at(0.5))


def test_ppv_is_bayes_rule():
    """At 1 % prior and 1 % false positives, a perfect attack is right about half of those it names."""
    assert ppv(1.0, 0.01, prior=0.01) == pytest.approx(0.01 / (0.01 + 0.99 * 0.01))
    assert ppv(0.3, 0.3, prior=0.2) == pytest.approx(0.2)
    assert balanced_accuracy(0.5) == 0.75


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_ppv_needs_a_prior(prior):
    """Where all or none are members there is nothing to guess."""
    with pytest.raises(ValueError, match=r"prior=.* must be in"):
        ppv(0.5, 0.1, prior=prior)


def test_ppv_needs_someone_called():
    """Nobody called a member has no share of members."""
    with pytest.raises(ValueError, match="must not both be 0"):
        ppv(0.0, 0.0, prior=0.01)


@pytest.mark.parametrize("fpr", [-0.1, 1.1, float("nan")])
def test_an_fpr_is_a_rate(fpr):
    """Rates lie in [0, 1]."""
    with pytest.raises(ValueError, match=r"fpr=.* must be in"):
        roc(samples([0, 1], [0, 1])).tpr_at(fpr)
