"""Residuals in a public basis: against a dense oracle, bounded on integers, public where they say so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.errors import InputError
from fedprllm_secure.residuals.clipping import grid_bound, public_clip, to_grid
from fedprllm_secure.residuals.log_energies import residuals
from fedprllm_secure.residuals.public_basis import Rows, public_basis
from fedprllm_secure.residuals.shrinkage import shrunk
from fedprllm_secure.residuals.synthetic_windows import synthetic_windows

ROWS = Rows(clients=slice(0, 6), held_out=slice(6, 10), prior=slice(10, 22), synthetic=slice(22, 30))
CHANNELS = {"q": 7, "down": 11}


def survey(seed: int = 0, blocks: int = 2) -> list[InputEnergy]:
    """Energies of 30 windows of 5 tokens in two blocks of two inputs."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(blocks):
        sums = InputEnergy(30)
        for source, channels in CHANNELS.items():
            levels = torch.rand(channels, generator=generator, dtype=torch.float64) * 4
            noise = torch.randn(30, channels, generator=generator, dtype=torch.float64)
            sums.energies[source] = (levels + 0.4 * noise).exp()
            sums.tokens[source] = torch.full((30,), 5)
        found.append(sums)
    return found


def dense(blocks: list[InputEnergy]) -> np.ndarray:
    """All residuals, (windows, channels of all inputs), by the definition."""
    parts = []
    for sums in blocks:
        for energy in sums.energies.values():
            logs = np.log(energy.numpy() / 5)
            rows = logs - logs[10:22].mean(0)
            parts.append(rows - rows.mean(1, keepdims=True))
    return np.concatenate(parts, axis=1)


def test_residuals_are_the_definition() -> None:
    """Logs of mean energies less the public mean of logs, centred within an input; the prior is the log of the mean."""
    (sums,) = survey(blocks=1)
    found = residuals(sums, ROWS.prior)

    np.testing.assert_allclose(torch.cat([each.rows for each in found], 1).numpy(), dense([sums]), atol=1e-7)
    for each, energy in zip(found, sums.energies.values(), strict=True):
        expected = (energy[10:22].mean(0) / 5).log()
        torch.testing.assert_close(each.prior, expected, atol=1e-7, rtol=0)


def test_an_input_that_no_token_reached_has_no_residual() -> None:
    """The prior itself: neither silence nor noise of an expert that a window never used."""
    (sums,) = survey(blocks=1)
    for row in (3, 12):  # a client's and a public window
        sums.energies["q"][row], sums.tokens["q"][row] = 0, 0
    found = {each.source: each for each in residuals(sums, ROWS.prior)}
    seen = [row for row in range(10, 22) if row != 12]

    assert not found["q"].rows[[3, 12]].any()
    torch.testing.assert_close(found["q"].prior, (sums.energies["q"][seen].mean(0) / 5).log(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("rank", [1, 5, 16])
def test_coordinates_and_shifts_are_those_of_a_principal_component_analysis(rank: int) -> None:
    """Made from inner products alone, block by block, they agree with a dense singular value decomposition."""
    blocks = survey()
    basis = public_basis(lambda: iter(blocks), ROWS, rank=rank)
    matrix = dense(blocks)
    _, singular, directions = np.linalg.svd(matrix[10:30], full_matrices=False)
    directions, variances = directions[:rank].T, singular[:rank] ** 2  # (channels, rank)
    stretch = (variances[0] / variances) ** 0.25
    projected = matrix @ directions * stretch
    signs = np.sign((projected * basis.coordinates.numpy()).sum(0))

    np.testing.assert_allclose(basis.stretch.numpy(), stretch, rtol=1e-6)
    np.testing.assert_allclose(basis.spread.numpy(), variances * stretch**2 / (variances * stretch**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(basis.coordinates.numpy() * signs, projected, atol=1e-6)
    point = torch.from_numpy(np.random.default_rng(0).normal(size=rank))
    shifts = [basis.shift(each, ROWS, point) for sums in blocks for each in residuals(sums, ROWS.prior)]
    np.testing.assert_allclose(torch.cat(shifts).numpy(), directions @ (point.numpy() * signs / stretch), atol=1e-6)


def test_directions_that_are_rounding_carry_nothing() -> None:
    """With more rank than public windows span, the rest is zero and shifts nothing."""
    blocks = survey(blocks=1)
    basis = public_basis(lambda: iter(blocks), ROWS, rank=20)
    real = len(np.flatnonzero(np.linalg.svd(dense(blocks)[10:30], compute_uv=False) > 1e-6))

    assert real == 7 + 11 - 2  # a constant a input is taken out
    assert not basis.coordinates[:, real:].any()
    point = torch.zeros(20, dtype=torch.float64)
    point[real:] = 1e6
    assert not torch.cat([basis.shift(each, ROWS, point) for each in residuals(blocks[0], ROWS.prior)]).any()


def test_private_windows_change_neither_basis_nor_clip() -> None:
    """What clients' windows hold moves their own coordinates and nothing else."""
    first, second = survey(), survey()
    for sums in second:
        for energy in sums.energies.values():
            energy[ROWS.clients] = energy[ROWS.clients].flip(0) * 9
    one, other = (public_basis(lambda b=blocks: iter(b), ROWS, rank=9) for blocks in (first, second))

    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.stretch, other.stretch)
    assert torch.equal(one.coordinates[6:], other.coordinates[6:])
    assert not torch.equal(one.coordinates[:6], other.coordinates[:6])


def test_a_window_moves_its_own_coordinates_alone() -> None:
    """Neighbouring data sets differ in one row of what is summed: what the sensitivity rests on."""
    first, second = survey(), survey()
    for sums in second:
        for energy in sums.energies.values():
            energy[4] = energy[5] * 2
    one, other = (public_basis(lambda b=blocks: iter(b), ROWS, rank=9) for blocks in (first, second))
    rows = [row for row in range(30) if row != 4]

    assert torch.equal(one.coordinates[rows], other.coordinates[rows])
    clipped = [to_grid(each.coordinates[:6], clip=1.0, bound=64) for each in (one, other)]
    difference = clipped[0].sum(0) - clipped[1].sum(0)
    assert torch.equal(difference, clipped[0][4] - clipped[1][4])
    assert 0 < int(difference @ difference) <= 4 * 64**2


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=5, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.floats(1e-3, 1e3),
    st.integers(1, 2**12),
)
def test_no_contribution_is_above_its_bound(values: list[list[float]], clip: float, bound: int) -> None:
    """In integers; rounded toward zero, and below the clip not shrunk by more than that."""
    coordinates = torch.tensor(values, dtype=torch.float64)
    whole = to_grid(coordinates, clip=clip, bound=bound)

    assert whole.dtype == torch.int64
    assert bool(((whole * whole).sum(1) <= bound**2).all())
    for row, exact in zip(whole, coordinates, strict=True):
        if float(exact.norm()) < 0.99 * clip:
            error = exact * bound / clip - row
            assert bool((error.abs() < 1 + 1e-6).all())
            assert bool((row.abs() <= (exact * bound / clip).abs() + 1e-6).all())


def test_contributions_at_the_very_bound() -> None:
    """Flat, single and rounded-up vectors, where a float norm is not to be trusted."""
    for size in (1, 2, 3, 1000):
        flat = torch.full((1, size), 1e3, dtype=torch.float64)
        whole = to_grid(flat, clip=1.0, bound=1024)
        assert 0.96 * 1024**2 < int((whole * whole).sum()) <= 1024**2


def test_statistics_that_are_not_finite_are_refused() -> None:
    """Nothing undefined is summed."""
    with pytest.raises(InputError, match="a client's statistics are not finite"):
        to_grid(torch.tensor([[1.0, math.nan]], dtype=torch.float64), clip=1.0, bound=8)


def test_the_grid_is_fine_against_rounding() -> None:
    """A power of two, 32 units or more for each root of the dimension."""
    assert [grid_bound(dimension) for dimension in (1, 4, 1000, 1024)] == [32, 64, 1024, 1024]


def test_the_clip_is_the_median_of_held_out_text() -> None:
    """Of windows, or of means over as many windows as a client has."""
    held_out = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [0.0, 2.0]], dtype=torch.float64)

    assert public_clip(held_out[:3], group=1) == 5.0
    assert public_clip(held_out, group=2) == pytest.approx(float(torch.tensor([1.5, 2.5]).norm()))
    with pytest.raises(InputError, match="4 public windows are held out to set the clip, 5 are needed"):
        public_clip(held_out, group=5)
    with pytest.raises(InputError, match="have no residual at all"):
        public_clip(torch.zeros(3, 2, dtype=torch.float64), group=1)


@pytest.mark.parametrize("noise_ratio", [0.0, 0.01, 0.1, 0.5, 3.0])
def test_directions_are_shared_as_far_as_they_are_worth_it(noise_ratio: float) -> None:
    """Those with which a linear estimate keeps most of public variance, by trying all; fewer under more noise."""
    basis = public_basis(lambda: iter(survey()), ROWS, rank=20)
    variances = basis.variances.numpy()[:16]

    def kept(count: int) -> float:
        parts = np.sqrt(variances[:count]) / np.sqrt(variances[:count]).sum()
        return float((variances[:count] * parts / (parts + noise_ratio**2)).sum())

    chosen = basis.worth_sharing(noise_ratio)
    assert kept(chosen) == pytest.approx(max(map(kept, range(1, 17))))
    assert chosen <= basis.worth_sharing(noise_ratio / 2)
    cut = basis.truncated(chosen)
    assert not cut.coordinates[:, chosen:].any()
    assert torch.equal(cut.coordinates[:, :chosen], basis.coordinates[:, :chosen])
    assert float(cut.spread.sum()) == pytest.approx(1)


def test_synthetic_windows_are_public_and_always_the_same() -> None:
    """From public windows alone; half are drawn, half keep about half of a public window's tokens in place."""
    public = torch.randint(0, 50, (20, 64), generator=torch.Generator().manual_seed(1))
    made = synthetic_windows(public, vocabulary_size=97, count=9)
    kept = [max(float((row == window).double().mean()) for window in public) for row in made]

    assert made.shape == (9, 64)
    assert made.dtype == torch.int64
    assert torch.equal(made, synthetic_windows(public, vocabulary_size=97, count=9))
    assert int(made.min()) >= 0
    assert int(made.max()) < 97
    assert int((made >= 50).sum()) > 0  # tokens that the public text lacks do occur
    assert max(kept[:5]) < 0.3 < min(kept[5:])
    assert max(kept[5:]) < 0.8


def test_shrinkage_is_the_definition_band_by_band() -> None:
    """By a loop over bands; nothing without noise, everything where nothing is shown or nothing can be expected."""
    mean = torch.from_numpy(np.random.default_rng(0).normal(size=400) * np.linspace(9, 0.1, 400))
    prior = torch.linspace(0.5, 100, 400, dtype=torch.float64)
    expected = mean.clone()
    factors = []
    for first, last in ((0, 4), (4, 16), (16, 48), (48, 128), (128, 320), (320, 400)):
        band, size = mean[first:last], last - first
        shown = max(0.0, 1 - (size - 2) * 4.0 / float((band**2).sum()))
        believed = float(prior[first:last].sum()) / (float(prior[first:last].sum()) + size * 4.0)
        factors.append((shown, believed))
        expected[first:last] *= min(shown, believed)
    none = torch.zeros(400, dtype=torch.float64)

    assert {shown < believed for shown, believed in factors} == {True, False}
    torch.testing.assert_close(shrunk(mean, deviation=2.0, expected=prior), expected)
    assert torch.equal(shrunk(mean, deviation=0.0, expected=prior), mean)
    assert float(shrunk(mean, deviation=1e6, expected=prior).norm()) < 1e-6 * float(mean.norm())
    assert not shrunk(mean, deviation=2.0, expected=none).any()
    assert not shrunk(none, deviation=0.0, expected=prior).any()


def test_rows_must_lie_side_by_side() -> None:
    """Prior and synthetic windows make one basis."""
    with pytest.raises(ValueError, match=r"synthetic=slice.* must follow prior"):
        Rows(clients=slice(0, 1), held_out=slice(1, 2), prior=slice(2, 3), synthetic=slice(4, 5))


def test_public_text_without_variety_is_refused() -> None:
    """No direction can be made of windows that are all alike."""
    blocks = survey(blocks=1)
    for energy in blocks[0].energies.values():
        energy[6:] = 1.0
    with pytest.raises(InputError, match="public windows all have the same statistics"):
        public_basis(lambda: iter(blocks), ROWS, rank=3)
