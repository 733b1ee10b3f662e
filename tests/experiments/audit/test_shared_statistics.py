"""Audits of shared statistics: rows add up, empty clients share zeros, and noise is as stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.evidence import NOT_IN_PLAY
from experiments.audit import jobs, shared_statistics
from experiments.audit.game import Game
from experiments.audit.jobs import Job
from experiments.audit.matrix import Configuration, cells_of
from experiments.audit.plan import AuditPlan, Contributions
from experiments.audit.shared_statistics import (
    KINDS,
    StatisticsSessions,
    _seen,
    _setting,
    _sight,
    _units,
    audit_statistics,
)
from experiments.audit.statistics import WindowStatistics
from experiments.audit.texts import AuditTexts
from experiments.audit.worlds_rows import windows_of
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.privacy.target import PrivacyTarget
from tests.experiments.audit.tiny_audit import CLIENTS, draw_ids, method, survey, target, thresholds


def game_of(statistics: WindowStatistics, adjacency: str, *, runs: int = 24, per_client: int = 1) -> Game:
    """Play with windows 0 to 5 as candidates, 6 and 7 as strangers, and the others as population."""
    is_zero_out, group = adjacency.endswith("zero-out"), per_client if adjacency.startswith("client") else 1
    plan = AuditPlan(
        adjacency=adjacency,
        knowledge="exact",
        clients=CLIENTS,
        windows_per_client=per_client,
        targets=6 if is_zero_out else 3,
        canaries=3,
        runs=runs,
        labelled_runs=12,
        reference_runs=8,
        population=6,
        strangers=2,
        seed=0,
    )
    candidates = np.arange(6)
    texts = AuditTexts(
        ids=statistics.federation.windows.ids,
        candidates=candidates,
        same_source=candidates,
        near_duplicates=candidates,
        strangers=np.array([6, 7]),
        population=np.arange(8, 14),
        companions=np.zeros(0, np.int64),
    )
    assert group == 1
    return Game(statistics, Contributions.of(plan, texts), plan, colluders=1)


def sessions_of(game: Game, folder: Path, protocol: str, privacy: PrivacyTarget | None = None) -> StatisticsSessions:
    """Prepare sessions."""
    how = method("statistics", protocol, privacy)
    return StatisticsSessions(game, how, thresholds=thresholds(protocol), folder=folder)


def sums(game: Game, sessions: StatisticsSessions, clients: slice = slice(None)) -> np.ndarray:
    """What clients of each world share together, without noise."""
    row, found = sessions.sharing.row, []
    for windows in windows_of(game.worlds.contributions, game.contributions.groups):
        found.append(sum(row(sessions.client(own)) for own in windows[clients]))
    return np.stack(found)


def test_exact_totals_are_sums_of_rows(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Of what clients share, which is the energies of their windows; colluders' own parts can be taken off."""
    game = game_of(statistics, "window-replace")
    sessions = sessions_of(game, tmp_path / "one", "additive")
    seen = _seen(game, sessions)

    assert "masks" not in seen
    assert np.array_equal(seen["totals"], sums(game, sessions))
    assert np.array_equal(seen["released"], seen["totals"])
    assert np.array_equal(seen["less"], sums(game, sessions, slice(0, CLIENTS - 1)))
    assert sessions.noise_sd("totals", clients=3) == sessions.noise_sd("released", clients=3) == 0
    row = sessions.sharing.row(sessions.client(np.array([3, 5])))
    energies = statistics.energies[[3, 5]].sum(0)
    places = {f"model.layers.{index}.{source}.input": place for (index, source), place in statistics.channels.items()}
    start = 0
    for spec in sessions.sharing.contents.specs:
        part = row[start : start + spec.length]
        exponent = sessions.sharing.contents.public["exponents"][spec.name]
        assert np.array_equal(part, np.round(energies[places[spec.name]] * 2.0**exponent))
        start += spec.length
    assert start == len(row)


@pytest.mark.parametrize("protocol", ["plain", "ckks"])
def test_single_rows_are_seen_where_a_protocol_shows_them(
    protocol: str, statistics: WindowStatistics, tmp_path: Path
) -> None:
    """By a server of plain, and with the key of one client under ckks: every client's of every world, in order."""
    game = game_of(statistics, "window-replace", runs=2)
    sessions = sessions_of(game, tmp_path / "one", protocol)
    seen = _seen(game, sessions)
    rows = [
        sessions.sharing.row(sessions.client(own))
        for windows in windows_of(game.worlds.contributions, game.contributions.groups)
        for own in windows
    ]

    assert np.array_equal(seen["masks"], np.stack(rows))


@pytest.mark.parametrize("privacy", [None, target("central", "window-zero-out")])
def test_a_client_without_text_shares_zeros(
    privacy: PrivacyTarget | None, based_statistics: WindowStatistics, tmp_path: Path
) -> None:
    """Whatever is shared; one with a window shares the same as without the empty slot beside it."""
    game = game_of(based_statistics, "window-zero-out")
    sessions = sessions_of(game, tmp_path / "one", "additive", privacy)

    def row(*windows: int) -> np.ndarray:
        return sessions.sharing.row(sessions.client(np.array(windows)))

    assert not row(-1).any()
    assert not row(-1, -1).any()
    assert row(2).any()
    assert np.array_equal(row(2, -1), row(2))
    totals = _seen(game, sessions)["totals"]
    assert (game.worlds.contributions < 0).any()
    assert np.array_equal(totals, sums(game, sessions))


@pytest.mark.parametrize("place", ["central", "distributed"])
def test_noise_is_as_stated(place: str, based_statistics: WindowStatistics, tmp_path: Path) -> None:
    """A trusted server sees sums without any; what leaves it, or what clients send it, is noisy."""
    game = game_of(based_statistics, "window-replace", runs=150)
    sessions = sessions_of(game, tmp_path / "one", "additive", target(place))
    seen, exact = _seen(game, sessions), sums(game, sessions)
    noisy = {"released": (exact, CLIENTS)}
    if place == "central":
        assert np.array_equal(seen["totals"], exact)
        assert sessions.noise_sd("totals", clients=CLIENTS) == 0
    else:
        noisy |= {"totals": (exact, CLIENTS), "less": (sums(game, sessions, slice(0, CLIENTS - 1)), CLIENTS - 1)}

    for name, (without, clients) in noisy.items():
        noise = seen[name] - without
        stated = sessions.noise_sd("released" if place == "central" else "totals", clients=clients)
        # 900 entries: five standard errors of a deviation are 12 %.
        assert noise.std() == pytest.approx(stated, rel=0.12)
        assert abs(noise.mean()) < 6 * stated / noise.size**0.5


def test_an_audit_scores_every_job(based_statistics: WindowStatistics) -> None:
    """With the truth of its rows; the public's view of the pruned model is not played; units are each one's own."""
    game = game_of(based_statistics, "window-replace")
    privacy = target("distributed")
    plain, noisy = Configuration("plain"), Configuration("additive", privacy)
    steps: list[tuple[str, int, int]] = []
    audit = audit_statistics(
        game,
        {plain: method("statistics"), noisy: method("statistics", "additive", privacy)},
        thresholds=lambda each: thresholds(each.protocol),
        attacks=["blind", "whitened"],
        progress=lambda *step: steps.append(step),
    )

    assert [each.job for each in audit.cells] == [
        "masks of plain",
        f"totals of {noisy.name}",
        f"totals less colluders of {noisy.name}",
    ]
    assert set(audit.scored) == {each.job for each in audit.cells}
    masks, totals, less = (audit.scored[each.job] for each in audit.cells)
    assert masks.scores["whitened"].shape == (24 * CLIENTS, 3)
    assert totals.scores["whitened"].shape == less.scores["whitened"].shape == (24, 3)
    assert (masks.job.clients, totals.job.clients, less.job.clients) == (1, CLIENTS, CLIENTS - 1)
    assert masks.job.noise_sd == 0
    assert totals.job.noise_sd > less.job.noise_sd > 0
    in_play, coins = masks.job.truth.in_play, masks.job.truth.coins
    told = masks.scores["whitened"][in_play] > 0
    assert len(coins) == 24 * CLIENTS
    assert np.array_equal(told, coins[in_play] == 1)
    assert steps[0] == ("audit", 0, 5)
    assert steps[-1] == ("audit", 5, 5)


def masks_job(game: Game, sessions: StatisticsSessions, protocol: str, privacy: PrivacyTarget | None) -> Job:
    """Make the job of single clients' rows."""
    configuration = Configuration(protocol, privacy)
    cells = [cell for cell in cells_of(configuration, colluders=1) if cell.what == "masks"]
    (job,) = game.jobs(cells, {configuration.name: sessions}, KINDS).values()
    return job


def test_the_attackers_rows_of_single_clients_are_of_all_clients(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Each labelled with the coins of its own slots: every coin of every world is in one row."""
    game = game_of(statistics, "window-replace")
    sessions = sessions_of(game, tmp_path / "one", "plain")
    job = masks_job(game, sessions, "plain", None)
    unit = _units(game, sessions)
    setting = _setting(game, job, unit)
    sight = _sight(game, job, sessions, _seen(game, sessions)["masks"], unit)
    expected = np.stack(
        [
            sessions.sharing.row(sessions.client(own))
            for windows in windows_of(game.labelled.contributions, game.contributions.held)
            for own in windows
        ]
    )

    assert np.allclose(sight.rows[setting.observed :] * unit, expected)
    assert setting.labelled == len(expected) == 12 * CLIENTS
    assert len(sight.reference) == 8 * CLIENTS
    by_world = setting.coins.reshape(12, CLIENTS, -1)
    assert np.array_equal(by_world.max(1), game.labelled.coins)
    assert ((by_world != NOT_IN_PLAY).sum(1) == (game.labelled.coins != NOT_IN_PLAY)).all()
    windows = windows_of(game.labelled.contributions, game.contributions.held).reshape(-1, 1)
    for row, coin in np.argwhere(setting.coins != NOT_IN_PLAY):
        held = game.contributions.groups[game.contributions.targets[coin, 1 - setting.coins[row, coin]]]
        assert windows[row] == held


def test_no_more_rows_of_single_clients_are_kept_than_there_is_room_for(
    statistics: WindowStatistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and the coins that label them are cut alike."""
    monkeypatch.setattr(jobs, "MOST_MASK_ROWS", 7)
    monkeypatch.setattr(shared_statistics, "MOST_MASK_ROWS", 7)
    game = game_of(statistics, "window-replace")
    sessions = sessions_of(game, tmp_path / "one", "plain")
    job = masks_job(game, sessions, "plain", None)
    unit = _units(game, sessions)
    setting = _setting(game, job, unit)
    sight = _sight(game, job, sessions, _seen(game, sessions)["masks"], unit)

    assert len(sight.rows) - setting.observed == setting.labelled == len(sight.reference) == 7


def test_the_noise_that_the_attacker_knows_is_in_the_rows_units(
    based_statistics: WindowStatistics, tmp_path: Path
) -> None:
    """As its own rows differ from what they are without noise, over all entries."""
    game = game_of(based_statistics, "window-replace")
    privacy = target("distributed")
    sessions = sessions_of(game, tmp_path / "one", "ckks", privacy)
    job = masks_job(game, sessions, "ckks", privacy)
    unit = _units(game, sessions)
    setting = _setting(game, job, unit)
    sight = _sight(game, job, sessions, _seen(game, sessions)["masks"], unit)
    windows = windows_of(game.labelled.contributions, game.contributions.held).reshape(-1, 1)
    exact = np.stack([sessions.sharing.row(sessions.client(own)) for own in windows]) / unit
    noise = sight.rows[setting.observed :] - exact

    assert job.noise_sd > 0
    # 216 entries: five standard errors of a deviation are 24 %.
    assert np.sqrt((noise**2).mean()) == pytest.approx(setting.noise_sd, rel=0.3)


def test_channels_that_nothing_enters_do_no_harm(model: StreamedModel, tmp_path: Path) -> None:
    """Where the attacker's contributions are zero an entry keeps its unit."""
    same = draw_ids(1).repeat(14, 1)
    statistics = survey(model, _with_others(same), tmp_path / "cache")
    game = game_of(statistics, "window-replace", runs=40)
    audit = audit_statistics(
        game,
        {Configuration("plain"): method("statistics")},
        thresholds=lambda each: thresholds(each.protocol),
        attacks=["blind"],
    )

    assert np.isfinite(audit.scored["masks of plain"].scores["blind"]).all()


def _with_others(same: Tensor) -> Tensor:
    return torch.cat([draw_ids(8, seed=5), same[8:]])
