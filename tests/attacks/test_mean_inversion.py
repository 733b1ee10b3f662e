"""Totals of prune masks give the clients' mean log-norm back, as a shift from the reference mean."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from attacks import mean_inversion
from attacks.mean_inversion import MeanInverter


def totals_of(log_weights, norms, noise_sd=0.0, *, seed=3):
    """Add up clients' masks, norms (rows, clients, in), each removing half of every row of weights; and noise."""
    totals = np.zeros((len(norms), *log_weights.shape))
    for client in range(norms.shape[1]):
        scores = log_weights + norms[:, client, None, :]
        totals += np.argsort(np.argsort(scores, axis=2), axis=2) < scores.shape[2] // 2
    return totals + np.random.default_rng(seed).normal(0, noise_sd, totals.shape)


def world(*, out=96, inputs=64, rows=80, clients=6, spread=0.2):
    """Draw log-weights and norms (rows, clients, in)."""
    generator = np.random.default_rng(0)
    log_weights = np.log(np.abs(generator.normal(size=(out, inputs)))).astype(np.float32)
    level = generator.normal(0, 0.5, inputs)
    return log_weights, level + generator.normal(0, spread, (rows, clients, inputs))


def correlation_and_slope(found, norms):
    """Compare estimates with the true shift of the mean, a constant a row apart."""
    truth = norms.mean(1) - norms[:60].mean((0, 1))
    truth = (truth - truth.mean(1, keepdims=True))[60:]
    return np.corrcoef(found.ravel(), truth.ravel())[0, 1], (found * truth).sum() / (truth**2).sum()


@pytest.mark.parametrize(("noise_sd", "least"), [(0.0, 0.95), (2.0, 0.75)])
def test_mean_log_norms_come_back_in_nats(noise_sd, least):
    """Estimates follow the true shifts and have their unit; noise costs some correlation, no unit."""
    log_weights, norms = world()
    totals = totals_of(log_weights, norms, noise_sd)
    inverter = MeanInverter.fit(totals[:60], log_weights, trials=6, spread=np.full(64, 0.2), noise_sd=noise_sd)
    correlation, slope = correlation_and_slope(inverter.invert(totals[60:]), norms)

    assert correlation > least
    assert 0.8 < slope < 1.2


def test_the_estimate_is_linear_in_totals():
    """Of the mean of two rows it is the mean of the two estimates, so noise of mean 0 stays that."""
    log_weights, norms = world(rows=10)
    totals = totals_of(log_weights, norms)
    inverter = MeanInverter.fit(totals, log_weights, trials=6, spread=np.full(64, 0.2))
    both = inverter.invert(totals[:2])

    np.testing.assert_allclose(inverter.invert(totals[:2].mean(0, keepdims=True))[0], both.mean(0), atol=1e-6)
    np.testing.assert_allclose(inverter.invert(totals).mean(0), 0, atol=1e-5)


def test_a_channel_of_zero_weights_tells_nothing():
    """It has no information and estimate 0; the others are as good as ever."""
    log_weights, norms = world()
    log_weights[:, 3] = -np.inf
    norms[:, :, 3] = 0
    totals = totals_of(log_weights, norms)
    inverter = MeanInverter.fit(totals[:60], log_weights, trials=6, spread=np.full(64, 0.2))
    found = inverter.invert(totals[60:])

    assert inverter.information[3] == 0
    np.testing.assert_array_equal(found[:, 3], 0)
    assert correlation_and_slope(found, norms)[0] > 0.9


def test_the_density_is_the_normal_one():
    """To rounding."""
    z = np.linspace(-9, 9, 50)

    np.testing.assert_allclose(mean_inversion._density(z), norm.pdf(z), rtol=1e-12)


def test_noise_beyond_every_count_leaves_finite_weights():
    """Sums that noise pushed below 0 or above the number of clients are no trouble."""
    log_weights, norms = world(out=12, inputs=10, rows=6)
    totals = totals_of(log_weights, norms, 200.0)
    inverter = MeanInverter.fit(totals, log_weights, trials=6, spread=np.full(10, 0.2), noise_sd=200.0)

    assert np.isfinite(inverter.invert(totals)).all()


def test_what_does_not_fit_is_refused():
    """Shapes, votes and spreads are checked."""
    log_weights, norms = world(out=8, inputs=6, rows=3)
    totals = totals_of(log_weights, norms)
    inverter = MeanInverter.fit(totals, log_weights, trials=6, spread=np.ones(6))

    with pytest.raises(ValueError, match=r"reference=\(0, 8, 6\) must be \(at least 1, 8, 6\)"):
        MeanInverter.fit(totals[:0], log_weights, trials=6, spread=np.ones(6))
    with pytest.raises(ValueError, match="trials=0 must be at least 1"):
        MeanInverter.fit(totals, log_weights, trials=0, spread=np.ones(6))
    with pytest.raises(ValueError, match="above 0 for every input"):
        MeanInverter.fit(totals, log_weights, trials=6, spread=np.zeros(6))
    with pytest.raises(ValueError, match=r"rows=\(3, 8, 5\) must be \(rows, 8, 6\)"):
        inverter.invert(totals[:, :, :5])
