"""The windows of an audit: candidates, strangers, and others, each from text of its own, all of one distribution.

Documents are dealt evenly (`--partition iid`) to as many parts as are needed, two windows a part. A candidate is the
first window of its part; the second, from the same source, is what an attacker holds that knows only the candidate's
source. Parts are shuffled documents, so which parts are candidates makes no difference: members and non-members are the
same candidates under different coins.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from experiments import inputs
from fedprllm_secure.data import TooLittleText
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel

PER_PART = 2
ALTERED_SHARE = 0.1  # of a near-duplicate's tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTexts:
    """Windows by what they are for.

    Attributes:
        ids: int64 (windows, tokens), all of them.
        candidates: numbers of the windows in question, two a target.
        same_source: for each candidate, a window of the same source.
        near_duplicates: for each candidate, a window that differs from it in some tokens.
        strangers: windows that are in no run, for attacks that compare with such.
        population: windows that the attacker holds, of the same distribution.
        companions: windows that fill the victims' slots that nobody asks about.
    """

    ids: Tensor = field(repr=False)
    candidates: np.ndarray
    same_source: np.ndarray
    near_duplicates: np.ndarray
    strangers: np.ndarray
    population: np.ndarray
    companions: np.ndarray


def audit_texts(
    flags: argparse.Namespace,
    model: StreamedModel,
    length: int,
    *,
    candidates: int,
    strangers: int,
    population: int,
    companions: int,
) -> AuditTexts:
    """Cut windows.

    Args:
        flags: as of `prune`: where the text is.
        model: its tokenizer cuts.
        length: tokens a window.
        candidates: how many windows are in question.
        strangers: how many more to compare with.
        population: how many the attacker holds.
        companions: how many fill victims' other slots.

    Raises:
        InputError: the text is too short, or its windows are cut already.
    """
    if inputs.is_cut(flags.data):
        raise InputError(f"--data {flags.data}: an audit draws its own windows from text; give text, not cut windows")
    wanted = {"strangers": strangers, "population": population, "companions": companions}
    parts = candidates + sum(-(-count // PER_PART) for count in wanted.values())
    dealt = argparse.Namespace(**vars(flags) | {"clients": parts, "windows_per_client": PER_PART, "partition": "iid"})
    try:
        ids = inputs.client_windows(dealt, model, length, []).ids
    except TooLittleText as error:
        raise TooLittleText(
            f"--data {flags.data} is too short for {PER_PART * parts} windows of {length} tokens: two each for "
            f"{candidates} windows in question (--targets), and {strangers} of --strangers, {population} of "
            f"--population and {companions} that fill other slots (--clients, --windows-per-client, --canaries); lower "
            "these or --window-length, or give more text"
        ) from error
    numbers = np.arange(parts * PER_PART)
    first, rest = numbers[: candidates * PER_PART].reshape(-1, PER_PART), numbers[candidates * PER_PART :]
    taken = {}
    for name, count in wanted.items():
        share = -(-count // PER_PART) * PER_PART
        taken[name], rest = rest[:count], rest[share:]
    altered = _altered(ids[first[:, 0]], ids[taken["population"]] if population else ids)
    return AuditTexts(
        ids=torch.cat([ids, altered]),
        candidates=first[:, 0],
        same_source=first[:, 1],
        near_duplicates=np.arange(len(ids), len(ids) + candidates),
        **taken,
    )


def _altered(ids: Tensor, others: Tensor) -> Tensor:
    """Replace some tokens by tokens of others' windows; always the same for the same windows."""
    generator = np.random.Generator(np.random.PCG64(0))
    replaced = generator.random(ids.shape) < ALTERED_SHARE
    drawn = generator.choice(others.numpy().reshape(-1), ids.shape)
    return torch.from_numpy(np.where(replaced, drawn, ids.numpy()))
