"""A sweep that is killed at any moment, and run again, ends with the table of one that was not."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.sweep import read_sweep
from tests.experiments.sweep.conftest import NOISE, tiny_flags

ROOT = Path(__file__).parents[3]
AXES = {"protocol": "plain,additive", "epsilon": "none,3"} | NOISE
CELLS = 4
# What a run measures, and what an interrupted one says of itself.
MEASURED = ("seconds_", "peak_memory_bytes", "commit", "bytes_", "bits_per_weight")
# What noise decides, and releases that were interrupted: they count twice.
NOISY = ("perplexity_federated", "perplexity_result", "bits_per_byte_federated", "releases_made", "claim", "noise_mul")


def killed(inputs, sweeps: dict[Path, list[float]]) -> list[list[tuple[int, dict[str, str]]]]:
    """Run sweeps, each killed after so many seconds each time; returns what killed_sweeps.py prints."""
    flags = [f"--{name}={value}" for name, value in tiny_flags(inputs, **AXES).items()]
    asked = [
        {"arguments": ["sweep", *flags, "--jobs=1", "--json", f"--out={out}"], "kills": kills}
        for out, kills in sweeps.items()
    ]
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_sweeps.py")],
        input=json.dumps(asked),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def lasting(rows: list[dict]) -> list[dict]:
    """Leave out of rows what is measured anew by each sweep, and of noisy cells what the noise decides."""
    return [
        {
            name: value
            for name, value in row.items()
            if not name.startswith(MEASURED) and not (row["dp"] != "none" and name.startswith(NOISY))
        }
        for row in rows
    ]


def check(inputs, tmp_path: Path, kills: list[float]) -> None:
    """Kill a sweep, and compare it with one that was left alone."""
    ((status, _),), found = killed(inputs, {tmp_path / "whole": [], tmp_path / "killed": kills})

    assert status == 0
    assert found[-1][0] == 0
    for (_, before), (_, after) in itertools.pairwise(found):
        assert before.items() <= after.items()  # what was finished, noisy or not, is never made again
    assert len(found[-1][1]) == CELLS
    rows = read_sweep(tmp_path / "killed")
    assert lasting(rows) == lasting(read_sweep(tmp_path / "whole"))
    lines = (tmp_path / "killed" / "table.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert not list((tmp_path / "killed" / "cells").glob("*/work"))


def test_sweep_killed_twice_ends_the_same(inputs, tmp_path):
    """Two kills, one early and one amid the cells, change nothing but what is measured."""
    check(inputs, tmp_path, [0.3, 1.0])


@pytest.mark.slow
def test_sweep_killed_ten_times_at_random_ends_the_same(inputs, tmp_path):
    """Ten kills at random moments change nothing but what is measured."""
    draw = random.Random()
    kills = [draw.uniform(0.05, 2.0) for _ in range(10)]
    print(kills)
    check(inputs, tmp_path, kills)
