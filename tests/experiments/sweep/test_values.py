"""What a flag of a sweep names: values, ranges and lists."""

from __future__ import annotations

import pytest

from experiments.sweep.commands import LISTS, audit_actions, prune_actions
from experiments.sweep.values import argument, split_values
from fedprllm_secure.errors import InputError


def split(name: str, text: str) -> tuple[str, ...]:
    """Split values of a flag of prune or, with ``audit-`` in front, of audit."""
    actions = audit_actions() if name.startswith("audit-") else prune_actions()
    return split_values(actions[name.removeprefix("audit-")], text, lists=LISTS)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("protocol", "plain,additive, ckks", ("plain", "additive", "ckks")),
        ("epsilon", "none,1,3,8,1", ("none", "1", "3", "8")),
        ("seed", "0-2,7", ("0", "1", "2", "7")),
        ("clients", "8-8", ("8",)),
        ("sparsity", "0.5,2:4", ("0.5", "2:4")),
        ("eval-data", "2-4.txt", ("2-4.txt",)),
        ("baselines", "dense,central;dense;", ("dense,central", "dense", "")),
        ("audit-attacks", "blind,similarity", ("blind,similarity",)),
    ],
)
def test_values_of_a_flag(name, text, values):
    """Commas part values, semicolons those of list flags; whole numbers may be ranges; nothing stands twice."""
    assert split(name, text) == values


@pytest.mark.parametrize("text", ["", " ", "plain,,ckks", ","])
def test_missing_value_is_refused(text):
    """An empty selection is an error that names the flag."""
    with pytest.raises(InputError, match=r"--protocol .* names no value"):
        split("protocol", text)


@pytest.mark.parametrize("text", ["4-0", "0-10000"])
def test_range_upside_down_or_endless_is_refused(text):
    """A range counts up, and not for ever."""
    with pytest.raises(InputError, match=f"--seed {text} must be a range from the smaller number"):
        split("seed", text)


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("scale", "true", ["--scale"]),
        ("scale", "false", ["--no-scale"]),
        ("save-model", "false", []),
        ("epsilon", "none", []),
        ("dp", "none", ["--dp=none"]),
        ("baselines", "none", ["--baselines="]),
        ("data", "a,b.txt", ["--data=a,b.txt"]),
    ],
)
def test_argument_of_a_value(name, value, arguments):
    """A value is what the command's own line would have; ``none`` leaves a flag away."""
    assert argument(prune_actions()[name], value) == arguments


def test_switch_takes_true_or_false_only():
    """A flag that is on or off is nothing else."""
    with pytest.raises(InputError, match="--scale 'yes' must be true or false"):
        argument(prune_actions()["scale"], "yes")
