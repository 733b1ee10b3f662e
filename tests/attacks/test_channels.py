"""Channels: estimates of several matrices meet, and the population says what to expect of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.channels import Alignment, LogNorms
from tests.attacks.planted import plant


def test_constants_of_matrices_fall_away_and_shared_channels_are_averaged():
    """Two matrices that share channels, each off by a constant, give what the model's vectors give."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(5, 7))
    one, other = np.array([0, 1, 2, 3]), np.array([1, 0, 3, 5])
    aligned = Alignment(7)
    aligned.add(one, np.ones(4), rows=truth[:, one] + 3.0)
    aligned.add(other, np.array([1.0, 2.0, 1.0, 2.0]), rows=truth[:, other] - 8.0)

    np.testing.assert_array_equal(aligned.seen, [0, 1, 2, 3, 5])
    np.testing.assert_allclose(aligned.averaged("rows"), aligned.applied(truth), atol=1e-5)


def test_weights_are_those_of_an_average():
    """A channel that one of two matrices knows three times as well counts three times."""
    aligned = Alignment(2)
    aligned.add(np.arange(2), np.ones(2), rows=np.array([[1.0, -1.0]]))
    aligned.add(np.arange(2), np.full(2, 3.0), rows=np.array([[5.0, -5.0]]))

    np.testing.assert_allclose(aligned.averaged("rows"), [[4.0, -4.0]])


def test_channels_of_no_weight_are_not_seen():
    """They take no part in the constant either; and without any channel there is nothing to give."""
    aligned = Alignment(4)
    aligned.add(np.array([0, 1, 2]), np.array([1.0, 0.0, 1.0]), rows=np.array([[1.0, 100.0, 3.0]]))

    np.testing.assert_array_equal(aligned.seen, [0, 2])
    np.testing.assert_allclose(aligned.averaged("rows"), [[-1.0, 1.0]])

    nothing = Alignment(4)
    nothing.add(np.array([0, 1]), np.zeros(2), rows=np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"see\(\) must be called, with a matrix that tells of a channel"):
        _ = nothing.seen


@pytest.mark.parametrize("per_client", [1, 2, 4])
def test_shifts_are_those_of_brute_force(per_client):
    """The expected log-norm of a mean over clients, with a candidate in and with another in its place."""
    setting = plant("totals", seed=1, clients=3, per_client=per_client).setting
    found = LogNorms.of(setting).shifts
    generator = np.random.default_rng(7)
    energies = setting.population[generator.integers(len(setting.population), size=(10_000, per_client))].sum(1)
    companions = setting.population[generator.integers(len(setting.population), size=(10_000, per_client - 1))].sum(1)
    truth = (np.log(setting.energies[:3, None] + companions) / 2).mean(1) - (np.log(energies) / 2).mean(0)

    np.testing.assert_allclose(found[:3], truth / 3, atol=0.03)


def test_draws_are_clients_and_always_the_same():
    """Drawn clients have the mean energy of so many contributions, and no chance is in them."""
    setting = plant("masks", seed=1, per_client=3).setting
    drawn = LogNorms.of(setting).draws

    np.testing.assert_array_equal(drawn, LogNorms.of(setting).draws)
    np.testing.assert_allclose(np.exp(2 * drawn).mean(0), 3 * setting.population.mean(0), rtol=1e-9)
    with pytest.raises(ValueError, match="population=1 contributions must be at least 2"):
        LogNorms.of(replace(setting, population=setting.population[:1]))
