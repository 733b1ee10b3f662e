"""Windows of an audit: each of text of its own, and what the attacker may hold of a candidate instead of its text."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.audit.texts import ALTERED_SHARE, AuditTexts, audit_texts
from fedprllm_secure.data import DataError, TooLittleText
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel
from tests.experiments.conftest import LENGTH, Inputs
from tests.fedprllm_secure.tiny_models import CPU

COUNTS = {"candidates": 6, "strangers": 3, "population": 5, "companions": 4}


@pytest.fixture(scope="module")
def tokenized(inputs: Inputs) -> StreamedModel:
    """A tiny model with a tokenizer."""
    return StreamedModel(inputs.model, device=CPU)


def drawn(inputs: Inputs, model: StreamedModel, **changed: object) -> AuditTexts:
    """Cut windows of the tiny text."""
    flags = {"data": str(inputs.text), "text_field": None, "seed": 0, "client_field": None, "label_field": None}
    return audit_texts(argparse.Namespace(**flags | changed), model, LENGTH, **COUNTS)


def test_every_window_is_for_one_thing(inputs: Inputs, tokenized: StreamedModel) -> None:
    """As many of each as asked for, no two the same row, and no two of the same tokens."""
    found = drawn(inputs, tokenized)
    parts = {name: getattr(found, name) for name in (*COUNTS, "same_source", "near_duplicates")}
    counts = COUNTS | {"same_source": 6, "near_duplicates": 6}

    assert {name: len(rows) for name, rows in parts.items()} == counts
    rows = np.concatenate(list(parts.values()))
    assert len(np.unique(rows)) == len(rows) == 30
    assert found.ids.shape[1] == LENGTH
    # A near-duplicate of so few tokens may be the candidate itself.
    assert len(np.unique(found.ids[np.setdiff1d(rows, found.near_duplicates)].numpy(), axis=0)) == 24


def test_other_text_of_a_source_follows_the_candidate(inputs: Inputs, tokenized: StreamedModel) -> None:
    """It is the second window of the candidate's part."""
    found = drawn(inputs, tokenized)

    assert np.array_equal(found.same_source, found.candidates + 1)


def test_near_duplicates_differ_in_some_tokens(inputs: Inputs, tokenized: StreamedModel) -> None:
    """About a tenth of them, drawn from tokens of the population, the same each time."""
    found, again = drawn(inputs, tokenized), drawn(inputs, tokenized)
    own, near = (found.ids[rows].numpy() for rows in (found.candidates, found.near_duplicates))
    differs = own != near

    assert 0 < differs.mean() < 3 * ALTERED_SHARE
    assert np.isin(near[differs], found.ids[found.population].numpy()).all()
    assert np.array_equal(found.ids, again.ids)


def test_another_seed_deals_other_parts(inputs: Inputs, tokenized: StreamedModel) -> None:
    """Text is dealt by the seed."""
    assert not np.array_equal(drawn(inputs, tokenized).ids, drawn(inputs, tokenized, seed=1).ids)


def test_windows_that_are_cut_already_are_refused(inputs: Inputs, tokenized: StreamedModel) -> None:
    """Nothing tells which of them are of one source."""
    cut = str(inputs.folder / "windows.safetensors")

    with pytest.raises(InputError, match=rf"--data {cut}: an audit draws its own windows from text"):
        drawn(inputs, tokenized, data=cut)


def test_too_little_text_is_refused(inputs: Inputs, tokenized: StreamedModel, tmp_path: Path) -> None:
    """Nothing is repeated to fill it up."""
    short = tmp_path / "short.txt"
    short.write_text("the server adds votes of clients\n" * 20)

    says = (
        f"--data {short} is too short for 26 windows of {LENGTH} tokens: two each for 6 windows in question "
        "(--targets), and 3 of --strangers, 5 of --population and 4 that fill other slots (--clients, "
        "--windows-per-client, --canaries); lower these or --window-length, or give more text"
    )
    with pytest.raises(TooLittleText, match=re.escape(says)):
        drawn(inputs, tokenized, data=str(short))


def test_flags_that_say_which_text_are_taken(inputs: Inputs, tokenized: StreamedModel) -> None:
    """The column of rows, for one."""
    rows = str(inputs.folder / "rows.jsonl")

    with pytest.raises(DataError, match="none"):
        drawn(inputs, tokenized, data=rows, text_field="none")
    with pytest.raises(TooLittleText, match="is too short for 26 windows"):  # read, and too short
        drawn(inputs, tokenized, data=rows, text_field="topic")
