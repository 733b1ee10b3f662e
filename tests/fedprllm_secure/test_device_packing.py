"""The torch packer against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedprllm_secure.payloads import device_packing
from fedprllm_secure.payloads.device_packing import pack_on_device
from protocols import Layout, pack

LAYOUTS = [
    *(Layout(2, 64), Layout(9, 20), Layout(65, 10), Layout(1001, 6), Layout(2**32, 2), Layout(2**63 - 1, 1)),
    *(Layout(17, 15, 8), Layout(129, 9, 64), Layout(2**41 + 1, 1, 2**40)),  # signed entries
]


def assert_packs_like_numpy(values: torch.Tensor, layout: Layout) -> None:
    """Compare words, on whatever device the values are."""
    packed = pack_on_device(values, layout, bound=layout.radix - 1 - layout.offset)

    assert (packed.layout, packed.length) == (layout, len(values))
    assert packed.words.dtype == np.uint64
    np.testing.assert_array_equal(packed.words, pack(values.cpu().numpy(), layout))


@given(st.sampled_from(LAYOUTS), st.integers(0, 200), st.integers(0, 2**32))
def test_words_are_those_of_numpy(layout: Layout, length: int, seed: int) -> None:
    """Random entries, some at the bound, lengths across word borders."""
    generator = np.random.default_rng(seed)
    lowest, largest = -layout.offset, layout.radix - 1 - layout.offset
    values = generator.integers(lowest, largest, length, endpoint=True)
    values[generator.random(length) < 0.3] = largest
    values[generator.random(length) < 0.2] = lowest

    assert_packs_like_numpy(torch.from_numpy(values), layout)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64])
def test_every_integer_dtype(dtype: torch.dtype) -> None:
    """Also where a word's digits would overflow the entries' own dtype."""
    assert_packs_like_numpy(torch.tensor([1, 0, 1] * 50).to(dtype), Layout(65, 10))


def test_blocks_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long vector is packed block by block."""
    monkeypatch.setattr(device_packing, "BLOCK_WORDS", 4)

    assert_packs_like_numpy(torch.arange(997) % 9, Layout(9, 20))


@pytest.mark.parametrize("entry", [-1, 2])
def test_entries_out_of_bound_are_refused(entry: int) -> None:
    """A layout for several summands would carry them unseen."""
    with pytest.raises(ValueError, match=r"values must be in \[0, 1\]"):
        pack_on_device(torch.tensor([0, 1, entry]), Layout(9, 20), bound=1)


def test_a_radix_beyond_signed_words_is_refused() -> None:
    """Torch could not multiply by it."""
    with pytest.raises(ValueError, match="radix=9223372036854775808 must be at most 9223372036854775807"):
        pack_on_device(torch.tensor([0]), Layout(2**63, 1), bound=1)


@pytest.mark.parametrize("entry", [-2, 2])
def test_signed_entries_out_of_bound_are_refused(entry: int) -> None:
    """On either side of zero."""
    with pytest.raises(ValueError, match=r"values must be in \[-1, 1\]"):
        pack_on_device(torch.tensor([0, 1, entry]), Layout(17, 15, 8), bound=1)


@pytest.mark.gpu
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_words_on_a_gpu_are_those_of_numpy(layout: Layout) -> None:
    """The device that this is made for."""
    values = torch.randint(-layout.offset, min(layout.radix - layout.offset, 2**62), (100_003,), device="cuda")

    assert_packs_like_numpy(values, layout)
