"""Continuous references: the exact value, and Opacus's two accountants in order above it."""

from __future__ import annotations

import ast
import warnings
from fractions import Fraction
from pathlib import Path

import pytest

from fedprllm_secure import privacy
from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import (
    Release,
    epsilon_of,
    gaussian_reference,
    opacus_prv_reference,
    opacus_rdp_reference,
)
from fedprllm_secure.privacy.references import _known_warnings
from tests.fedprllm_secure.privacy.releases import chosen, exact, noisy
from tests.fedprllm_secure.privacy.test_gaussian import TABLE

# The same rows: the best real order's epsilon (none for the last), and what Opacus's PRV accountant gave elsewhere.
ZCDP = [4.728387, 8.6032309, 2.1657155, 0.79431477, 0.42994147, 0.030820935, 4.728387, 1.3434973, 1.2319257, 1.3870529]
ZCDP += [7.2920886, None]
PRV = [4.387414, 8.014075, 2.003218, 0.735587, 0.406893, 0.037337, 4.387413, 1.242137, 1.139083, 1.298670]
PRV += [6.897468, 2.180319]
ROWS = [(*row, zcdp, prv) for row, zcdp, prv in zip(TABLE, ZCDP, PRV, strict=True)]


def releases_of(multipliers: list[tuple[float, int]]) -> list[Release]:
    """Make releases of noise with given noise multipliers, on vectors of different norms."""
    return [
        noisy(l1=number, l2_squared=number**2, variance=Fraction(str(multiplier)) ** 2 * number**2)
        for multiplier, count in multipliers
        for number in [1 + count]
        for _ in range(count)
    ]


@pytest.mark.parametrize(("multipliers", "delta", "expected", "zcdp", "prv"), ROWS)
def test_references_agree(
    multipliers: list[tuple[float, int]], delta: float, expected: float, zcdp: float | None, prv: float
) -> None:
    """Exact to 1e-6, Opacus within its own errors, and exact <= PRV <= RDP at a small error of PRV."""
    releases = releases_of(multipliers)
    by_rdp = opacus_rdp_reference(releases, delta)

    assert gaussian_reference(releases, delta) == pytest.approx(expected, abs=1e-6)
    assert opacus_prv_reference(releases, delta) == pytest.approx(prv, abs=2e-4)
    assert zcdp is None or zcdp * (1 - 1e-6) <= by_rdp <= zcdp * 1.001
    assert expected <= opacus_prv_reference(releases, delta, error=0.002) <= by_rdp


def test_the_heterogeneous_row_matches_opacus_elsewhere() -> None:
    """Its value at Opacus's own orders is 2.356680; more orders can only lower it."""
    assert 2.356 < opacus_rdp_reference(releases_of(TABLE[-1][0]), 1e-5) <= 2.356681


@pytest.mark.parametrize("multiplier", [0.05, 0.3, 1000.0, 100_000.0])
def test_extremes_are_no_errors(multiplier: float) -> None:
    """Neither almost no noise nor very much makes Opacus warn or fail here; warnings are errors in this suite."""
    releases = releases_of([(multiplier, 1)])

    assert opacus_rdp_reference(releases, 1e-5) >= gaussian_reference(releases, 1e-5)
    assert opacus_prv_reference(releases, 1e-5) == pytest.approx(gaussian_reference(releases, 1e-5), abs=0.02)


def test_small_epsilons_are_not_capped() -> None:
    """Opacus's own orders cannot go below 0.1 at delta 1e-5."""
    assert opacus_rdp_reference(releases_of([(1000.0, 1)]), 1e-5) < 0.004


def test_nothing_released_costs_nothing() -> None:
    """All three say 0."""
    assert [reference([], 1e-5) for reference in (gaussian_reference, opacus_rdp_reference, opacus_prv_reference)] == [
        0.0,
        0.0,
        0.0,
    ]


@pytest.mark.parametrize("release", [exact(), chosen(picks=1, epsilon_each=Fraction(1))], ids=["exact", "top-k"])
@pytest.mark.parametrize("reference", [gaussian_reference, opacus_rdp_reference, opacus_prv_reference])
def test_only_noise_has_a_reference(reference, release: Release) -> None:
    """Choices and exact releases have no noise multiplier."""
    with pytest.raises(ValueError, match=rf"mechanism={release.mechanism} has no continuous reference"):
        reference([release], 1e-5)


def test_delta_out_of_range_is_refused() -> None:
    """Delta lies strictly between 0 and 1."""
    for reference in (gaussian_reference, opacus_rdp_reference, opacus_prv_reference):
        with pytest.raises(InputError, match=r"delta=0\.0 must be above 0 and below 1"):
            reference([noisy()], 0.0)


def test_only_the_two_known_warnings_are_silenced() -> None:
    """Another one still counts."""
    with _known_warnings():
        warnings.warn("divide by zero encountered in log", RuntimeWarning, stacklevel=1)
        warnings.warn("Optimal order is the largest alpha.", UserWarning, stacklevel=1)
        with pytest.raises(RuntimeWarning, match="overflow"):
            warnings.warn("overflow encountered in exp", RuntimeWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", UserWarning, stacklevel=1)


def test_opacus_is_imported_when_it_is_asked() -> None:
    """Accounting and sizing do without it, and without the optimizers that it brings along."""
    at_import = [
        node.module if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        for file in Path(privacy.__path__[0]).glob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert len(at_import) > 30
    assert "opacus" not in str(at_import)


def test_an_independent_accountant_agrees() -> None:
    """Google's dp-accounting, where it is installed: Gaussian exactly, discrete Gaussian from below."""
    dp_accounting = pytest.importorskip("dp_accounting")
    from dp_accounting.pld import privacy_loss_distribution

    for multiplier in (0.6, 2.0, 100.0):
        expected = dp_accounting.get_epsilon_gaussian(multiplier, 1e-5)
        assert gaussian_reference(releases_of([(multiplier, 1)]), 1e-5) == pytest.approx(expected, rel=1e-6)
    for sigma in (1, 2, 4):
        losses = privacy_loss_distribution.from_discrete_gaussian_mechanism(
            float(sigma), sensitivity=1, value_discretization_interval=1e-3
        )
        exact_epsilon = losses.get_epsilon_for_delta(1e-5)
        claim = epsilon_of([noisy("discrete-gaussian", variance=Fraction(sigma**2))], 1e-5)
        assert exact_epsilon - 2e-3 <= claim <= exact_epsilon * (1.05 if sigma == 1 else 1.003)
