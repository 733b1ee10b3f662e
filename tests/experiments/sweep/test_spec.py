"""What a sweep asks for, from flags, a file and Python."""

from __future__ import annotations

import pytest

from experiments.cli import make_parser
from experiments.sweep.spec import SweepSpec
from fedprllm_secure.errors import InputError

FILE = """
model: demo
sparsity: [0.5, 2:4]
seed: 0-2
scale: [true, false]
epsilon: [none, 1e-1]
data: ["a,b.txt"]
label-field:
audit:
  runs: 8
"""


def read(tmp_path, text: str) -> SweepSpec:
    """Read a specification from a file with this text."""
    (tmp_path / "sweep.yaml").write_text(text)
    return SweepSpec.read(tmp_path / "sweep.yaml")


def test_file_is_read_as_text(tmp_path):
    """Values stay the text that they are: patterns, numbers, commas in lists; a single value may be a range."""
    spec = read(tmp_path, FILE)

    assert spec.prune == {
        "model": ("demo",),
        "sparsity": ("0.5", "2:4"),
        "seed": ("0", "1", "2"),
        "scale": ("true", "false"),
        "epsilon": ("none", "1e-1"),
        "data": ("a,b.txt",),
        "label-field": ("none",),
    }
    assert spec.audit == {"runs": ("8",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protcol: plain", "names the unknown flag 'protcol'; the nearest is 'protocol'"),
        ("sparsities: 0.5", "unknown flag 'sparsities'; the nearest is 'sparsity'"),
        ("out: x", "unknown flag 'out'"),
        (
            "audit: {labeled-runs: 3}",
            "section audit, names the unknown flag 'labeled-runs'; the nearest is 'labelled-runs'",
        ),
        ("audit: maybe", "audit must be true, false or a mapping"),
        ("model: {a: b}", "model must be a value or a list of values"),
        ("seed: []", "--seed names no value"),
        ("window-length: 3\nwindow_length: 4", "names --window-length twice"),
        ("", "must be a mapping of flag names to values, and not empty"),
        ("- a", "must be a mapping"),
        ("a: [", "is no YAML"),
    ],
)
def test_bad_file_is_refused_in_a_line(tmp_path, text, message):
    """A file that is no sweep is refused, an unknown flag with the nearest that there is."""
    with pytest.raises(InputError, match=message) as refused:
        read(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_missing_file_is_refused(tmp_path):
    """A file that is not there is an error in a line."""
    with pytest.raises(InputError, match="cannot be read"):
        SweepSpec.read(tmp_path / "none.yaml")


def test_flags_win_over_the_file(tmp_path):
    """Flags of the command line stand in for those of the file; audit flags ask for an audit."""
    (tmp_path / "sweep.yaml").write_text("model: demo\nprotocol: [plain, ckks]\n")
    given = ["sweep", str(tmp_path / "sweep.yaml"), "--protocol=additive", "--scale", "--audit-runs=4,8", "--out=x"]

    spec = SweepSpec.of_flags(make_parser().parse_args(given))

    assert spec.prune == {"model": ("demo",), "protocol": ("additive",), "scale": ("true",)}
    assert spec.audit == {"runs": ("4", "8")}
    assert SweepSpec.of_flags(make_parser().parse_args([*given[:3], "--out=x"])).audit is None
    assert SweepSpec.of_flags(make_parser().parse_args([*given[:3], "--audit", "--out=x"])).audit == {}


def test_python_values():
    """Python gives numbers, truth values, None and sequences as they are; unknown names are refused."""
    spec = SweepSpec.of(
        {"window_length": 16, "seed": range(2), "scale": [True, False], "epsilon": [None, 3]}, audit=True
    )

    assert spec.prune["window-length"] == ("16",)
    assert spec.prune["seed"] == ("0", "1")
    assert spec.prune["scale"] == ("true", "false")
    assert spec.prune["epsilon"] == ("none", "3")
    assert spec.audit == {}
    with pytest.raises(InputError, match="unknown flag 'epsilom'; the nearest is 'epsilon'"):
        SweepSpec.of({"epsilom": 3})
