"""Cells: combinations of values, less what does not apply, and their names."""

from __future__ import annotations

import pytest

from experiments.sweep.cells import cells_of, model_digest
from experiments.sweep.spec import SweepSpec
from fedprllm_secure.errors import InputError

BASE = {"model": "demo", "data": "demo", "clients": 8, "sparsity": "0.5"}
NOISE = {"dp": "central", "delta": "1e-5", "adjacency": "client-zero-out"}


def cells(**flags: object):
    """List the cells of a sweep of the demo."""
    return cells_of(SweepSpec.of(BASE | flags), digest_of=lambda source: f"digest of {source}")


def test_every_combination_is_a_cell():
    """Three protocols, two sparsities and two seeds make twelve cells of different names."""
    found = cells(protocol=["plain", "additive", "ckks"], sparsity=["0.5", "0.7"], seed=range(2))

    assert len({cell.name for cell in found}) == 12
    assert [cell.flags["seed"] for cell in found[:2]] == ["0", "1"]


def test_epsilon_none_is_the_cell_without_noise_once():
    """Noise flags leave a cell without noise: it stands once for each protocol, however many deltas there are."""
    found = cells(protocol=["plain", "ckks"], epsilon=["none", 1, 3], **NOISE | {"delta": ["1e-5", "1e-6"]})

    without = [cell for cell in found if "dp" not in cell.flags]
    assert len(without) == 2
    assert len(found) == 2 + 2 * 2 * 2
    assert all({"epsilon", "delta", "adjacency"}.isdisjoint(cell.flags) for cell in without)


def test_noise_multiplier_keeps_noise_where_epsilon_is_none():
    """An epsilon that is not given leaves the noise multiplier to find the noise."""
    (found,) = cells(epsilon="none", noise_multiplier=3, **NOISE)

    assert found.flags["noise-multiplier"] == "3"
    assert found.flags["dp"] == "central"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"payload": ["votes", "statistics"], "ties": ["magnitude", "random"]}, 3),
        ({"schedule": ["one-shot", "iterative"], "propagate": ["local", "dense"]}, 3),
        ({"payload": ["votes", "statistics"], "propagate": ["local", "dense"]}, 3),
        ({"protocol": ["plain", "additive"], "graph": ["complete", "sparse"], "neighbours": [4, 6]}, 4),
        ({"sparsity": ["0.5", "2:4"], "group": ["layer", "row"]}, 3),
        ({"payload": ["votes", "units"], "scale": [True, False]}, 3),
        ({"partition": ["iid", "dirichlet:0.5"], "label_field": ["a", "b"]}, 3),
        ({"baselines": ["dense", "dense,local"], "local_only_clients": [1, 2]}, 3),
        ({"rank": [10, 20], "payload": ["votes", "statistics"], "epsilon": 1, **NOISE}, 3),
    ],
)
def test_flags_without_meaning_make_no_cells(flags, expected):
    """A flag that the other flags of a cell leave without meaning does not multiply it."""
    assert len(cells(**flags)) == expected


def test_spellings_of_one_configuration_are_one_cell():
    """A default that is written out is the same cell; another device or batch size is another."""
    assert cells(protocol="plain", group="layer")[0].name == cells()[0].name
    assert len({cell.name for cell in cells(device=["auto", "cpu", "cuda"], batch_windows=[1, 2])}) == 6


def test_flag_that_applies_to_no_cell_is_refused():
    """A flag without any effect is more likely a mistake."""
    with pytest.raises(InputError, match="--rank 10,20 applies to no cell of this sweep"):
        cells(rank=[10, 20])


@pytest.mark.parametrize(
    ("flags", "message"),
    [({"protocol": ["plain", "addtive"]}, "--protocol.*invalid choice: 'addtive'"), ({"seed": "x"}, "'x' must be")],
)
def test_value_that_is_none_is_refused(flags, message):
    """A mistyped value refuses the sweep before anything is run."""
    with pytest.raises(InputError, match=message):
        cells(**flags)


def test_missing_flag_is_refused():
    """A sweep without a model has no cells."""
    with pytest.raises(InputError, match="the following arguments are required: --model"):
        cells_of(SweepSpec.of({"data": "demo", "clients": 8, "sparsity": "0.5"}), digest_of=lambda _: None)


def test_name_hangs_on_the_model_and_not_on_the_text(inputs, tmp_path):
    """Another model of the same place is another cell; other private text in the same file is not."""
    text = tmp_path / "private.txt"
    spec = SweepSpec.of(BASE | {"model": inputs.model, "data": text})
    text.write_text("one")
    (first,) = cells_of(spec, digest_of=model_digest)
    text.write_text("other")

    assert cells_of(spec, digest_of=model_digest)[0].name == first.name
    assert cells_of(spec, digest_of=lambda _: "other")[0].name != first.name
    assert model_digest(str(tmp_path)) is None
