"""Which flags name a result: a finished folder answers to the very same configuration and to no other."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from experiments.cli import make_parser
from experiments.flags import configuration, size_in_bytes
from fedprllm_secure.payloads import PAYLOADS
from protocols import PROTOCOLS

# How a result is reached or shown.
FREE = {"command", "out", "overwrite", "json", "dry_run", "hidden_memory", "batch_windows", "device"}
# Another value of every other flag, and what it is refused for where that is not the flag itself.
CHANGED: dict[str, object] = {
    "model": "elsewhere",
    "model_sha256": "0" * 64,
    "dtype": "bfloat16",
    "hidden_dtype": "float16",
    "eval_data": "elsewhere.txt",
    "eval_windows": 5,
    "window_length": 8,
    "data": "elsewhere.txt",
    "text_field": "body",
    "clients": 2,
    "windows_per_client": 1,
    "partition": "natural",
    "client_field": "who",
    "label_field": "topic",
    "seed": 1,
    "public_data": "elsewhere.txt",
    "sparsity": "0.6",
    "pruner": "magnitude",
    "group": "row",
    "local_group": "layer",
    "schedule": "iterative",
    "propagate": "dense",
    "ties": "position",
    "scale": True,
    "payload": "other",
    "protocol": "other",
    "graph": "sparse",
    "neighbours": 2,
    "recovery_threshold": 2,
    "minimum_survivors": 2,
    "assumed_colluders": 1,
    "dropout": "0.1",
    "save_model": True,
    "save_votes": True,
    "save_transcript": True,
    "canaries": 2,
    "baselines": "dense",
    "local_only_clients": 3,
    "public_windows": 3,
    "dp": "central",
    "epsilon": 2.0,
    "delta": 1e-5,
    "noise_multiplier": 2.0,
    "noise": "gumbel",
    "adjacency": "client-replace",
    "rank": 7,
    "clip": 3.0,
    "ledger": "ledger.json",
    "data_set": "mine",
}
# Refused without each other, before any folder is looked at.
GO_TOGETHER = {"dp", "epsilon", "delta", "noise_multiplier", "noise", "adjacency", "rank", "clip", "data_set"}
NAMED_FOR = {"schedule": "propagate"}  # which follows from it and comes first


@pytest.fixture(scope="module")
def finished(prune, tmp_path_factory) -> Path:
    """The folder of a finished run without baselines."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert prune(out, baselines="").status == 0
    return out


@pytest.fixture
def with_other_choices(monkeypatch):
    """A second payload and a second protocol to choose."""
    monkeypatch.setitem(PAYLOADS, "other", PAYLOADS["votes"])
    monkeypatch.setitem(PROTOCOLS, "other", PROTOCOLS["plain"])


def snapshot(folder: Path) -> dict[str, bytes]:
    """Remember every file."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_flag_is_configuration_or_free(inputs, finished):
    """The tables of this file name every flag of ``prune``; the result keeps all that are not free."""
    flags = set(vars(make_parser().parse_args(inputs.arguments(finished))))

    assert flags == FREE | CHANGED.keys()
    assert json.loads((finished / "result.json").read_text())["config"].keys() == CHANGED.keys()


@pytest.mark.parametrize("name", sorted(CHANGED.keys() - GO_TOGETHER))
def test_another_configuration_is_refused(prune, finished, with_other_choices, name):
    """Whichever flag is changed, a finished folder is refused by its name, and stays as it is."""
    before = snapshot(finished)
    ran = prune(finished, **{"baselines": "", name: CHANGED[name]})

    assert ran.status == 2
    assert re.search(rf"holds a run with(out)? --{NAMED_FOR.get(name, name).replace('_', '-')}[ ,]", ran.line)
    assert ran.line.endswith("name another folder or add --overwrite")
    assert snapshot(finished) == before


@pytest.mark.parametrize("name", CHANGED)
def test_another_value_is_another_configuration(inputs, finished, with_other_choices, name):
    """Each flag stands in the configuration for itself, also where another follows from it."""
    parser = make_parser()
    one, other = (
        configuration(parser.parse_args(inputs.arguments(finished, **changed)))
        for changed in ({}, {name: CHANGED[name]})
    )

    assert {key for key in one if one[key] != other[key]} == {name}


@pytest.mark.parametrize(
    ("name", "value"), [("json", None), ("hidden_memory", "1K"), ("batch_windows", 5), ("device", "auto")]
)
def test_how_a_result_is_reached_may_change(prune, finished, tmp_path, name, value):
    """Other flags find the finished result, in whatever folder it lies."""
    out = shutil.copytree(finished, tmp_path / "moved")
    before = snapshot(out)

    assert prune(out, **{"baselines": "", name: value}).status == 0
    assert snapshot(out) == before


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("7", 7),
        ("12B", 12),
        ("3K", 3072),
        ("500M", 524_288_000),
        ("500mb", 524_288_000),
        ("4G", 4 << 30),
        ("2T", 2_199_023_255_552),
    ],
)
def test_sizes_are_in_powers_of_two(text, size):
    """K, M, G and T are 1024 to the power of 1, 2, 3 and 4."""
    assert size_in_bytes(text) == size
