from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from attacks.domain import DomainModel, MixtureModel

CHANNELS, DOMAINS = 60, 3
PROFILES = np.random.default_rng(0).standard_normal((DOMAINS, CHANNELS)) * 0.3


def clients(seed: int, count: int, *, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw channel estimates of clients: their domain's profile and a scatter that some directions have more of."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(DOMAINS, count, p=[0.5, 0.3, 0.2])
    spread = np.random.default_rng(9).standard_normal((4, CHANNELS))
    rows = strength * PROFILES[labels] + generator.standard_normal((count, 4)) @ spread
    return rows + 0.3 * generator.standard_normal(rows.shape), labels


def totals(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows that are linear in proportions of domains, with scatter."""
    generator = np.random.default_rng(seed)
    proportions = generator.dirichlet(np.full(DOMAINS, 0.5), count)
    return proportions @ PROFILES * 20 + generator.standard_normal((count, CHANNELS)) + 100, proportions


def test_domains_are_told_where_they_differ() -> None:
    """On other worlds than it learnt from, the model finds domains; probabilities are probabilities."""
    rows, labels = clients(1, 300)
    observed, truth = clients(2, 200)
    names = np.array(["code", "law", "medicine"])
    model = DomainModel(rows, names[labels])

    probabilities = model.probabilities(observed)
    result = model.accuracy(observed, names[truth])

    assert probabilities.shape == (200, 3)
    assert np.allclose(probabilities.sum(1), 1)
    assert result.accuracy == (names[probabilities.argmax(1)] == names[truth]).mean()
    assert result.accuracy > 0.9
    assert result.interval[0] > result.prior_accuracy
    assert result.prior_accuracy == (names[truth] == "code").mean()


def test_domains_are_not_told_where_nothing_differs() -> None:
    """Without a difference the prior's accuracy is in the interval, or above it."""
    model = DomainModel(*clients(1, 300, strength=0.0))

    result = model.accuracy(*clients(2, 200, strength=0.0), level=0.999)

    assert result.interval[0] <= result.prior_accuracy


def test_the_interval_is_clopper_and_pearsons() -> None:
    """It equals the quantiles of the beta distribution that define it."""
    model = DomainModel(*clients(1, 100))
    result = model.accuracy(*clients(2, 50), level=0.9)

    hits, count = result.correct, result.rows
    assert 0 < hits < count
    assert result.interval[0] == pytest.approx(beta.ppf(0.05, hits, count - hits + 1), abs=1e-6)
    assert result.interval[1] == pytest.approx(beta.ppf(0.95, hits + 1, count - hits), abs=1e-6)
    assert result.level == 0.9


def test_proportions_are_told_from_totals() -> None:
    """Estimates lie on the simplex, and far nearer to the truth than the mean proportions."""
    model = MixtureModel(*totals(1, 200))
    rows, truth = totals(2, 100)

    found = model.proportions(rows)
    own, blind = model.errors(rows, truth)

    assert (found >= 0).all()
    assert np.allclose(found.sum(1), 1)
    assert np.allclose(own, np.abs(found - truth).sum(1) / 2)
    assert np.allclose(blind, np.abs(totals(1, 200)[1].mean(0) - truth).sum(1) / 2)
    assert own.mean() < 0.1
    assert blind.mean() > 0.3


def test_a_pure_row_is_of_its_domain() -> None:
    """A row made of one domain alone gets its corner of the simplex, and a row beyond the corner stays there."""
    model = MixtureModel(*totals(1, 200))
    rows = np.array([PROFILES[1] * 20 + 100, PROFILES[1] * 40 - PROFILES[0] * 20 + 100])

    found = model.proportions(rows)

    assert found[0] == pytest.approx([0, 1, 0], abs=0.05)
    assert found[1] == pytest.approx([0, 1, 0], abs=0.05)


def test_what_does_not_fit_is_refused() -> None:
    """Each wrong argument is named."""
    rows, labels = clients(1, 30)
    sums, proportions = totals(1, 30)
    same = np.zeros(30, int)

    with pytest.raises(ValueError, match="must be \\(worlds, channels\\)"):
        DomainModel(rows, labels[1:])
    with pytest.raises(ValueError, match="at least two domains"):
        DomainModel(rows, same)
    with pytest.raises(ValueError, match="components=0 must be at least 1"):
        DomainModel(rows, labels, components=0)
    with pytest.raises(ValueError, match="must differ"):
        DomainModel(np.ones_like(rows), labels)
    with pytest.raises(ValueError, match="must be \\(worlds, channels\\)"):
        DomainModel(rows, labels).accuracy(rows, labels[1:])
    with pytest.raises(ValueError, match="0 or more and 1 in every row"):
        MixtureModel(sums, proportions * 2)
    with pytest.raises(ValueError, match="must vary in every domain"):
        MixtureModel(sums, np.eye(3)[same])
    with pytest.raises(ValueError, match="components=0 must be at least 1"):
        MixtureModel(sums, proportions, components=0)
