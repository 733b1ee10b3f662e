"""Margins: probabilities of removal, and the cutoffs at which they add up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from attacks.companions import Spread
from attacks.margins import cutoffs_from, normal_cdf, removal_probability, shifted_cutoffs, usual_cutoffs


def example(seed=0, clients=3, out=6, width=40):
    """Draw log-weights (out, in) and clients' spread (clients, in)."""
    generator = np.random.default_rng(seed)
    log_weights = np.log(np.abs(generator.normal(size=(out, width)))).astype(np.float32)
    mean = generator.normal(size=(clients, width)).astype(np.float32)
    return log_weights, Spread(mean, generator.uniform(0.05, 1, (clients, width)).astype(np.float32))


def test_normal_cdf_is_close():
    """The fast form is within 2e-4 everywhere, and flat far out."""
    z = np.array([-np.inf, *np.linspace(-9, 9, 1001), np.inf], np.float32)

    np.testing.assert_allclose(normal_cdf(z), norm.cdf(z), atol=2.5e-4)


def test_arrays_that_nobody_may_write_to_are_read():
    """Nor need they be contiguous."""
    z = np.linspace(-2, 2, 9)
    z.setflags(write=False)

    np.testing.assert_allclose(normal_cdf(z[::-1]), norm.cdf(-z), atol=2.5e-4)


def test_removal_probability_is_of_the_margin():
    """Phi((cutoff - log-weight - mean) / sd), for every client, row and channel."""
    log_weights, spread = example()
    cutoffs = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    found = removal_probability(cutoffs, log_weights, spread)

    for client, i, j in np.ndindex(found.shape):
        margin = cutoffs[client, i] - log_weights[i, j] - spread.mean[client, j]
        assert found[client, i, j] == pytest.approx(norm.cdf(margin / spread.sd[client, j]), abs=2.5e-4)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_cutoffs_remove_the_share(share):
    """At a usual client's cutoffs the expected share removed is the share; other clients' follow from them."""
    log_weights, spread = example()
    usual = Spread(spread.mean[:1], spread.sd[:1])
    start = usual_cutoffs(log_weights, usual, share=share)
    cutoffs = cutoffs_from(start, log_weights, spread, share=share, steps=12)

    np.testing.assert_allclose(removal_probability(start, log_weights, usual).mean(-1), share, atol=1e-3)
    np.testing.assert_allclose(removal_probability(cutoffs, log_weights, spread).mean(-1), share, atol=1e-3)


def test_rows_of_zeros_have_finite_cutoffs():
    """A row of weights that is nearly or entirely zero does no harm: what is zero goes first."""
    log_weights, spread = example()
    log_weights[0], log_weights[1, :30] = -np.inf, -np.inf
    usual = Spread(spread.mean[:1], spread.sd[:1])
    cutoffs = usual_cutoffs(log_weights, usual, share=0.5)

    assert np.isfinite(cutoffs).all()
    np.testing.assert_array_equal(removal_probability(cutoffs, log_weights, usual)[0, 0], 1)


def test_a_matrix_of_zeros_has_finite_cutoffs():
    """All zero: there is nothing to start from, and nothing to find."""
    log_weights, spread = example(clients=1)

    assert np.isfinite(usual_cutoffs(np.full_like(log_weights, -np.inf), spread, share=0.5)).all()


def test_cutoffs_move_with_log_norms_to_first_order():
    """A small move of log-norms moves cutoffs as solving anew does, but for its square; weights of 0 say nothing."""
    log_weights, spread = example(out=8, width=200)
    log_weights[:, 3] = -np.inf
    usual = Spread(spread.mean[:1], np.full((1, 200), 0.3, np.float32))
    start = usual_cutoffs(log_weights, usual, share=0.5)
    step = np.random.default_rng(2).normal(size=(1, 200)).astype(np.float32)
    step[0, 3] = 1e3  # of a channel that is always removed
    errors = []
    for size in (0.04, 0.02):
        moved = Spread(usual.mean + np.float32(size) * step, usual.sd)
        solved = cutoffs_from(start, log_weights, moved, share=0.5, steps=20)
        found = shifted_cutoffs(start, log_weights, usual, moved)
        assert np.abs(found - solved).max() < 0.2 * np.abs(start - solved).max()
        errors.append(np.abs(found - solved).max())

    assert errors[1] < 0.5 * errors[0]
