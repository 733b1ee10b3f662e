"""Pieces of matrices, rates, and sums of scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.pieces import Tally, flat, pieces, rate, require_kind, votes_a_bit
from tests.attacks.planted import plant


@pytest.mark.parametrize("memory_bytes", [1, 50_000, 10**9])
def test_pieces_are_the_matrix(memory_bytes):
    """Pieces put together are the matrix, whatever memory there is; with little, a piece is a row of weights."""
    game = plant("masks", seed=1, observed=2, labelled=2, reference=3)
    sight = game.sights[0]
    cut = list(pieces(sight, memory_bytes))

    for field in ("rows", "reference", "alone"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, field) for p in cut], 1), getattr(sight, field))
    np.testing.assert_array_equal(np.concatenate([p.log_weights for p in cut]), sight.log_weights)
    assert len(cut) == {1: len(sight.log_weights), 10**9: 1}.get(memory_bytes, len(cut))


def test_pieces_fit_the_memory():
    """Rows and four arrays per candidate, in single precision, take no more than the memory."""
    game = plant("masks", seed=1, observed=50, labelled=50)
    cut = list(pieces(game.sights[0], 200_000))

    assert 1 < len(cut) < len(game.sights[0].log_weights)
    assert all(4 * (p.rows.size + 4 * p.alone.size) <= 200_000 for p in cut)


def test_pieces_are_views():
    """Cutting copies nothing."""
    sight = plant("masks", seed=1, observed=2, labelled=2, reference=3).sights[0]

    assert all(np.shares_memory(p.rows, sight.rows) for p in pieces(sight, 1))


def test_flat_rows_are_single_precision():
    """A matrix a row becomes a vector a row, in float32."""
    array = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    found = flat(array)

    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [list(range(6)), list(range(6, 12))])


@given(total=st.floats(-1e6, 1e6), trials=st.integers(0, 10**6))
def test_rates_are_jeffreys_and_stay_inside(total, trials):
    """A rate is (total + 1/2) / (trials + 1), never 0 or 1, however noisy the total."""
    found = float(rate(np.array([total]), trials)[0])

    assert 0 < found < 1
    assert found == pytest.approx((min(max(total, 0), trials) + 0.5) / (trials + 1), rel=1e-6)


def test_a_tally_adds_up_and_gives_a_copy():
    """Scores add up; what is given out is no handle on the sum."""
    setting = plant("masks", seed=1, observed=2, labelled=3, reference=2).setting
    tally = Tally(setting)
    tally.add(np.ones((5, 1)))
    tally.add(np.arange(len(setting.energies)))
    tally.total()[:] = 99

    np.testing.assert_array_equal(tally.total(), np.tile(1.0 + np.arange(len(setting.energies)), (5, 1)))


def test_an_empty_tally_is_refused():
    """No score has been added."""
    setting = plant("masks", seed=1, observed=2, labelled=3, reference=2).setting

    with pytest.raises(ValueError, match=r"see\(\) must be called before scores\(\)"):
        Tally(setting).total()


def test_votes_of_a_bit():
    """A total goes up to the number of clients; a mask's bit, a client's or chosen, to 1."""
    votes = {
        kind: votes_a_bit(plant(kind, seed=1, observed=1, labelled=1, reference=1, clients=5).setting)
        for kind in ("masks", "totals", "choice")
    }

    assert votes == {"masks": 1, "totals": 5, "choice": 1}


def test_other_kinds_are_refused():
    """The message names what could be read, and by whom."""
    setting = plant("masks", seed=1, observed=1, labelled=1, reference=1).setting

    with pytest.raises(ValueError, match="kind='masks' must be one of choice, totals for the attack 'some'"):
        require_kind("some", frozenset({"totals", "choice"}), setting)
