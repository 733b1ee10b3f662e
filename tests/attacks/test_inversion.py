"""Prune masks give log-norms back; totals the clients' mean."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from attacks.inversion import MaskInverter


def log_weights_of(out, inputs, *, seed=0):
    """Draw log-weights."""
    return np.log(np.abs(np.random.default_rng(seed).normal(size=(out, inputs)))).astype(np.float32)


def norms_of(rows, inputs, *, spread=0.15, seed=1):
    """Draw log-norms of mean 0 a row."""
    norms = np.random.default_rng(seed).normal(0, spread, (rows, inputs))
    return norms - norms.mean(1, keepdims=True)


def masks_of(log_weights, norms, sparsity=0.5):
    """Remove the smallest scores of every row of weights."""
    scores = log_weights + norms[:, None, :]
    rank = np.argsort(np.argsort(scores, axis=2), axis=2)
    return rank < int(sparsity * scores.shape[2])


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
def test_log_norms_come_back(sparsity):
    """A matrix of 288 by 288 gives log-norms back within about 1 %, in order, and nearly every bit is reproduced."""
    weights, norms = log_weights_of(288, 288), norms_of(10, 288)
    masks = masks_of(weights, norms, sparsity)
    inverter = MaskInverter.fit(masks[:6], weights)
    found = inverter.invert(masks[6:])

    assert np.sqrt(np.mean((found - norms[6:]) ** 2)) < 0.015
    assert min(spearmanr(one, other)[0] for one, other in zip(found, norms[6:], strict=True)) > 0.99
    assert inverter.reproduced(masks[6:], found) > 0.998


def test_more_rows_of_weights_tell_more():
    """The error falls with the number of output rows."""
    norms = norms_of(6, 96)
    errors = []
    for out in (32, 128, 512):
        weights = log_weights_of(out, 96)
        masks = masks_of(weights, norms)
        errors.append(np.abs(MaskInverter.fit(masks[:4], weights).invert(masks[4:]) - norms[4:]).mean())

    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_a_constant_is_lost_and_nothing_else():
    """Norms that differ by a constant make the same mask, and so the same estimate, of mean 0."""
    weights, norms = log_weights_of(64, 48), norms_of(3, 48)
    masks, moved = masks_of(weights, norms), masks_of(weights, norms + 7.0)
    found = MaskInverter.fit(masks, weights).invert(moved)

    np.testing.assert_array_equal(masks, moved)
    np.testing.assert_allclose(found.mean(1), 0, atol=1e-6)


def test_each_mask_is_inverted_by_itself():
    """Other masks in the call change nothing."""
    weights = log_weights_of(64, 48)
    masks = masks_of(weights, norms_of(5, 48))
    inverter = MaskInverter.fit(masks, weights)

    np.testing.assert_array_equal(inverter.invert(masks)[3:4], inverter.invert(masks[3:4]))


def test_weights_of_zero_and_dead_channels_tell_nothing():
    """Zero weights are left out; a channel with nothing else has 0, and others come back as if it were not there."""
    weights, norms = log_weights_of(128, 64), norms_of(6, 64)
    weights[:, 5] = -np.inf
    weights[::7, 9] = -np.inf
    masks = masks_of(weights, norms)
    inverter = MaskInverter.fit(masks[:4], weights)
    found = inverter.invert(masks[4:])
    live = np.arange(64) != 5
    truth = norms[4:, live] - norms[4:, live].mean(1, keepdims=True)

    np.testing.assert_array_equal(found[:, 5], 0)
    assert np.sqrt(np.mean((found[:, live] - truth) ** 2)) < 0.05


def test_channels_wholly_kept_or_removed_have_finite_ends():
    """A norm beyond all public points is estimated just beyond them, on the right side."""
    weights, norms = log_weights_of(48, 40), norms_of(6, 40)
    norms[:, 0], norms[:, 1] = 20.0, -20.0
    masks = masks_of(weights, norms)
    found = MaskInverter.fit(masks[:4], weights).invert(masks[4:])

    assert np.isfinite(found).all()
    assert (found.argmax(1) == 0).all()
    assert (found.argmin(1) == 1).all()


def test_bits_reproduced_are_counted():
    """The true norms reproduce all bits; the opposite ones do not."""
    weights, norms = log_weights_of(20, 16), norms_of(3, 16)
    masks = masks_of(weights, norms)
    inverter = MaskInverter.fit(masks, weights)

    assert inverter.reproduced(masks, norms) == 1.0
    assert inverter.reproduced(masks, -20 * norms) < 0.9


def test_what_is_no_mask_is_refused():
    """Shapes and values are checked, for reference rows and for others."""
    weights = log_weights_of(8, 6)
    masks = masks_of(weights, norms_of(2, 6))
    inverter = MaskInverter.fit(masks, weights)

    with pytest.raises(ValueError, match=r"rows=\(2, 8, 5\) must be \(at least 1, 8, 6\)"):
        inverter.invert(masks[:, :, :5])
    with pytest.raises(ValueError, match=r"rows=\(0, 8, 6\) must be"):
        MaskInverter.fit(masks[:0], weights)
    with pytest.raises(ValueError, match="rows=0 to 2 must be prune masks"):
        inverter.invert(masks.astype(np.int8) * 2)
    with pytest.raises(ValueError, match="must have a finite entry"):
        MaskInverter.fit(masks, np.full((8, 6), -np.inf))
