"""What adversaries have of victims' sessions of votes: what a protocol hides is not there, noise is as stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.audit.statistics import AuditBlock, WindowStatistics
from experiments.audit.victims import SeenBlock, Victims, VoteSessions, gathered
from experiments.audit.worlds import EMPTY
from fedprllm_secure.errors import InputError
from fedprllm_secure.thresholds import Thresholds
from tests.experiments.audit.tiny_audit import (
    CLIENTS,
    WINDOWS,
    masks_of,
    method,
    same_rows,
    target,
    thresholds,
    vote_sessions,
)

GROUPS = np.arange(WINDOWS).reshape(-1, 1)
WORLDS = np.array([[[0, 1], [2, 3], [4, 5]], [[6, 0], [9, 4], [1, 8]], [[13, 2], [3, 11], [12, 10]]])
EMPTIED = np.array([[[0, 1], [EMPTY, EMPTY], [4, EMPTY]], [[6, 0], [9, 4], [EMPTY, EMPTY]]])


def seen_of(block: AuditBlock, worlds: np.ndarray, **sessions: VoteSessions) -> dict[str, SeenBlock]:
    """Take worlds through sessions of a block."""
    return Victims(worlds, GROUPS, sessions=sessions).block(block)


def world_masks(sessions: VoteSessions, block: AuditBlock, worlds: np.ndarray = WORLDS) -> dict[str, NDArray[Any]]:
    """By matrix, the masks of every client of every world, int64 (worlds, clients, out, in)."""
    found = [masks_of(sessions, block, windows) for windows in worlds]
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def test_a_server_of_plain_sees_masks(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Every client's, the totals, and what the totals choose; no colluders, no noise."""
    plain = vote_sessions(statistics, tmp_path / "plain")
    with statistics.block(1) as block:
        seen = seen_of(block, WORLDS, plain=plain)["plain"]
        expected = world_masks(plain, block)

        assert seen.masks is not None
        assert seen.colluders is None
        assert seen.released is seen.totals
        for matrix in block.matrices:
            masks = expected[matrix.name]
            assert np.array_equal(seen.masks[matrix.name], masks.reshape(-1, *matrix.shape))
            assert np.array_equal(seen.totals[matrix.name], masks.sum(1))
            for chosen, votes in zip(seen.choice[matrix.name].astype(bool), masks.sum(1), strict=True):
                assert chosen.sum() == chosen.size // 2
                assert votes[chosen].min() >= votes[~chosen].max()


@pytest.mark.parametrize("protocol", ["additive", "ckks"])
def test_totals_hide_masks_but_from_key_holders(protocol: str, statistics: WindowStatistics, tmp_path: Path) -> None:
    """Under additive no mask is anywhere in a view; under ckks one client's key opens everybody's."""
    plain = vote_sessions(statistics, tmp_path / "plain")
    hiding = vote_sessions(statistics, tmp_path / "hiding", protocol=protocol)
    with statistics.block(0) as block:
        alone = seen_of(block, WORLDS[:1], hiding=hiding)["hiding"]
        both = seen_of(block, WORLDS[:1], plain=plain, hiding=hiding)

    if protocol == "additive":
        assert alone.masks is None
        assert both["hiding"].masks is None
    else:
        assert alone.masks is not None
        assert same_rows(alone.masks, both["plain"].masks or {})
        assert both["hiding"].masks is both["plain"].masks
    assert same_rows(alone.totals, both["plain"].totals)
    assert same_rows(alone.choice, both["plain"].choice)
    assert both["hiding"].totals is both["plain"].totals
    assert both["hiding"].choice is both["plain"].choice


def test_totals_less_colluders_are_the_honest_clients_sum(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Colluders are the last clients of the roster."""
    sessions = vote_sessions(statistics, tmp_path / "one", protocol="additive", colluders=1)
    with statistics.block(0) as block:
        seen = seen_of(block, WORLDS, one=sessions)["one"]
        expected = world_masks(sessions, block)

    assert seen.colluders is not None
    for name, masks in expected.items():
        assert np.array_equal(seen.totals[name] - seen.colluders[name], masks[:, :-1].sum(1))
        assert np.array_equal(seen.colluders[name], masks[:, -1])


def test_votes_of_several_colluders_are_added_up(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Of all of them, so that what is left of the totals is the one honest client's mask."""
    sessions = vote_sessions(statistics, tmp_path / "two", protocol="additive", colluders=2)
    with statistics.block(0) as block:
        seen = seen_of(block, WORLDS, two=sessions)["two"]
        expected = world_masks(sessions, block)

    assert seen.colluders is not None
    for name, masks in expected.items():
        assert np.array_equal(seen.colluders[name], masks[:, 1] + masks[:, 2])
        assert np.array_equal(seen.totals[name] - seen.colluders[name], masks[:, 0])


def test_a_server_that_adds_noise_sees_exact_totals(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Readers see noisy ones, of the deviation stated, and the choice is made of those."""
    sessions = vote_sessions(statistics, tmp_path / "central", protocol="additive", privacy=target("central"))
    off, flips = [], 0
    with statistics.block(0) as block:
        seen = seen_of(block, WORLDS, central=sessions)["central"]
        expected = world_masks(sessions, block)
        for matrix in block.matrices:
            exact = expected[matrix.name].sum(1)
            assert np.array_equal(seen.totals[matrix.name], exact)
            off.append((seen.released[matrix.name] - exact).ravel())
            for chosen, votes in zip(seen.choice[matrix.name].astype(bool), exact, strict=True):
                flips += int(votes[chosen].min() < votes[~chosen].max())
            for chosen, votes in zip(seen.choice[matrix.name].astype(bool), seen.released[matrix.name], strict=True):
                assert votes[chosen].min() >= votes[~chosen].max()
    noise = np.concatenate(off)

    assert flips > 0
    assert sessions.noise_sd("totals", clients=CLIENTS) == 0
    stated = sessions.noise_sd("released", clients=CLIENTS)
    assert sessions.noise_sd("choice", clients=CLIENTS) == stated > 0
    assert noise.std() == pytest.approx(stated, rel=0.03)
    assert abs(noise.mean()) < 6 * stated / len(noise) ** 0.5


def test_clients_that_add_noise_show_the_server_noisy_totals(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Of the deviation stated, less so without the colluders' own shares, which they know."""
    sessions = vote_sessions(
        statistics, tmp_path / "own", protocol="additive", privacy=target("distributed"), colluders=1
    )
    whole, less = [], []
    with statistics.block(0) as block:
        seen = seen_of(block, WORLDS, own=sessions)["own"]
        assert seen.masks is None
        assert seen.colluders is not None
        assert seen.released is seen.totals
        for name, masks in world_masks(sessions, block).items():
            whole.append((seen.totals[name] - masks.sum(1)).ravel())
            less.append((seen.totals[name] - seen.colluders[name] - masks[:, :-1].sum(1)).ravel())

    for found, clients in ((whole, CLIENTS), (less, CLIENTS - 1)):
        noise = np.concatenate(found)
        stated = sessions.noise_sd("totals", clients=clients)
        assert noise.std() == pytest.approx(stated, rel=0.03)
        assert abs(noise.mean()) < 6 * stated / len(noise) ** 0.5
    assert sessions.noise_sd("totals", clients=2) < sessions.noise_sd("totals", clients=3)


def test_a_key_holder_sees_masks_under_each_clients_own_noise(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Of one client's share of it."""
    sessions = vote_sessions(statistics, tmp_path / "own", protocol="ckks", privacy=target("distributed"))
    off = []
    with statistics.block(0) as block:
        seen = seen_of(block, WORLDS[:2], own=sessions)["own"]
        assert seen.masks is not None
        for name, masks in world_masks(sessions, block, WORLDS[:2]).items():
            off.append((seen.masks[name] - masks.reshape(seen.masks[name].shape)).ravel())
    noise = np.concatenate(off)

    assert noise.std() == pytest.approx(sessions.noise_sd("masks", clients=1), rel=0.03)


def test_a_client_without_text_submits_nothing(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Its vector is zeros; where votes are centred, zeros read as the empty vote."""
    plain = vote_sessions(statistics, tmp_path / "plain")
    central = vote_sessions(
        statistics, tmp_path / "central", privacy=target("central", "client-zero-out"), protocol="plain"
    )
    with statistics.block(0) as block:
        seen = seen_of(block, EMPTIED, plain=plain, central=central)
        first = masks_of(plain, block, np.array([[0, 1]]))
        for matrix in block.matrices:
            for name, sessions in (("plain", plain), ("central", central)):
                masks = seen[name].masks
                assert masks is not None
                rows = masks[matrix.name].reshape(2, CLIENTS, *matrix.shape)
                assert (rows[0, 1] == sessions.empty_vote).all()
                assert (rows[1, 2] == sessions.empty_vote).all()
                assert np.array_equal(rows[0, 0], first[matrix.name][0])
                assert np.array_equal(seen[name].totals[matrix.name], rows.sum(1))

    assert plain.empty_vote == 0
    assert central.empty_vote == 0.5


def test_without_noise_nothing_is_noisy(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Whatever is seen."""
    sessions = vote_sessions(statistics, tmp_path / "plain")

    assert all(sessions.noise_sd(what, clients=3) == 0 for what in ("masks", "totals", "less", "released", "choice"))


@pytest.mark.parametrize(
    ("clients", "error", "says"),
    [
        (CLIENTS, "first", "protocols disagree on the totals of"),
        (1, "first", "protocols disagree on a client's votes on"),
        (CLIENTS, 256, r"protocol ckks: votes of 3 clients beyond \[0, 3\]"),
        (1, -256, r"protocol ckks: votes of 1 clients beyond \[0, 1\]"),
    ],
)
def test_a_protocol_that_adds_up_wrongly_is_found(
    clients: int, error: int | str, says: str, statistics: WindowStatistics, tmp_path: Path
) -> None:
    """Protocols without noise must agree on everything that they show, and show nothing that a byte cannot hold."""

    class Wrong(VoteSessions):
        def votes(self, entries: NDArray[Any], **of: int) -> NDArray[Any]:
            if of["clients"] != clients:
                return entries
            return 1 - np.minimum(entries, 1) if isinstance(error, str) else entries.astype(np.int64) + error

    wrong = Wrong(
        statistics,
        num_clients=CLIENTS,
        method=method("votes", "ckks"),
        thresholds=thresholds("ckks"),
        colluders=0,
        folder=tmp_path / "wrong",
    )
    with (
        statistics.block(0) as block,
        pytest.raises(AssertionError, match=says),
    ):
        seen_of(block, WORLDS[:1], plain=vote_sessions(statistics, tmp_path / "plain"), wrong=wrong)


def test_fewer_runs_than_there_is_room_for_are_refused(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Nothing would be written where the others are to be read."""
    victims = Victims(WORLDS, GROUPS, sessions={"plain": vote_sessions(statistics, tmp_path / "plain")})
    with statistics.block(0) as block, pytest.raises(ValueError, match="runs=4 must be as many as come, 3"):
        gathered(victims.runs(block), runs=4)


def test_statistics_are_not_votes(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Their sessions are others."""
    with pytest.raises(InputError, match="payload=statistics must be votes: statistics have victims of their own"):
        VoteSessions(
            statistics,
            num_clients=CLIENTS,
            method=method("statistics"),
            thresholds=thresholds("plain"),
            colluders=0,
            folder=tmp_path / "none",
        )


def test_what_a_protocol_refuses_is_refused(statistics: WindowStatistics, tmp_path: Path) -> None:
    """With the protocol's reason."""
    sessions = VoteSessions(
        statistics,
        num_clients=CLIENTS,
        method=method("votes", "additive"),
        thresholds=Thresholds(recovery_threshold=1, minimum_survivors=1, assumed_colluders=0),
        colluders=0,
        folder=tmp_path / "few",
    )
    with statistics.block(0) as block, pytest.raises(InputError, match="--protocol additive: "):
        seen_of(block, WORLDS[:1], few=sessions)
