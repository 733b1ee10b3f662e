"""What a server chooses from totals of votes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.payloads import PartyView, Votes
from fedprllm_secure.sparsity import GROUPS, Sparsity
from tests.fedprllm_secure.oracle import remove_lowest

MATRIX = PrunableMatrix("w", "w.weight", "w.weight", (), False, False, "w", (6, 8))
WEIGHT = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).half()
TOTALS = np.random.default_rng(0).integers(0, 5, 48)


def chosen(totals: NDArray[np.generic], sparsity: str, group: str) -> Tensor:
    """Choose from the totals of one matrix."""
    view = PartyView((MATRIX,), lambda _: WEIGHT)
    flat: Mapping[str, NDArray[np.generic]] = {"w": totals}
    return Votes(sparsity=Sparsity.parse(sparsity), group=group).choose(view, flat, survivors=4)["w"]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("sparsity", ["0.3", "0.5", "2:4"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, np.float32, np.float64])
def test_the_most_voted_weights_go_whatever_the_dtype_of_totals(dtype: type, sparsity: str, group: str) -> None:
    """Then the smallest; 0 votes of a dtype without a sign are the fewest too."""
    keys = list(zip((-TOTALS).tolist(), WEIGHT.abs().flatten().tolist(), strict=True))
    expected = remove_lowest(keys, (6, 8), sparsity, "row" if ":" in sparsity else group)

    assert torch.equal(chosen(TOTALS.astype(dtype), sparsity, group), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_the_largest_total_that_a_dtype_holds_is_the_most(dtype: type) -> None:
    """And the least that it holds the fewest: turning their order round overflows nowhere."""
    totals = np.zeros(48, dtype)
    totals[:24], totals[24:30] = np.iinfo(dtype).max, np.iinfo(dtype).min

    assert chosen(totals, "0.5", "layer").flatten().tolist() == [True] * 24 + [False] * 24


def test_totals_are_left_alone() -> None:
    """Choosing changes none of its inputs."""
    totals = TOTALS.astype(np.uint8)
    chosen(totals, "0.5", "layer")

    assert np.array_equal(totals, TOTALS)
