"""A Gaussian log-likelihood ratio with more dimensions than vectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from attacks.shrinkage import ShrunkGaussian


def dense(gaussian):
    """Write the covariance out as a matrix."""
    v = gaussian.directions
    scaled = (v * gaussian.variances) @ v.T + gaussian.rest * (np.eye(len(v)) - v @ v.T)
    return gaussian.scale[:, None] * scaled * gaussian.scale


@pytest.mark.parametrize(("draws", "dimensions"), [(5, 12), (40, 12)], ids=["fewer draws", "more draws"])
def test_ratios_are_those_of_the_dense_gaussian(draws, dimensions):
    """The closed form agrees with densities of the covariance written out."""
    generator = np.random.default_rng(0)
    gaussian = ShrunkGaussian.fit(generator.normal(size=(draws, dimensions)), generator.normal(size=(9, dimensions)))
    rows, shifts = generator.normal(size=(4, dimensions)), generator.normal(size=(3, dimensions))
    absent = generator.normal(size=(3, dimensions))
    found = gaussian.log_ratio(rows, shifts, absent=absent)
    covariance = dense(gaussian)

    for number, (shift, base) in enumerate(zip(shifts, absent, strict=True)):
        without = multivariate_normal(gaussian.mean + base, covariance)
        present = multivariate_normal(gaussian.mean + base + shift, covariance)
        np.testing.assert_allclose(found[:, number], present.logpdf(rows) - without.logpdf(rows), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(gaussian.products(rows, shifts), rows @ np.linalg.inv(covariance) @ shifts.T, rtol=1e-6)
    np.testing.assert_allclose(gaussian.squares(shifts), np.diag(gaussian.products(shifts, shifts)), rtol=1e-9)


def test_with_much_data_the_covariance_is_the_true_one():
    """Variances and scales together come to the covariance that the vectors were drawn with."""
    generator = np.random.default_rng(1)
    factor = generator.normal(size=(6, 6)) * [3, 2, 1, 1, 0.5, 0.2]
    draws, reference = (generator.normal(size=(count, 6)) @ factor.T for count in (20_000, 20_000))

    found, truth = dense(ShrunkGaussian.fit(draws, reference)), factor @ factor.T
    assert np.linalg.norm(found - truth) < 0.03 * np.linalg.norm(truth)


def test_whitened_coordinates_of_reference_rows_have_unit_variance():
    """New vectors of the reference's distribution have unit variance along the directions, not above."""
    generator = np.random.default_rng(2)
    factors = generator.normal(size=(3, 200)) * 2
    draw = lambda count: generator.normal(size=(count, 3)) @ factors + generator.normal(size=(count, 200))  # noqa: E731
    gaussian = ShrunkGaussian.fit(draw(50), draw(60))
    variance = gaussian.coordinates(draw(400) - gaussian.mean).var(0)

    assert 0.6 < variance[:3].mean() < 1.6
    assert 0.8 < variance[3:].mean() < 1.25


def test_variances_fall_and_directions_are_orthonormal():
    """The spectrum is pooled until it falls, ending with the variance of the rest."""
    generator = np.random.default_rng(3)
    gaussian = ShrunkGaussian.fit(generator.normal(size=(20, 50)), generator.normal(size=(8, 50)))
    spectrum = np.append(gaussian.variances, gaussian.rest)

    assert (np.diff(spectrum) <= 1e-12).all()
    assert spectrum.min() > 0
    np.testing.assert_allclose(gaussian.directions.T @ gaussian.directions, np.eye(19), atol=1e-9)


def test_too_little_to_learn_from_is_refused():
    """Two draws and two reference rows that differ, of one width, are the least."""
    vectors = np.random.default_rng(4).normal(size=(4, 3))

    with pytest.raises(ValueError, match=r"draws=\(1, 3\) and reference=\(4, 3\) must be 2 rows or more"):
        ShrunkGaussian.fit(vectors[:1], vectors)
    with pytest.raises(ValueError, match=r"reference=\(4, 2\) must be 2 rows or more, as wide"):
        ShrunkGaussian.fit(vectors, vectors[:, :2])
    with pytest.raises(ValueError, match="must vary: all rows are alike"):
        ShrunkGaussian.fit(vectors, np.ones((4, 3)))
