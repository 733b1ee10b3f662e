"""``fedprllm audit`` as a user runs it: results, pictures, the same command again, and what is refused."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from experiments.audit.plan import Contributions
from experiments.cli import BAD_INPUT, DONE
from tests.experiments.conftest import LENGTH, Inputs, Ran, run_main

# Coins of half of the runs all fall alike with a chance below 2e-6 here.
RUNS = 20
SMALL = {
    "window_length": LENGTH,
    "device": "cpu",
    "clients": 3,
    "windows_per_client": 1,
    "targets": 4,
    "runs": RUNS,
    "labelled_runs": 16,
    "reference_runs": 8,
    "population": 16,
    "strangers": 4,
    "protocol": "plain",
    "attacks": "blind,similarity",
    "json": True,
}
PRIVACY = {"epsilon": 8, "delta": 1e-5}
Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def audit(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run ``audit`` on the tiny inputs: ``audit(out, flag=value)``; None drops a flag, True gives it alone."""
    cache = tmp_path_factory.mktemp("cache")

    def run(out: Path, **changed: object) -> Ran:
        flags = {"model": inputs.model, "data": inputs.text, "cache": cache, "out": out} | SMALL | changed
        words = []
        for name, value in flags.items():
            flag = "--" + name.replace("_", "-")
            if value is not None:
                words += [flag] if value is True else [f"{flag}={value}"]
        return run_main("audit", *words)

    return run


@pytest.fixture(scope="module")
def done(audit: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished audit of plain."""
    out = tmp_path_factory.mktemp("done") / "audit"
    ran = audit(out)
    assert (ran.status, ran.stderr) == (DONE, "")
    return out


def of_cells(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Find cells by configuration and adversary."""
    return {(each["configuration"], each["adversary"]): each for each in result["cells"]}


def test_every_attack_on_every_view(audit: Command, inputs: Inputs, tmp_path: Path) -> None:
    """Tables in the terminal; a file that says what was played, seen and found; pictures."""
    out = tmp_path / "out"
    ran = audit(out, protocol="additive", attacks=None, json=None)
    result = json.loads((out / "audit.json").read_text())
    cells = of_cells(result)

    assert ran.status == DONE, ran.stderr
    for says in ("what sees it", "server and colluders", "score-test", "effective dimension", "no epsilon covers it"):
        assert says in ran.stdout
    assert set(result) == {
        "schema", "config", "note", "model", "game", "windows", "effective_dimension", "level", "baseline_alarms",
        "claims_p_values_holm", "cells", "peak_memory_bytes", "environment", "seconds",
    }  # fmt: skip
    assert result["config"]["runs"] == RUNS
    assert result["game"]["adjacency"] == "window-replace"
    assert result["model"]["blocks"] == 2
    assert result["claims_p_values_holm"] == {}
    assert set(cells) == {
        ("plain", "server"),
        ("plain", "public observer"),
        ("additive", "server"),
        ("additive", "server and colluders"),
        ("additive", "public observer"),
    }
    assert [each["attack"] for each in cells["plain", "server"]["attacks"]].count("blind") == 1
    strongest = cells["plain", "server"]["attacks"][0]
    assert strongest["auc"]["value"] > 0.9
    assert strongest["runs"] == RUNS // 2
    assert {"order-statistics", "lira-online", "learned"} <= {
        each["attack"] for each in cells["additive", "server"]["attacks"]
    }
    simple = next(each for each in cells["additive", "server"]["attacks"] if each["attack"] == "simple-test")
    assert simple["against_simple"]["difference"]["reason"] == "it is the simple attack itself"
    for each in cells["additive", "server"]["attacks"]:
        if each is not simple and each["against_simple"]["figure"] == "AUC":
            difference = each["against_simple"]["difference"]["value"]
            assert difference == pytest.approx(each["auc"]["value"] - simple["auc"]["value"])
    observer = cells["additive", "public observer"]["attacks"][0]["against_simple"]
    assert observer["difference"]["reason"] == "simple-test does not read rows of the kind choice"
    said = " ".join(ran.stdout.split())
    assert "not compared with simple-test: simple-test does not read rows of the kind choice" in said
    for name in ("matrix", "roc"):
        assert imread(out / f"{name}.png").std() > 0.01
        assert "</svg>" in (out / f"{name}.svg").read_text()


def test_the_report_holds_no_text(done: Path, inputs: Inputs) -> None:
    """Nor its digest: the cache's name is keyed and is not in it."""
    written = (done / "audit.json").read_text()

    assert "the server adds votes" not in written
    assert "cache" not in json.loads(written)["config"]
    assert "sha256" not in json.loads(written)["config"]


def test_report_and_pictures_are_for_this_user_alone(done: Path) -> None:
    """They are made of private text."""
    assert {file.suffix for file in done.iterdir()} == {".json", ".png", ".svg"}
    for file in done.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(done.stat().st_mode) == 0o700


def test_pictures_that_were_open_to_others_are_closed(audit: Command, tmp_path: Path) -> None:
    """What an earlier audit left of other permissions is written over."""
    (tmp_path / "matrix.png").write_text("")
    (tmp_path / "matrix.png").chmod(0o644)

    assert audit(tmp_path).status == DONE
    assert stat.S_IMODE((tmp_path / "matrix.png").stat().st_mode) == 0o600


def test_every_complaint_begins_alike(audit: Command, tmp_path: Path) -> None:
    """Whether the parser finds it or the command."""
    for changed in ({"adjacency": "token-replace"}, {"runs": 1}, {"runs": "x"}, {"data": None}):
        assert audit(tmp_path / "out", **changed).line.startswith("fedprllm: ")


def test_json_is_the_report(audit: Command, done: Path) -> None:
    """And nothing else is on stdout."""
    ran = audit(done)

    assert ran.status == DONE
    assert json.loads(ran.stdout) == json.loads((done / "audit.json").read_text())


def test_the_same_command_again_computes_nothing(audit: Command, done: Path) -> None:
    """It says where the report is."""
    before = (done / "audit.json").stat().st_mtime_ns
    ran = audit(done, json=None)

    assert ran.status == DONE
    assert ran.stdout == f"already done; see {done / 'audit.json'}\n"
    assert (done / "audit.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("runs", RUNS + 1, f"--runs {RUNS}, not {RUNS + 1}"),
        ("protocol", "additive", "--protocol plain, not additive"),
        ("adjacency", "client-replace", "--adjacency window-replace, not client-replace"),
    ],
)
def test_another_audit_does_not_overwrite(flag: str, value: object, says: str, audit: Command, done: Path) -> None:
    """The flag that differs is named, and what to do."""
    ran = audit(done, **{flag: value})

    assert ran.status == BAD_INPUT
    with pytest.raises(AssertionError, match=f"holds an audit with {says}; name another folder or add --overwrite"):
        raise AssertionError(ran.line)


def test_overwrite_replaces_another_audit(audit: Command, tmp_path: Path) -> None:
    """And only then."""
    assert audit(tmp_path).status == DONE
    assert audit(tmp_path, seed=1).status == BAD_INPUT
    assert audit(tmp_path, seed=1, overwrite=True).status == DONE
    assert json.loads((tmp_path / "audit.json").read_text())["config"]["seed"] == 1


def test_folders_of_others_are_left_alone(audit: Command, done: Path, tmp_path: Path) -> None:
    """A file, other files, or an audit that cannot be read."""
    file = tmp_path / "file"
    file.write_text("mine")
    assert audit(file).line.endswith("is a file; name a folder")
    assert audit(tmp_path).line.endswith(f"--out {tmp_path} holds other files (file); name a folder")
    file.unlink()
    for broken in ("{", "[]", "{}", '{"config": 3}'):
        (tmp_path / "audit.json").write_text(broken)
        ran = audit(tmp_path)
        assert ran.status == BAD_INPUT
        assert f"{tmp_path / 'audit.json'} is no audit" in ran.line
        assert (tmp_path / "audit.json").read_text() == broken


def test_what_an_interrupted_audit_left_is_no_audit(audit: Command, tmp_path: Path) -> None:
    """Pictures without a report, and the log of an error."""
    for name in ("error.log", "matrix.png", "roc.svg"):
        (tmp_path / name).write_text("")

    assert audit(tmp_path).status == DONE
    assert (tmp_path / "matrix.png").stat().st_size > 1000


def test_statistics_under_clients_noise(audit: Command, inputs: Inputs, tmp_path: Path) -> None:
    """The claim is held to the server and its colluders; under plain, clients' noise would protect nothing."""
    ran = audit(
        tmp_path, payload="statistics", protocol="plain,additive", dp="distributed", rank=8,
        public_data=inputs.public_text, attacks="whitened", **PRIVACY,
    )  # fmt: skip
    assert ran.status == DONE, ran.stderr
    result = json.loads(ran.stdout)
    cells = of_cells(result)
    noisy = "additive, distributed epsilon 8"

    assert set(cells) == {("plain", "server"), (noisy, "server"), (noisy, "server and colluders")}
    assert cells["plain", "server"]["claim"] is None
    for adversary in ("server", "server and colluders"):
        claim = cells[noisy, adversary]["claim"]
        assert claim["adjacency"] == "window-replace"
        assert 7 < claim["epsilon"] <= 8
    # The blind baseline is always among the attacks.
    assert len(result["claims_p_values_holm"]) == 4
    assert {name.split("; ")[-1] for name in result["claims_p_values_holm"]} == {"blind", "whitened"}


def test_votes_under_a_servers_noise(audit: Command, tmp_path: Path) -> None:
    """Whole clients against nothing: readers of the totals are claimed about, the server is not; odd targets too."""
    ran = audit(
        tmp_path, adjacency="client-zero-out", windows_per_client=2, targets=3, population=16, protocol="additive",
        dp="central", attacks="order-statistics", **PRIVACY,
    )  # fmt: skip
    assert ran.status == DONE, ran.stderr
    cells = of_cells(json.loads(ran.stdout))
    noisy = "additive, central epsilon 8"

    claims = {adversary: cell["claim"] for (configuration, adversary), cell in cells.items() if configuration == noisy}
    assert claims["server"] is claims["server and colluders"] is None
    for adversary in ("readers of the totals", "public observer"):
        assert claims[adversary]["adjacency"] == "client-zero-out"
    assert cells["plain", "server"]["no_claim"] == "no differential privacy"


def test_kept_statistics_are_for_this_user_alone(audit: Command, done: Path, tmp_path: Path) -> None:
    """In the folder that is named."""
    assert audit(tmp_path / "out", cache=tmp_path / "kept").status == DONE

    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700


REFUSED = {
    "attack": ({"attacks": "similarity,magic"}, "'magic' is none of blind, similarity"),
    "no attack": ({"attacks": ","}, "'' is none of blind, similarity"),
    "protocol": ({"protocol": "plain,rot13"}, "'rot13' is none of plain"),
    "adjacency": ({"adjacency": "token-replace"}, "invalid choice: 'token-replace'"),
    "sparsity": ({"sparsity": "1.5"}, "sparsity"),
    "runs": ({"runs": 1}, "--runs 1 must be at least 2"),
    "canaries": ({"canaries": 4}, "--canaries 4 must be at most 3, the windows of a run"),
    "targets": ({"targets": 2, "canaries": 3}, "--targets 2 must be at least --canaries 3"),
    "population": ({"population": 2}, "--population 2 must be at least 3, the windows of a run"),
    "epsilon alone": ({"epsilon": 1}, "--epsilon goes with --dp central or --dp distributed"),
    "delta alone": ({"delta": 1e-5}, "--delta goes with --dp central or --dp distributed"),
    "multiplier alone": ({"noise_multiplier": 1}, "--noise-multiplier goes with --dp central or --dp distributed"),
    "no delta": ({"dp": "central", "epsilon": 1}, "--dp central needs --delta: the claim means nothing"),
    "no epsilon": ({"dp": "central", "delta": 1e-5}, "--dp central needs either --epsilon, which finds"),
    "both": ({"dp": "central", "noise_multiplier": 1, **PRIVACY}, "--dp central needs either --epsilon, which"),
    "distributed plain": (
        {"dp": "distributed", **PRIVACY},
        "--dp distributed does not go with --protocol plain alone; add additive, ckks or bfv",
    ),
    "rank of votes": (
        {"dp": "central", "rank": 4, **PRIVACY},
        "--rank, --clip, --public-data and --public-windows go with --payload statistics",
    ),
    "votes less a window": (
        {"adjacency": "window-zero-out"},
        "--adjacency window-zero-out has no meaning for votes: a client with a window less votes",
    ),
    "noisy votes less a window": ({"adjacency": "window-zero-out", "dp": "central", **PRIVACY}, "window-zero-out"),
    "no public text": (
        {"payload": "statistics", "dp": "central", **PRIVACY},
        "needs public text",
    ),
    "colluders": ({"protocol": "additive", "assumed_colluders": 3}, "--assumed-colluders"),
    "window length": ({"window_length": 100}, "--window-length 100 must be from 2 to the model's context"),
    "too little text": (
        {"population": 4000},
        f"is too short for 4020 windows of {LENGTH} tokens: two each for 8 windows in question (--targets), and 4 of "
        "--strangers, 4000 of --population and 0 that fill other slots (--clients, --windows-per-client, --canaries)",
    ),
    "no such text": ({"data": "no-such-file.txt"}, "; or demo, or a .safetensors file of windows that are cut already"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_played_is_refused(name: str, audit: Command, tmp_path: Path) -> None:
    """With status 2 and one line that names the flag; nothing is written."""
    changed, says = REFUSED[name]
    ran = audit(tmp_path / "out", **changed)

    assert ran.status == BAD_INPUT, ran.stderr
    assert says in ran.line
    assert ran.stdout == ""
    assert not (tmp_path / "out").exists()


def test_windows_that_are_cut_already_are_refused(audit: Command, inputs: Inputs, tmp_path: Path) -> None:
    """Nothing tells which of them are of one source."""
    cut = inputs.folder / "windows.safetensors"
    ran = audit(tmp_path / "out", data=cut)

    assert ran.status == BAD_INPUT
    assert f"--data {cut}: an audit draws its own windows from text; give text, not cut windows" in ran.line


@pytest.mark.parametrize("payload", ["votes", "statistics"])
def test_shadows_hold_no_text_that_the_attacker_does_not_know(
    audit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: str
) -> None:
    """Where it knows other text of a candidate's source only, its own runs are made of that."""
    asked = []
    of_held = Contributions.held.fget
    assert of_held is not None  # a property

    def watched(contributions: Contributions) -> object:
        asked.append(contributions)
        return of_held(contributions)

    monkeypatch.setattr(Contributions, "held", property(watched))
    ran = audit(tmp_path, knowledge="same-source", payload=payload)
    assert ran.status == DONE, ran.stderr

    assert asked
