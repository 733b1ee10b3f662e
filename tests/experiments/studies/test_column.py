"""The study of the column group: each mask is what it says, and the answer follows from the numbers."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from experiments.studies import column, column_answer
from experiments.studies.channel_shares import remove_from_channels, removed_by_tenths
from experiments.studies.column_masks import MASKS, Matrix
from experiments.studies.measured import Value, Values
from fedprllm_secure.data import Windows
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.work import WorkFolder

EQUAL = [name for name in MASKS if name.startswith(("column", "flat, column", "flat, position"))]
SHARES = [name for name in MASKS if name.startswith("shares")]


def test_lowest_of_each_column_go_by_keys_then_by_position():
    """Against a sort of each column by hand."""
    generator = torch.Generator().manual_seed(0)
    keys = [torch.randint(0, 3, (7, 5), generator=generator) for _ in range(2)]
    counts = torch.tensor([0, 1, 3, 6, 7])

    found = remove_from_channels(keys, counts)

    for place, count in enumerate(counts.tolist()):
        order = sorted(range(7), key=lambda row: (int(keys[0][row, place]), int(keys[1][row, place]), row))
        assert sorted(found[:, place].nonzero()[:, 0].tolist()) == sorted(order[:count])


def test_tenths_go_from_the_least_energy_to_the_most():
    """Of twenty channels, pairs; the one mask empties the two with the most energy."""
    energy = torch.arange(20.0).flip(0)
    mask = torch.zeros(4, 20, dtype=torch.bool)
    mask[:, :2] = True
    mask[0, 19] = True

    assert removed_by_tenths(mask, energy) == [0.125, *[0.0] * 8, 1.0]
    assert removed_by_tenths(mask, energy, torch.full((4, 20), 0.5)) == [0.5, *[0.0] * 8, 4.0]
    with pytest.raises(ValueError, match="energy=9 channels must be at least 10"):
        removed_by_tenths(mask[:, :9], energy[:9])


def test_every_mask_removes_half_of_each_matrix(draw):
    """And as much of each column as it says: half, or what the layer group takes."""
    for name in draw.votes:
        matrix = Matrix(draw, name)
        rows = matrix.weight.shape[0]
        for variant, mask in MASKS.items():
            removed = mask(matrix).sum(0)
            assert int(removed.sum()) == matrix.weight.numel() // 2
            if variant in EQUAL:
                assert bool((removed == rows // 2).all())
            if variant in SHARES:
                assert torch.equal(removed, draw.prune_masks[name].sum(0))


def test_votes_within_the_layer_groups_shares_are_the_layer_group(draw):
    """With the same order of ties nothing else can come of it, so that cell needs no mask of its own."""
    for name in draw.votes:
        matrix = Matrix(draw, name)
        assert torch.equal(matrix.with_layers_shares(-matrix.votes, matrix.weight.abs()), matrix.by_layer)


@pytest.mark.parametrize(("variant", "method"), [("row", {"group": "row"}), ("column", {"group": "column"})])
def test_masks_are_those_of_a_real_run(draw, tmp_path, variant, method):
    """What the study selects from votes is what a server selects in a run with that group."""
    assert chosen_by(draw, tmp_path, **method) == [masks(draw, variant)[name].tolist() for name in draw.votes]


def test_a_clients_group_of_columns_needs_no_text(draw, tmp_path):
    """Whatever the clients' windows and the server's group, it is the smallest weights of each column."""
    found = chosen_by(draw, tmp_path, local_group="column", group="layer")

    assert found == [masks(draw, "column, client")[name].tolist() for name in draw.votes]


def test_a_conflict_of_groups_is_that_of_a_real_run(draw, tmp_path):
    """Clients that are all alike vote as one."""
    reversed_ = chosen_by(draw, tmp_path / "a", local_group="column", group="row", ties="position")
    flat = chosen_by(draw, tmp_path / "b", pruner="magnitude", group="column", ties="position")

    assert reversed_ == [masks(draw, "reversed, position")[name].tolist() for name in draw.votes]
    assert flat == [masks(draw, "flat, position")[name].tolist() for name in draw.votes]


def masks(draw, variant):
    """A variant's prune masks by matrix."""
    return {name: MASKS[variant](Matrix(draw, name)) for name in draw.votes}


def chosen_by(draw, folder, **method):
    """Prune masks of a run on the draw's windows, in order of the matrices."""
    windows = Windows(draw.calibration, num_clients=3, per_client=2, length=draw.calibration.shape[1])
    work = WorkFolder(folder / "work")
    Federation(draw.model, windows, Method(sparsity=draw.sparsity, **method), work).run()
    places = [(block, m) for block in range(draw.model.num_blocks) for m in prunable_matrices(draw.model, block)]
    return [work.prune_mask(block, matrix).tolist() for block, matrix in places]


def test_measures_of_a_draw(draw):
    """Energy, errors, shares and perplexity against figures by hand."""
    values = Values(column.measure(draw))

    removed = masks(draw, "column")
    assert values.of("error", "column") == [pytest.approx(draw.outputs(removed))]
    kept, lost = values.of("energy kept", "column")[0], 0.0
    by_hand = []
    for name, weight in draw.outputs.weights.items():
        energy = weight.double() ** 2 * draw.outputs.energy(name).double()
        by_hand.append(float(energy[~removed[name]].sum() / energy.sum()))
    assert kept == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
    lost = sum(values.of("energy lost", "column", f"tenth {number}")[0] for number in range(1, 11))
    assert lost == pytest.approx(1 - kept, rel=1e-4)
    assert all(values.of("share removed", "column", f"tenth {number}") == [0.5] for number in range(1, 11))
    unvoted = sum(int((draw.votes[name][mask] == 0).sum()) for name, mask in removed.items())
    total = sum(int(mask.sum()) for mask in removed.values())
    assert values.of("without a vote", "column") == [pytest.approx(unvoted / total)]
    blocks = [values.of("energy kept", "column", f"block {block}")[0] for block in range(2)]
    assert sum(blocks) / 2 == pytest.approx(kept)
    found = {variant: values.of("perplexity", variant)[0] for variant in (column_answer.DENSE, *MASKS)}
    assert len(set(found.values())) == len(found)


def test_table_picture_and_conclusions_are_written(setting, tmp_path, capsys):
    """Every sentence is printed and in the Markdown."""
    values = column.run(out=tmp_path, **asdict(setting))

    assert len((tmp_path / "column.jsonl").read_text().splitlines()) == len(values.all)
    assert (tmp_path / "column.png").read_bytes().startswith(b"\x89PNG")
    printed, written = capsys.readouterr().out, (tmp_path / "column.md").read_text()
    for conclusion in json.loads((tmp_path / "conclusions.json").read_text())["conclusions"]:
        assert conclusion["text"] in printed
        assert f"- {conclusion['text']}" in written


def verdict_of(position: float, magnitude: float) -> str:
    """The verdict where each conflict of groups costs so much by either order of ties, above 30."""
    levels = (position, magnitude, 30.0)
    conflicts = {name: level for each in column_answer.CONFLICTS for name, level in zip(each, levels, strict=True)}
    found = [
        Value(seed=seed, variant=variant, measure="perplexity", place="model", value=value + seed / 100)
        for variant, value in conflicts.items()
        for seed in (0, 1)
    ]
    return column_answer._verdict(Values(found)).text


def test_the_verdict_follows_from_what_is_left_with_ties_by_magnitude():
    """The order of ties, the conflict, both, or nothing to explain."""
    assert "deciding by position" in verdict_of(100, 32)
    assert "the conflict of groups explains the damage" in verdict_of(100, 95)
    assert "explains it alone, as far as these draws tell" in verdict_of(100, 65)
    assert "none is split into parts" in verdict_of(30, 30)


def test_what_hangs_on_no_draw_has_no_interval():
    """Two masks that no text enters differ by as much in every draw."""
    spread = Values(
        [
            Value(seed=seed, variant=name, measure="m", place="model", value=level)
            for seed in (0, 1)
            for name, level in (("a", 3.0), ("b", 1.0))
        ]
    ).difference("m", "a", "b")

    assert [each.text for each in column_answer._told("One", "another", spread)] == [
        "One has higher perplexity than another: +2 whatever the draw."
    ]
