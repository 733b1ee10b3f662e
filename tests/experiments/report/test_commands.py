"""A result's command line, read back by the command line's own parser, is the result's configuration."""

from __future__ import annotations

import argparse
import shlex

import pytest

from experiments.cli import make_parser
from experiments.flags import configuration
from experiments.prune_command import effective_configuration
from experiments.report.commands import audit_command, command_of, prune_command

LEAST = "prune --model demo --data demo --clients 3 --sparsity 0.5 --out DIR"
MOST = (
    "--windows-per-client 3 --partition dirichlet:0.5 --label-field 'a b' --seed 7 --public-data=-odd- --scale "
    "--pruner magnitude --group row --local-group column --schedule iterative --propagate global --ties random "
    "--protocol additive --graph sparse --neighbours 3 --recovery-threshold 2 --dropout 0.25@share --dp distributed "
    "--epsilon 2.5 --delta 1e-05 --adjacency client-replace --ledger 'x y/l.json' --save-model --save-votes "
    "--canaries 2 --baselines dense,local"
)


def read(line: str):
    """Parse a command line as a shell and the program would."""
    words = shlex.split(line)
    assert words[0] == "fedprllm"
    return make_parser().parse_args(words[1:])


@pytest.mark.parametrize(
    "line",
    [
        LEAST,
        f"{LEAST} {MOST}",
        f"{LEAST} --baselines=",
        f"{LEAST} --payload units --no-scale",
        f"{LEAST} --payload statistics --rank 5 --clip 2.5",
        f"{LEAST.replace('0.5', '2:4')} --seed 0",
    ],
)
def test_a_prune_command_comes_back(line):
    """Every flag, lists, an empty list, values with spaces, values that look like flags, and values filled in."""
    wanted = effective_configuration(make_parser().parse_args(shlex.split(line)))

    found, unknown = prune_command(wanted)

    assert effective_configuration(read(found)) == wanted
    assert unknown == []
    assert read(found).out.name == "DIR"


@pytest.mark.parametrize(
    "line",
    [
        "audit --model demo --data demo --out DIR",
        "audit some/run --seed 3 --out DIR",
        "audit --model demo --data d --protocol additive,bfv --attacks whitened --dp central --epsilon 1 --delta 1e-6 "
        "--adjacency window-replace --out DIR",
        "audit --model demo --masks a.safetensors 'b c.safetensors' --candidates x --non-members y --out DIR",
    ],
)
def test_an_audit_command_comes_back(line):
    """Of played runs, of a recorded one, and of given masks."""
    wanted = configuration(make_parser().parse_args(shlex.split(line)))
    for name in ("cache", "given"):  # no part of what audit.json says
        wanted.pop(name)

    found, unknown = audit_command(wanted)
    again = configuration(read(found))

    assert {name: again[name] for name in wanted} == wanted
    assert unknown == []


def test_a_shell_runs_nothing_else():
    """A hostile value stays one word."""
    value = "x; rm -rf $(echo y) `z` 'q' \"r\" <script>"
    config = configuration(make_parser().parse_args([*shlex.split(LEAST), "--eval-data", value]))

    found, _ = prune_command(config)

    assert read(found).eval_data == value


def test_flags_that_are_not_known_are_named():
    """A result of another version may have them."""
    found, unknown = prune_command({"model": "demo", "newest": 3})

    assert found == "fedprllm prune --model demo --out DIR"
    assert unknown == ["newest"]


def test_switches_are_turned_off_where_they_are_on_by_default():
    """A switch that is off, and one that is on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--on", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--off", action=argparse.BooleanOptionalAction, default=False)

    assert command_of("x", parser, {"on": False, "off": True})[0] == "fedprllm x --no-on --off --out DIR"
    assert command_of("x", parser, {"on": True, "off": False})[0] == "fedprllm x --out DIR"
