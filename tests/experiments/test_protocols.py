"""``--protocol``: another way to add the same votes up."""

from __future__ import annotations

import json
import re

import pytest

from protocols import PROTOCOLS, Step

PROTECTING = [name for name in PROTOCOLS if name != "plain"]
FEW = {"clients": "5", "windows_per_client": "1", "save_votes": True, "baselines": ""}


def result_of(out):
    """Read a result."""
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def runs(prune, tmp_path_factory):
    """The same run under every protocol, four thresholds alike: folders by name."""
    place = tmp_path_factory.mktemp("protocols")
    for name in PROTOCOLS:
        assert prune(place / name, protocol=name, **FEW).status == 0
    return {name: place / name for name in PROTOCOLS}


@pytest.mark.parametrize("name", PROTECTING)
def test_votes_and_masks_are_those_of_plain(runs, name):
    """Bit for bit."""
    for file in ("votes.safetensors", "prune_masks.safetensors"):
        assert (runs[name] / file).read_bytes() == (runs["plain"] / file).read_bytes()


@pytest.mark.parametrize("name", PROTECTING)
@pytest.mark.parametrize("step", [step.name.lower() for step in Step])
def test_with_dropouts_too(prune, tmp_path, name, step):
    """The same clients leave under every protocol, and whoever stays long enough to be summed is summed."""
    asked = FEW | {"clients": "7", "dropout": f"0.2@{step}", "seed": "8"}
    asked |= {"recovery_threshold": "4", "minimum_survivors": "4"}
    for protocol in ("plain", name):
        assert prune(tmp_path / protocol, protocol=protocol, **asked).status == 0
    plain, other = (result_of(tmp_path / protocol) for protocol in ("plain", name))

    assert other["protocol"]["survivors_by_block"] == plain["protocol"]["survivors_by_block"]
    assert (min(plain["protocol"]["survivors_by_block"]) < 7) is (step in ("advertise", "share", "submit"))
    votes = [(tmp_path / protocol / "votes.safetensors").read_bytes() for protocol in ("plain", name)]
    assert votes[0] == votes[1]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_result_says_what_was_promised_and_what_it_cost(runs, name):
    """Claim, thresholds, and for every step bytes and seconds of clients and server."""
    result = result_of(runs[name])
    protocol = result["protocol"]

    assert protocol["name"] == name
    assert protocol["recovery_threshold"] == (1 if name == "plain" else 4)
    assert protocol["minimum_survivors"] == (1 if name == "plain" else 4)
    assert protocol["assumed_colluders"] == protocol["neighbours"] == 0
    for step in Step:
        assert set(protocol["seconds_by_step"][step.name.lower()]) == {"client_max_seconds", "server_seconds"}
    assert protocol["seconds_by_step"]["submit"]["client_max_seconds"] > 0
    assert result["bytes"]["submit"]["server_in_bytes"] >= 4 * result["bytes"]["submit"]["client_up_max_bytes"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plain", "the server sees every client's vectors"),
        ("additive", "even a lying server learns only the sum over at least 4 clients"),
        ("bfv", "a lying server opens the vectors of 2 clients in a session"),
        ("ckks", "any client that helps the server opens everything"),
    ],
)
def test_the_claim_is_in_result_and_help(runs, cli, name, words):
    """Nobody has to read the source to learn what a protocol is worth."""
    assert words in result_of(runs[name])["protocol"]["protects"]
    assert name in cli("prune", "--help").stdout


def test_help_names_the_limits_of_encryption(cli):
    """The trust that homomorphic encryption asks for stands where the choice is made."""
    text = " ".join(cli("prune", "--help").stdout.split())

    assert (
        "a lying one opens the votes of up to log2(N + 1) clients in each session (3 of 8, 6 of 64), any client that "
        "helps it opens everything"
    ) in text


def test_help_names_the_limits_of_a_sparse_graph(cli):
    """What additive promises of a lying server is not promised of the graph that is chosen by default."""
    text = " ".join(cli("prune", "--help").stdout.split())

    assert "even a lying server learns only totals (but see --graph)" in text
    assert "sized for a server that follows the protocol: against a lying one it takes more --neighbours" in text


@pytest.mark.parametrize("value", ["0.5@", "0.5@nowhere", "@submit", "nan", "1.0", "-0.1", "0.5@submit@share"])
def test_dropouts_are_read_whole_or_refused(cli, value):
    """A step that was begun and not named is a slip, not the default."""
    ran = cli("prune", f"--dropout={value}")

    assert ran.status == 2
    assert f"argument --dropout: '{value}' must be a rate in [0, 1), perhaps @ one of advertise" in ran.line


def test_the_server_sees_no_votes_in_a_transcript(prune, tmp_path):
    """Under plain the packed votes are in the transcript; under the others no submission repeats them."""
    submitted = {}
    for name in PROTOCOLS:
        prune(tmp_path / name, protocol=name, save_transcript=True, **FEW)
        files = (tmp_path / name / "transcript").rglob("*-submit-received-*")
        submitted[name] = b"".join(file.read_bytes() for file in sorted(files))
    again = tmp_path / "again"
    prune(again, protocol="plain", save_transcript=True, **FEW)
    repeated = b"".join(file.read_bytes() for file in sorted((again / "transcript").rglob("*-submit-received-*")))
    body = slice(62, 62 + 1024)  # past the header: the first words of the first client

    assert submitted["plain"][body] == repeated[body]
    for name in PROTECTING:
        assert submitted["plain"][body][:64] not in submitted[name]


@pytest.mark.parametrize(
    ("changed", "pattern"),
    [
        (
            {"clients": "2", "windows_per_client": "1", "protocol": "additive"},
            r"--protocol additive takes at least 3 clients, not --clients 2: of two, each learns the other's",
        ),
        (
            {"clients": "2", "windows_per_client": "1", "protocol": "bfv"},
            r"--protocol bfv takes at least 3 clients, not",
        ),
        ({"clients": "1", "windows_per_client": "1", "protocol": "ckks"}, r"takes at least 3 clients, not --clients 1"),
        (
            {"protocol": "additive", "recovery_threshold": "1", "minimum_survivors": "3"},
            r"--protocol additive: --recovery-threshold 1 must be at least 2",
        ),
        (
            {"protocol": "additive", "minimum_survivors": "2"},
            r"--protocol additive: --recovery-threshold 3 \(the default\) must be between 1 and --minimum-survivors 2",
        ),
        (
            {"protocol": "additive", "minimum_survivors": "9"},
            r"--minimum-survivors 9 must be at most 3 with --clients 3",
        ),
        (
            {"protocol": "ckks", "assumed_colluders": "2"},
            "--assumed-colluders 2 of --clients 3 leave fewer than 2 others to hide each other in a sum",
        ),
        ({"protocol": "plain", "graph": "sparse"}, r"--graph sparse goes with --protocol additive, not plain"),
        ({"protocol": "additive", "graph": "sparse", "minimum_survivors": "2"}, r"--graph sparse with 3 clients: "),
        ({"protocol": "additive", "neighbours": "2"}, r"--neighbours goes with --graph sparse"),
    ],
)
def test_thresholds_that_protect_nobody_are_refused(prune, tmp_path, changed, pattern):
    """Before any work, in one line that names the flag."""
    ran = prune(tmp_path / "run", **changed)

    assert ran.status == 2
    assert re.search(pattern, ran.line), ran.line
    assert not (tmp_path / "run" / "result.json").exists()


def test_too_many_dropouts_abort_the_protocol(prune, tmp_path):
    """Exit status 3, one line, and no result."""
    ran = prune(tmp_path / "run", **FEW | {"protocol": "additive", "dropout": "0.9", "seed": "1"})

    assert ran.status == 3
    assert "the protocol aborted" in ran.line
    assert not (tmp_path / "run" / "result.json").exists()
