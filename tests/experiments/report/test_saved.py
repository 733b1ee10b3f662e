"""Votes beside a run: how far clients agree, against a slow count over pairs of clients."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from experiments.report.fields import Unreadable
from experiments.report.layers import chance_of, layers
from experiments.report.runs import Run
from experiments.report.saved import agreement, masks_digest, pairs_alike, place, votes_histogram
from tests.experiments.report.written import private, put, result


def run_with(folder, votes, **changed):
    """Read a run with votes by matrix."""
    put(folder, result(**changed) if changed.get("dp") is None else private(3.0, **changed))
    save_file(votes, folder / "votes.safetensors")
    return Run.read(folder, name=f"R {folder.name}")


@given(st.integers(2, 6), st.integers(1, 30), st.randoms(use_true_random=False))
def test_agreement_is_that_of_pairs(voters, weights, draw):
    """Mean over weights and pairs of clients of treating a weight alike."""
    masks = np.array([[draw.random() < 0.5 for _ in range(weights)] for _ in range(voters)])
    slow = np.mean([(one == other).mean() for one, other in combinations(masks, 2)])

    found = pairs_alike(np.bincount(masks.sum(0), minlength=voters + 1).astype(float))

    assert found == pytest.approx(slow)


def test_agreement_is_by_matrix_and_by_votes(tmp_path):
    """Shares of weights by votes add up to one."""
    votes = {"m.0.a": np.array([[4, 0, 2, 2]], np.int32), "m.1.a": np.array([[4, 4, 0, 0]], np.int32)}

    found = agreement(run_with(tmp_path, votes))

    assert found.by_matrix == pytest.approx({"m.0.a": (1 + 1 + 1 / 3 + 1 / 3) / 4, "m.1.a": 1.0})
    assert found.by_votes == (3 / 8, 0, 2 / 8, 0, 3 / 8)


def test_votes_of_a_block_that_lost_clients_are_shares(tmp_path):
    """Two of two voters are all, as four of four are."""
    content = result()
    content["protocol"]["survivors_by_block"] = [4, 2]
    put(tmp_path, content)
    save_file(
        {"m.0.a": np.array([4, 4], np.int32), "m.1.a": np.array([2, 1], np.int32)}, tmp_path / "votes.safetensors"
    )

    found = agreement(Run.read(tmp_path, name="R1"))

    assert found.by_votes == (0, 0, 0.25, 0, 0.75)
    assert found.by_matrix["m.1.a"] == 0.5


@pytest.mark.parametrize("votes", [np.array([5], np.int32), np.array([-1], np.int32), np.array([1.0], np.float32)])
def test_votes_that_nobody_gave_are_refused(tmp_path, votes):
    """And the report goes on without."""
    run = run_with(tmp_path, {"m.0.a": votes})
    complaints: list[str] = []

    with pytest.raises(Unreadable, match="votes that 4 clients cannot have given"):
        agreement(run)
    layers([run], complaints)
    assert len(complaints) == 1


def test_broken_votes_are_refused(tmp_path):
    """A file cut short, and an empty one."""
    run = run_with(tmp_path / "a", {"m.0.a": np.zeros(3, np.int32)})
    (run.folder / "votes.safetensors").write_bytes(b"12")
    empty = run_with(tmp_path / "b", {"m.0.a": np.zeros(0, np.int32)})

    with pytest.raises(Unreadable, match="cut short or no safetensors"):
        agreement(run)
    with pytest.raises(Unreadable, match="holds no votes"):
        agreement(empty)


def test_no_agreement_where_there_is_none(tmp_path):
    """Noisy votes, other payloads, one client, nothing saved."""
    votes = {"m.0.a": np.zeros(3, np.int32)}
    alone = result(clients=1)
    put(tmp_path / "c", alone)
    save_file(votes, tmp_path / "c" / "votes.safetensors")

    assert agreement(run_with(tmp_path / "a", votes, dp="distributed")) is None
    assert agreement(run_with(tmp_path / "b", votes, payload="units")) is None
    assert agreement(Run.read(tmp_path / "c", name="R1")) is None
    assert agreement(Run.read(put(tmp_path / "d", result()), name="R1")) is None
    assert masks_digest(Run.read(tmp_path / "d", name="R1")) is None


def test_equal_maps_are_drawn_once(tmp_path):
    """Protocols that add exactly give the same votes."""
    votes = {"m.0.a": np.array([4, 0, 1], np.int32)}
    runs = [run_with(tmp_path / name, votes, protocol=name) for name in ("plain", "additive")]
    other = run_with(tmp_path / "ckks", {"m.0.a": np.array([2, 2, 2], np.int32)}, protocol="ckks")

    titles = [block.title for block in layers([*runs, other], []).blocks if hasattr(block, "drawing")]

    assert titles == [
        "Agreement between clients, by matrix: plain and additive",
        "Agreement between clients, by matrix: ckks",
        "Agreement between clients: weights by votes",
    ]


def test_places_of_matrices():
    """Block and kind; experts of a block are one; what has no block has none."""
    assert place("model.layers.12.mlp.experts.7.up") == (12, "mlp.experts.*.up")
    assert place("h.3.attn") == (3, "attn")
    assert place("lm_head") == (None, "lm_head")


def test_blind_agreement():
    """Half removed: half agree; none removed: all."""
    assert (chance_of(0.5), chance_of(0.0)) == (0.5, 1.0)


def test_histogram_counts_every_weight(tmp_path):
    """Of any shape."""
    assert votes_histogram(np.array([[0, 2], [2, 2]]), 3, file=tmp_path).tolist() == [1, 0, 3, 0]
