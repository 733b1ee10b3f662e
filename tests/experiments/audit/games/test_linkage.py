"""The game of linkage: what two runs have in common, and the two ends of the curve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.audit.games.linkage import default_victims, drawn, possible_quarters
from experiments.cli import DONE
from tests.experiments.audit.games.conftest import Play


@pytest.mark.parametrize(("each", "quarters"), [(1, (0, 4)), (2, (0, 2, 4)), (4, (0, 1, 2, 3, 4)), (6, (0, 2, 4))])
def test_shares_are_whole_windows(each: int, quarters: tuple[int, ...]) -> None:
    """Only those are played."""
    assert possible_quarters(each) == quarters


def test_usual_victims_are_whole_pairs() -> None:
    """Two pairs at least."""
    assert [default_victims(clients) for clients in (8, 5, 100)] == [64, 60, 200]


def test_runs_share_as_many_windows_as_they_say() -> None:
    """Of the same client, in another order; the other windows are the client's, too, and in no other run."""
    held = np.arange(5 * 8).reshape(5, 8)
    pair = drawn(np.random.default_rng(3), held, quarters=(0, 1, 3, 4))

    assert sorted(pair.same) == list(range(5))
    assert pair.worlds.shape == (5, 5, 4)
    for quarters, second in pair.seconds.items():
        for client, own in enumerate(second):
            first = pair.first[pair.same[client]]
            assert len(np.intersect1d(own, first)) == quarters
            assert len(np.unique(own)) == 4
            assert set(own) | set(first) <= set(held[pair.same[client]])


def test_the_same_windows_are_found_by_construction(play: Play, tmp_path: Path) -> None:
    """Half in common lies between; the shares that windows do not divide into are listed with the reason."""
    ran = play("linkage", tmp_path / "out", clients=4, victims=16, windows_per_client=2)
    assert ran.status == DONE, ran.stderr
    result = json.loads(ran.stdout)
    shares = {each["shared"]: each for each in result["figures"]["shares"]}

    assert set(shares) == {0.0, 0.5, 1.0}
    assert set(result["figures"]["shares_not_played"]) == {"0.25", "0.75"}
    assert "--windows-per-client 2 is no whole number" in result["figures"]["shares_not_played"]["0.25"]
    assert "a multiple of 4 plays all" in " ".join(result["remarks"])
    assert [each["is_by_construction"] for each in shares.values()] == [False, False, True]
    assert shares[1.0]["identification_rate"] == {
        "mean": 1.0, "standard_deviation": 0.0, "least": 1.0, "greatest": 1.0
    }  # fmt: skip
    assert shares[1.0]["equal_error_rate"]["mean"] == 0
    assert shares[0.5]["pairs_of_runs"] == 4
    assert shares[0.5]["identification_rate"]["mean"] > 0.7
    assert shares[0.0]["identification_rate"]["mean"] < shares[0.5]["identification_rate"]["mean"]
    assert shares[0.0]["chance"] == 0.25


def test_the_order_of_clients_in_the_second_run_is_drawn() -> None:
    """It is not always that of the first: else whoever answers in order would know every client again."""
    generator, held = np.random.default_rng(0), np.arange(4 * 8).reshape(4, 8)
    orders = {tuple(drawn(generator, held, quarters=(4,)).same.tolist()) for _ in range(12)}
    assert len(orders) > 4
    assert orders != {tuple(range(4))}
