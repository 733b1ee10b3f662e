"""`fedprllm bench`: its flags, and the benchmark of protocols on short vectors."""

from __future__ import annotations

import os

import pytest

from experiments.bench import BENCHMARKS, protocols, unmasking
from experiments.bench.unmasking import aes_and_add_rate, measure_unmasking
from experiments.cli import main
from protocols import Roster, generate_signing_key


@pytest.fixture
def short(monkeypatch):
    """Vectors and limits of no length, and few clients."""
    monkeypatch.setattr(protocols, "VOTES", 1000)
    monkeypatch.setattr(protocols, "TUTORIAL_VOTES", 1000)
    monkeypatch.setattr(protocols, "CLIENTS", (4,))
    monkeypatch.setattr(unmasking, "LIMIT_BYTES", 1 << 20)
    monkeypatch.setattr(unmasking, "RUNS", 1)


def test_help_lists_every_benchmark(capsys):
    """Each benchmark is named with what it measures."""
    assert main(["bench", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())

    for name, benchmark in BENCHMARKS.items():
        assert f"{name} {benchmark.summary}" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bench"], "required: NAME"),
        (["bench", "order", "--plot", "cost.svg"], "there is no flag --plot"),
        (["bench", "scale", "--plot", "cost.pdf"], "--plot=cost.pdf must end in .svg or .png"),
    ],
)
def test_bad_flags_are_refused(capsys, arguments, says):
    """A flag is taken by its own benchmark only, and checked before anything is measured."""
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_flags_reach_the_benchmark(monkeypatch, capsys):
    """Without a flag the benchmark is given None."""
    seen = []
    monkeypatch.setitem(
        BENCHMARKS, "scale", BENCHMARKS["scale"].__class__(lambda plot: seen.append(plot), {"plot": ""})
    )

    assert main(["bench", "scale"]) == 0
    assert main(["bench", "scale", "--plot", "cost.svg"]) == 0
    assert [str(plot) for plot in seen] == ["None", "cost.svg"]


def test_unmasking_takes_off_every_stream(short, monkeypatch):
    """A self mask of each survivor, and its pairwise mask with each lost client, over the whole vector."""
    plan = protocols._plan("additive", Roster.of([generate_signing_key() for _ in range(10)]))
    calls = []
    monkeypatch.setattr(unmasking.Recovery, "unmask", lambda self, words, *rest: calls.append((len(words), *rest)))
    found = measure_unmasking(plan, 3, threads=1)
    length, seeds, lost, vector, number = calls[-1]

    assert (length, vector, number) == (-(-1000 // 18), "votes", 0)
    assert found.streams == len(seeds) + sum(len(pairs.by_peer) for pairs in lost) == 7 + 3 * 7
    assert found.stream_bytes == 28 * 8 * 56
    assert found.rate == pytest.approx(found.stream_bytes / found.seconds)
    assert found.share == pytest.approx(found.rate / found.limit)


def test_the_limit_counts_every_thread(short, monkeypatch):
    """Each thread makes the whole length of key stream."""
    made = []
    monkeypatch.setattr(unmasking, "_aes_and_add", lambda: made.append(unmasking.LIMIT_BYTES))

    assert aes_and_add_rate(3) > 0
    assert made == [1 << 20] * 3


@pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")  # by flwr
def test_protocols_are_measured(short, monkeypatch, capsys):
    """One run prints a row for every protocol, the limits, and what lost clients cost the server of additive."""
    monkeypatch.setenv("COLUMNS", "160")
    protocols.bench_protocols()
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]

    assert [row[1] for row in cells[:4]] == ["plain", "additive", "bfv", "ckks"]
    assert [row[1:4] for row in cells[-2:]] == [["4", "0", "4"], ["4", "1", "6"]]
    assert sum("AES-128-CTR and addition" in line for line in lines) == len({1, len(os.sched_getaffinity(0))})


def test_a_wrong_total_is_no_measurement(short, monkeypatch):
    """A protocol that miscounts is not timed."""
    monkeypatch.setattr(protocols.np, "array_equal", lambda *_: False)
    with pytest.raises(RuntimeError, match="plain gave a wrong total"):
        protocols._own("plain", 4)
