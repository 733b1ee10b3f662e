"""``fedprllm audit --game``: what is refused, and what holds for every game."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from matplotlib.image import imread

from experiments.cli import BAD_INPUT, DONE
from tests.experiments.audit.games.conftest import Play
from tests.experiments.conftest import Inputs, run_main

SIZES = {
    "domain": {"victims": 8, "domains": 2, "labelled_runs": 8, "label_field": "topic"},
    "linkage": {"victims": 4},
    "reconstruction": {"victims": 4, "population": 16, "windows_per_client": 4},
}


@pytest.fixture(scope="module")
def played(play: Play, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every game, played once, with tables in the terminal."""
    found = {}
    for game, sizes in SIZES.items():
        found[game] = tmp_path_factory.mktemp("played") / game
        data = inputs.folder / "rows.jsonl" if game == "domain" else inputs.text
        ran = play(game, found[game], data=data, json=None, **sizes)
        assert ran.status == DONE, ran.stderr
        found[game].with_suffix(".txt").write_text(ran.stdout)
    return found


@pytest.mark.parametrize("game", SIZES)
def test_a_game_says_who_learns_and_what_no_epsilon_is_about(game: str, played: dict[str, Path]) -> None:
    """In the report and in the terminal; the report is for its owner alone, with a picture beside it."""
    report = played[game] / "audit.json"
    result = json.loads(report.read_text())
    shown = " ".join(played[game].with_suffix(".txt").read_text().split())

    assert set(result) == {
        "schema", "config", "note", "model", "game", "windows", "figures", "remarks", "peak_memory_bytes",
        "environment", "seconds",
    }  # fmt: skip
    assert result["game"]["name"] == result["config"]["game"] == game
    assert result["game"]["adjacency"].startswith("none: ")
    assert result["game"]["victims"] == SIZES[game]["victims"]
    assert all(each.startswith("server of ") for each in result["game"]["adversaries"].values())
    assert "adjacency none: " in shown
    assert shown.count("seen by the server of ") == len(result["game"]["adversaries"])
    assert "no epsilon covers it" in shown
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert imread(played[game] / f"{game}.png").std() > 0.01
    assert "</svg>" in (played[game] / f"{game}.svg").read_text()


def test_the_same_game_again_is_not_played(play: Play, played: dict[str, Path]) -> None:
    """It says where the report is; with ``--json`` it prints it; another game is refused."""
    out = played["linkage"]
    assert play("linkage", out, json=None, **SIZES["linkage"]).stdout == f"already done; see {out / 'audit.json'}\n"
    again = play("linkage", out, **SIZES["linkage"])
    assert json.loads(again.stdout) == json.loads((out / "audit.json").read_text())

    assert "--game linkage, not reconstruction" in play("reconstruction", out, victims=4).line


REFUSED = {
    "dp of domain": ("domain", {"dp": "central"}, "--dp does not go with --game domain; it goes with --game memb"),
    "dp of linkage": ("linkage", {"dp": "distributed"}, "--dp does not go with --game linkage"),
    "dp of reconstruction": ("reconstruction", {"dp": "central"}, "--dp does not go with --game reconstruction"),
    "a default value": ("linkage", {"runs": 64}, "--runs does not go with --game linkage; it goes with --game memb"),
    "domains of linkage": ("linkage", {"domains": 4}, "--domains does not go with --game linkage"),
    "victims of membership": (
        "membership",
        {"victims": 8},
        "--victims does not go with --game membership; it goes with --game domain, linkage, reconstruction",
    ),
    "population of domain": ("domain", {"population": 9}, "goes with --game membership, reconstruction"),
    "magnitude": ("linkage", {"pruner": "magnitude"}, "--pruner magnitude does not go with --game linkage"),
    "no such game": ("chess", {}, "invalid choice: 'chess'"),
    "one client": ("linkage", {"clients": 1}, "--clients 1 must be at least 2"),
    "one client's domain": ("domain", {"clients": 1}, "--clients 1 must be at least 2"),
    "one client's text": ("reconstruction", {"clients": 1}, "--clients 1 must be at least 2"),
    "one pair": ("linkage", {"victims": 2}, "--victims 2 must be --clients 2 times the pairs of runs, at least two"),
    "half a run": ("reconstruction", {"victims": 5}, "--victims 5 must be --clients 2 times the runs, at least two"),
    "uneven domains": ("domain", {"victims": 9}, "--victims 9 must be a multiple of --clients 2 and of --domains 4"),
    "one domain": ("domain", {"domains": 1}, "--domains 1 must be at least 2"),
    "few runs": ("domain", {"labelled_runs": 3}, "--labelled-runs 3 must be at least 8, twice --domains"),
    "population": ("reconstruction", {"population": 3}, "--population 3 must be at least 4: two texts as long as"),
    "short text": ("linkage", {"victims": 4000}, "is too short for 8000 windows of 16 tokens"),
    "no domain": ("domain", {}, "give --label-field NAME, or for --data a folder with a .txt file for each domain"),
    "short windows": ("reconstruction", {"victims": 4, "population": 8}, "plants up to 32 and needs twice as many"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_played_is_refused(name: str, play: Play, tmp_path: Path) -> None:
    """With status 2 and one line that names the flag; nothing is written."""
    game, changed, says = REFUSED[name]
    ran = play(game, tmp_path / "out", **changed)

    assert ran.status == BAD_INPUT, ran.stderr
    assert says in ran.line
    assert not (tmp_path / "out").exists()


def test_windows_that_are_cut_already_are_refused(play: Play, inputs: Inputs, tmp_path: Path) -> None:
    """Games cut their own."""
    cut = inputs.folder / "windows.safetensors"

    assert "give text, not cut windows" in play("linkage", tmp_path, data=cut).line


def test_games_are_of_runs_that_are_played(tmp_path: Path) -> None:
    """A finished run and given masks have no use for them."""
    recorded = run_main("audit", tmp_path / "run", "--game", "linkage", "--out", tmp_path / "out")
    assert "--game does not go with RUN_DIR" in recorded.line
    given = run_main("audit", "--masks", "a", "--victims", "4", "--out", tmp_path / "out")
    assert "--victims does not go with --masks" in given.line
