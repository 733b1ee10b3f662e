"""A game's jobs: each thing that is seen is attacked once, with the truth and the coins that belong to its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from attacks.evidence import NOT_IN_PLAY
from experiments.audit.game import Game
from experiments.audit.matrix import Configuration, What, cells_of
from experiments.audit.plan import AuditPlan, Contributions
from experiments.audit.run import KINDS
from experiments.audit.statistics import WindowStatistics
from experiments.audit.texts import AuditTexts
from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.session_noise import SessionNoise
from tests.experiments.audit.tiny_audit import target


@dataclass(frozen=True)
class Noisy:
    """Sessions of which only the noise is looked at: a client's share of variance 4, or none."""

    variance: float = 0.0
    noises: list[SessionNoise] = field(default_factory=list)

    def noise_sd(self, what: What, *, clients: int) -> float:
        """Give that of clients' shares."""
        return float(self.variance * clients) ** 0.5


def game_of(
    statistics: WindowStatistics,
    *,
    adjacency: str = "window-replace",
    runs: int = 40,
    seed: int = 0,
    canaries: int = 3,
) -> Game:
    """Play with three clients of one slot, and one of them in league with the server."""
    zero_out = adjacency.endswith("zero-out")
    plan = AuditPlan(
        adjacency=adjacency, knowledge="same-source", clients=3, windows_per_client=1, targets=6 if zero_out else 3,
        canaries=canaries, runs=runs, labelled_runs=9, reference_runs=8, population=4, strangers=2, seed=seed,
    )  # fmt: skip
    candidates = np.arange(6)
    texts = AuditTexts(
        ids=statistics.federation.windows.ids,
        candidates=candidates,
        same_source=candidates[::-1],
        near_duplicates=candidates,
        strangers=np.array([6, 7]),
        population=np.arange(8, 12),
        companions=np.arange(12, 14),
    )
    return Game(statistics, Contributions.of(plan, texts), plan, colluders=1)


def test_rows_have_the_truth_that_they_can_tell(statistics: WindowStatistics) -> None:
    """Masks a client a row; totals less colluders say nothing of colluders' coins."""
    game = game_of(statistics)
    configurations = [Configuration("plain"), Configuration("additive")]
    cells = [cell for each in configurations for cell in cells_of(each, colluders=1)]
    jobs = game.jobs(cells, {each.name: Noisy() for each in configurations}, KINDS)

    assert list(jobs) == ["masks", "prune mask", "totals", "totals less colluders"]
    assert jobs["prune mask"].configuration == "plain"
    assert {name: job.kind for name, job in jobs.items()} == {
        "masks": "masks",
        "prune mask": "choice",
        "totals": "totals",
        "totals less colluders": "totals",
    }
    worlds = game.worlds
    masks, totals, less = jobs["masks"].truth, jobs["totals"].truth, jobs["totals less colluders"].truth
    assert np.array_equal(masks.coins, worlds.client_rows()[0])
    assert np.array_equal(masks.runs, np.repeat(np.arange(40), 3))
    assert np.array_equal(totals.coins, worlds.coins)
    assert np.array_equal(totals.in_play, worlds.coins != NOT_IN_PLAY)
    of_colluder = worlds.clients_of == 2
    assert (less.coins[of_colluder] == NOT_IN_PLAY).all()
    assert np.array_equal(less.coins[~of_colluder], worlds.coins[~of_colluder])
    assert not less.in_play[of_colluder].any()


def test_masks_under_noise_are_totals_of_one_client(statistics: WindowStatistics) -> None:
    """Attacks on masks read bits; what is noisy goes to those that know of noise."""
    game = game_of(statistics)
    configuration = Configuration("ckks", target("distributed"))
    jobs = game.jobs(cells_of(configuration, colluders=1), {configuration.name: Noisy(4.0)}, KINDS)
    masks = next(job for job in jobs.values() if job.what == "masks")

    assert (masks.kind, masks.clients, masks.noise_sd) == ("totals", 1, 2.0)


def test_the_attacker_knows_what_it_is_said_to_know(statistics: WindowStatistics) -> None:
    """Energies of the text it holds, coins of its own worlds that its rows tell, which coins are in play."""
    game = game_of(statistics)
    configuration = Configuration("additive")
    jobs = game.jobs(cells_of(configuration, colluders=1), {"additive": Noisy()}, KINDS)
    setting, less = game.setting(jobs["totals"]), game.setting(jobs["totals less colluders"])
    assert setting.energies is less.energies  # what attacks make of them is kept for others
    assert setting.population is less.population
    assert not setting.energies.flags.writeable
    assert not setting.population.flags.writeable

    assert np.array_equal(setting.energies[:6], statistics.energies[:6][::-1])
    assert np.array_equal(setting.energies[6:], statistics.energies[6:8])
    assert np.array_equal(setting.population, statistics.energies[8:12])
    assert np.array_equal(setting.coins, game.labelled.coins)
    assert (setting.clients, setting.slots, setting.observed) == (3, 3, 40)
    assert (less.clients, less.slots) == (2, 2)
    of_colluder = game.labelled.clients_of == 2
    assert (less.coins[of_colluder] == NOT_IN_PLAY).all()
    assert np.array_equal(less.coins[~of_colluder], game.labelled.coins[~of_colluder])


def test_the_seed_reaches_the_attackers_worlds_alone(statistics: WindowStatistics) -> None:
    """Victims' worlds differ between two games of one seed; the attacker's do not, but between two seeds."""
    one, same, other = (game_of(statistics, seed=seed) for seed in (3, 3, 4))

    assert np.array_equal(one.labelled.coins, same.labelled.coins)
    assert np.array_equal(one.reference.contributions, same.reference.contributions)
    assert not np.array_equal(one.labelled.coins, other.labelled.coins)
    assert not np.array_equal(one.worlds.coins, same.worlds.coins)


def test_other_slots_of_victims_hold_what_the_attacker_has_never_seen(statistics: WindowStatistics) -> None:
    """Companions and nothing of the population, which fills other slots of the attacker's own worlds."""
    game = game_of(statistics, canaries=1)

    for worlds, others in ((game.worlds, range(12, 14)), (game.labelled, range(8, 12))):
        flat = worlds.contributions.reshape(len(worlds), -1)
        is_other = ~np.isin(flat, game.contributions.targets)
        assert (is_other.sum(1) == 2).all()
        assert set(flat[is_other]) == set(others)


def test_the_attackers_worlds_are_empty_where_victims_may_be(statistics: WindowStatistics) -> None:
    """Under zero-out, its reference worlds too."""
    assert (game_of(statistics, adjacency="window-zero-out").reference.contributions < 0).any()
    assert (game_of(statistics).reference.contributions >= 0).all()


@pytest.mark.parametrize("falls", [lambda coins: 1, lambda coins: np.where(np.arange(len(coins))[:, None] % 2, 0, 1)])
def test_coins_that_fall_alike_in_half_of_the_runs_are_refused(
    falls: Callable[[np.ndarray], np.ndarray], statistics: WindowStatistics
) -> None:
    """No rate can be given of them; it is said before any session is held."""
    game = game_of(statistics, runs=4)
    configuration = Configuration("additive")
    in_play = game.worlds.coins != NOT_IN_PLAY
    game.worlds.coins[:] = np.where(in_play, falls(game.worlds.coins), NOT_IN_PLAY)

    with pytest.raises(InputError, match=r"--runs 4: all coins that totals tell of fell alike in half of the runs"):
        game.jobs(cells_of(configuration, colluders=1), {"additive": Noisy()}, KINDS)
