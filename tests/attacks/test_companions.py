"""Companions: log-norms with a candidate and without, and what absence means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.companions import Companions, absent_is_empty, floored
from attacks.evidence import NOTHING
from tests.attacks.planted import CHANNELS, NUM_CHANNELS, plant


def setting_of(**more):
    """Plant the setting of a small game."""
    return plant("masks", seed=1, observed=1, labelled=1, reference=1, **more).setting


def log_norms(energies):
    """Half logarithms less their mean over channels."""
    logs = np.log(energies) / 2
    return logs - logs.mean(-1, keepdims=True)


def test_a_candidate_alone_has_its_own_log_norms():
    """With one slot a client there is no companion: the mean is the candidate's, the spread the least one."""
    setting = setting_of(per_client=1)
    norms = Companions(setting, draws=8, least_sd=0.05).norms(CHANNELS[2])

    np.testing.assert_allclose(norms.present.mean, log_norms(setting.energies[:, CHANNELS[2]]), atol=1e-5)
    np.testing.assert_allclose(norms.present.sd, 0.05, rtol=1e-4)
    assert norms.short is None


def test_clients_of_population_have_the_spread_of_their_sums():
    """A usual client's mean and spread are those of sums over its slots' contributions; short: one less."""
    setting = setting_of(per_client=3)
    norms = Companions(setting, draws=4000, least_sd=1e-6).norms(CHANNELS[0])
    picks = np.random.default_rng(9).integers(len(setting.population), size=(4000, 3))
    for found, slots in ((norms.usual, 3), (norms.short, 2)):
        drawn = log_norms(setting.population[picks[:, :slots]].sum(1)[:, CHANNELS[0]])

        np.testing.assert_allclose(found.mean[0], drawn.mean(0), atol=0.03)
        np.testing.assert_allclose(found.sd[0], drawn.std(0), rtol=0.1)


def test_present_candidates_have_one_companion_less():
    """With the candidate in, a client adds up the candidate and the rest of its slots."""
    setting = setting_of(per_client=2)
    norms = Companions(setting, draws=4000, least_sd=1e-6).norms(CHANNELS[0])
    others = setting.population[np.random.default_rng(9).integers(len(setting.population), size=4000)]
    for candidate, energies in enumerate(setting.energies[:3]):
        drawn = log_norms((energies + others)[:, CHANNELS[0]])

        np.testing.assert_allclose(norms.present.mean[candidate], drawn.mean(0), atol=0.03)
        np.testing.assert_allclose(norms.present.sd[candidate], drawn.std(0), rtol=0.15)


def test_matrices_that_share_channels_share_an_answer():
    """The last answer is given again for the same channels, and only for those."""
    companions = Companions(setting_of(), draws=8, least_sd=0.05)
    first = companions.norms(CHANNELS[0])

    assert companions.norms(CHANNELS[1]) is first
    assert companions.norms(CHANNELS[2]).usual.mean.shape == (1, len(CHANNELS[2]))


@pytest.mark.parametrize(
    ("slots", "clients", "expected"), [(2, 1, 2), (6, 3, 2), (3, 4, 1), (7, 2, 4)], ids=["one", "even", "few", "odd"]
)
def test_slots_are_shared_among_clients(slots, clients, expected):
    """A client has its share of a row's slots, rounded, and one at least."""
    setting = replace(setting_of(), kind="totals", slots=slots, clients=clients)

    assert Companions.slots_of_a_client(setting) == expected


def test_absence_is_an_empty_slot_where_the_second_is_nothing():
    """By target; candidates in no target go with the game."""
    paired = setting_of(targets=2, strangers=1)
    emptied = setting_of(targets=2, strangers=1, paired=False)
    mixed = replace(paired, targets=np.array([[0, NOTHING], [2, 3]]))

    assert absent_is_empty(paired).tolist() == [False] * 5
    assert absent_is_empty(emptied).tolist() == [True] * 3
    assert absent_is_empty(mixed).tolist() == [True, False, False, False, False]


def test_dead_channels_have_a_floor():
    """An energy of 0 counts as a small share of the channel's mean; where all are 0, as a small constant."""
    setting = setting_of()
    setting.population[0, 3] = 0
    setting.population[:, 5] = 0
    setting.energies[:, 5] = 0
    candidates, population = floored(setting)

    assert population[0, 3] == pytest.approx(1e-6 * setting.population[:, 3].mean())
    assert (candidates[:, 5] == population[0, 5]).all()
    assert (candidates > 0).all()
    np.testing.assert_array_equal(np.delete(candidates, 5, 1), np.delete(setting.energies, 5, 1))


def test_no_population_has_a_floor_all_the_same():
    """Energies alone can be floored."""
    setting = replace(setting_of(), population=np.empty((0, NUM_CHANNELS)))

    assert (floored(setting)[0] > 0).all()


@pytest.mark.parametrize(
    ("change", "draws", "least_sd"),
    [({}, 1, 0.1), ({}, 8, 0.0), ({"population": np.empty((0, NUM_CHANNELS))}, 8, 0.1)],
    ids=["draws", "spread", "population"],
)
def test_numbers_that_give_no_spread_are_refused(change, draws, least_sd):
    """One draw, no least spread or no population gives no standard deviation."""
    with pytest.raises(
        ValueError, match=r"draws=.* must be at least 2, least_sd=.* above 0 and population=.* at least"
    ):
        Companions(replace(setting_of(), **change), draws=draws, least_sd=least_sd)
