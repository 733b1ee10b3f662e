"""Draws of clients for studies of votes: their flags, and what a draw holds."""

from __future__ import annotations

import argparse

import pytest
import torch

from experiments.studies.voters import Setting, add_voter_flags, draws, seed_list
from fedprllm_secure.errors import InputError


def test_seeds_are_a_range_or_a_list():
    """As prune's own sweeps take them."""
    assert seed_list("0-2") == (0, 1, 2)
    assert seed_list("7,3") == (7, 3)


@pytest.mark.parametrize("text", ["0", "1,1", "one,two", "", "-3,4", "3-1"])
def test_seeds_that_give_no_interval_are_refused(text):
    """One draw has no interval, and words are no seeds."""
    with pytest.raises(argparse.ArgumentTypeError, match="at least two different whole numbers"):
        seed_list(text)


def test_flags_have_defaults_and_say_the_minutes():
    """A parser gets them all, and its description says what the study takes."""
    parser = argparse.ArgumentParser(description="Why.")
    add_voter_flags(parser, sparsity="0.6", minutes=3)

    assert parser.description == "Why. As it is, it takes about 3 minutes on two cores."
    assert vars(parser.parse_args([])) == {
        "model": "demo",
        "data": "demo",
        "eval_data": None,
        "clients": 8,
        "windows_per_client": 2,
        "eval_windows": 32,
        "seeds": (0, 1, 2, 3, 4),
        "sparsity": "0.6",
    }


def test_a_pattern_is_refused():
    """Under N:M no comparison group is chosen."""
    with pytest.raises(InputError, match=r"--sparsity 2:4 must be a fraction"):
        Setting(sparsity="2:4", seeds=(0, 1))


def test_text_for_perplexity_is_needed(inputs):
    """A file of text has no other part to measure on."""
    setting = Setting(
        model=str(inputs.model), data=str(inputs.text), clients=3, windows_per_client=1, seeds=(0,), sparsity="0.5"
    )

    with pytest.raises(InputError, match="--eval-data must name the text"):
        next(iter(draws(setting)))


def test_a_draw_holds_the_votes_of_a_real_run(draw):
    """Every client marks half of every row; the layer group removes as many, the most-voted ones."""
    assert draw.votes.keys() == draw.prune_masks.keys() == draw.outputs.weights.keys()
    for name, votes in draw.votes.items():
        rows, columns = votes.shape
        assert torch.equal(votes.sum(1), torch.full((rows,), draw.voters * (columns // 2)))
        removed = draw.prune_masks[name]
        assert int(removed.sum()) == rows * columns // 2
        assert votes[removed].min() >= votes[~removed].max() - 1
        assert votes[removed].double().mean() > votes[~removed].double().mean()
    assert draw.calibration.shape == (6, 64)
    assert draw.evaluation.shape == (4, 64)
