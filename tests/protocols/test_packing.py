"""The packed layout against Python's big integers, known answers, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import packing
from protocols.packing import Layout, PackedVector, accumulate, check_words, pack, unpack

BIT = Layout(2, 64)


def slow_pack(values, layout):
    """Return the words by the definition, one big integer at a time."""
    values = [int(value) for value in values]
    lanes = layout.lanes
    return [
        sum(value * layout.radix**lane for lane, value in enumerate(values[start : start + lanes]))
        for start in range(0, len(values), lanes)
    ]


@st.composite
def vectors(draw):
    """Draw a layout and entries that reach its largest digit."""
    radix = draw(
        st.one_of(st.sampled_from([2, 3, 9, 65, 256, 257, 2**32, 2**63, 2**64 - 1]), st.integers(2, 2**64 - 1))
    )
    most = next(lanes for lanes in range(64, 0, -1) if radix**lanes <= 2**64)
    layout = Layout(radix, draw(st.integers(1, most)))
    length = draw(st.sampled_from([0, 1, 63, 64, 65, 128, 200]))
    digit = st.one_of(st.sampled_from([0, radix - 1]), st.integers(0, radix - 1))
    return layout, np.array(draw(st.lists(digit, min_size=length, max_size=length)), np.uint64)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(vectors())
def test_packing_agrees_with_big_integers(case):
    """Words are the positional notation of the definition, and unpacking gives the entries back."""
    layout, values = case
    words = pack(values, layout)

    assert words.dtype == np.uint64
    assert words.tolist() == slow_pack(values, layout)
    assert unpack(words, layout, len(values)).tolist() == values.tolist()


@pytest.mark.parametrize("radix", [2, 3, 9, 65, 127, 128, 255, 256, 257])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.uint16])
def test_narrow_entries_make_the_same_words(radix, dtype):
    """However many one-byte entries are merged at a time, whatever the lanes, and from a view with a stride."""
    largest = min(radix - 1, int(np.ones(1, dtype)[0]) if dtype is np.bool_ else np.iinfo(dtype).max)
    most = next(lanes for lanes in range(64, 0, -1) if radix**lanes <= 2**64)
    for lanes in range(1, most + 1):
        values = np.random.default_rng(lanes).integers(0, largest, 5 * lanes + 3, endpoint=True).astype(dtype)
        values[: 2 * lanes] = largest
        layout = Layout(radix, lanes)

        assert pack(values, layout).tolist() == slow_pack(values, layout)
        assert pack(np.repeat(values, 2)[::2], layout).tolist() == slow_pack(values, layout)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 1000])
@pytest.mark.parametrize("lanes", [64, 63])
def test_bits_and_digits_make_the_same_words(length, lanes):
    """The fast path for radix 2 and the general path follow one definition."""
    values = np.random.default_rng(length).integers(0, 2, length)
    layout = Layout(2, lanes)

    assert pack(values, layout).tolist() == slow_pack(values, layout)
    assert unpack(pack(values, layout), layout, length).tolist() == values.tolist()


@pytest.mark.parametrize("layout", [BIT, Layout(9, 20), Layout(1001, 6)], ids=str)
def test_blocks_join_without_a_seam(layout, monkeypatch):
    """Vectors longer than a block are packed, unpacked and added as one."""
    monkeypatch.setattr(packing, "BLOCK_WORDS", 3)
    values = np.random.default_rng(0).integers(0, layout.radix, 7 * 3 * layout.lanes + 5)
    words = pack(values, layout)
    totals = np.arange(len(values), dtype=np.int64)
    accumulate(totals, words, layout)

    assert words.tolist() == slow_pack(values, layout)
    assert unpack(words, layout, len(values)).tolist() == values.tolist()
    assert (totals == values + np.arange(len(values))).all()


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_every_integer_dtype_packs_alike(dtype):
    """The words depend on the entries, not on how the caller stores them, contiguous or not."""
    values = np.random.default_rng(0).integers(0, 2, 300).astype(dtype)
    for layout in (BIT, Layout(9, 20)):
        assert pack(values[::2], layout).tolist() == slow_pack(values[::2], layout)


@pytest.mark.parametrize(
    ("summands", "bound", "capacity", "radix", "lanes"),
    [
        (1, 1, 2**64, 2, 64),
        (8, 1, 2**64, 9, 20),
        (64, 1, 2**64, 65, 10),
        (1000, 1, 2**64, 1001, 6),
        (4, 2**40, 2**64, 2**42 + 1, 1),
        (1, 255, 2**64, 256, 8),
        (64, 1, 65**8, 65, 8),
        (64, 1, 65**8 - 1, 65, 7),
    ],
)
def test_known_layouts(summands, bound, capacity, radix, lanes):
    """Twenty votes a word for 8 clients, ten for 64, as many as the capacity holds and not one more."""
    assert Layout.for_sum(summands, bound, capacity) == Layout(radix, lanes)


def test_known_words():
    """Words written down once: little-endian positional notation."""
    assert pack(np.array([1, 0, 1, 1]), BIT).tolist() == [0b1101]
    assert pack(np.ones(65, bool), BIT).tolist() == [2**64 - 1, 1]
    assert pack(np.arange(9), Layout(10, 3)).tolist() == [210, 543, 876]
    assert pack(np.array([64] * 11), Layout(65, 10)).tolist() == [65**10 - 1, 64]
    assert pack(np.array([8] * 20), Layout(9, 20)).tolist() == [9**20 - 1]
    assert pack(np.array([1, 0, 1, 1]), BIT).astype("<u8").tobytes() == b"\x0d" + bytes(7)


def test_sums_of_words_are_words_of_sums():
    """Adding the words of as many vectors as the layout is for adds the entries and carries nowhere."""
    layout = Layout.for_sum(64, 1)
    ones = pack(np.ones(1001, np.uint8), layout, bound=1)
    total = sum([ones] * 64, start=np.zeros_like(ones))

    assert (unpack(total, layout, 1001) == 64).all()


def test_unpack_uses_the_smallest_dtype():
    """Votes come back as bytes, not as words."""
    assert unpack(pack(np.ones(3, bool), BIT), BIT, 3).dtype == np.uint8
    assert unpack(np.zeros(1, np.uint64), Layout(257, 7), 3).dtype == np.uint16


@pytest.mark.parametrize(
    ("radix", "lanes", "match"),
    [
        (1, 1, r"radix=1 must be in \[2, 2\*\*64\)"),
        (2**64, 1, r"must be in \[2, 2\*\*64\)"),
        (2, 0, "lanes=0 must be at least 1"),
        (2, 65, "lanes=65 of radix=2 must fit a word of 64 bits"),
        (65, 11, "lanes=11 of radix=65 must fit a word of 64 bits"),
    ],
)
def test_impossible_layouts_are_refused(radix, lanes, match):
    """A layout whose words could overflow does not exist."""
    with pytest.raises(ValueError, match=match):
        Layout(radix, lanes)


@pytest.mark.parametrize(
    ("summands", "bound", "capacity", "match"),
    [
        (0, 1, 2**64, "summands=0 must be at least 1"),
        (1, 0, 2**64, "bound=0 must be at least 1"),
        (64, 2**58, 2**64, f"bound={2**58} must be at most {2**58 - 1} for 64 summands a word"),
        (8, 1, 8, "bound=1 must be at most 0 for 8 summands a word"),
        (1, 2**64 - 1, 2**64, f"bound={2**64 - 1} must be at most {2**64 - 2} for 1 summands a word"),
    ],
)
def test_sums_that_overflow_a_lane_are_refused(summands, bound, capacity, match):
    """A total that does not fit a single lane is refused when the layout is chosen."""
    with pytest.raises(ValueError, match=match):
        Layout.for_sum(summands, bound, capacity)


@pytest.mark.parametrize(
    ("values", "bound", "match"),
    [
        (np.array([0, 3]), None, r"values must be in \[0, 2\]"),
        (np.array([0, 2]), 1, r"values must be in \[0, 1\]"),
        (np.array([0, -1]), None, r"values must be in \[0, 2\]"),
        (np.array([2**64 - 1], np.uint64), None, r"values must be in \[0, 2\]"),
        (np.array([0.0, 1.0]), None, "values with dtype float64 must be integers or bool"),
        (np.array(["1"]), None, "values with dtype <U1 must be integers or bool"),
        (np.array([[1]]), None, r"values with shape \(1, 1\) must have shape \(length,\)"),
        (np.array([0, 3, 1], np.uint8).view(bool), None, "values with dtype bool must be bytes 0 or 1"),
        (np.repeat(np.array([1, 255], np.uint8), 2)[::2].view(bool), 1, "values with dtype bool must be bytes 0 or 1"),
        (np.array([1]), 3, "bound=3 must be between 1 and 2"),
        (np.array([1]), 0, "bound=0 must be between 1 and 2"),
    ],
)
def test_bad_entries_are_refused(values, bound, match):
    """Nothing is clipped, wrapped or rounded."""
    with pytest.raises(ValueError, match=match):
        pack(values, Layout(3, 4), bound=bound)


@pytest.mark.parametrize(
    ("words", "length", "match"),
    [
        (np.zeros(2, np.uint64), 4, r"words with shape \(2,\) and dtype uint64 must be uint64 \(1,\)"),
        (np.zeros(1, np.int64), 4, "dtype int64 must be uint64"),
        (np.zeros((1, 1), np.uint64), 4, "must be uint64"),
        (np.array([3**4], np.uint64), 4, r"words must be below 3\*\*4"),
        (np.array([3**4, 0], np.uint64), 8, r"words must be below 3\*\*4"),
        (np.array([9], np.uint64), 2, "the lanes past the last entry must be zero"),
        (np.array([0, 3], np.uint64), 5, "the lanes past the last entry must be zero"),
    ],
)
def test_words_that_pack_could_not_make_are_refused(words, length, match):
    """Words are checked wherever they come in."""
    layout = Layout(3, 4)
    for use in (
        lambda: check_words(words, layout, length),
        lambda: unpack(words, layout, length),
        lambda: accumulate(np.zeros(length, np.int64), words, layout),
        lambda: PackedVector(words, layout, length),
    ):
        with pytest.raises(ValueError, match=match):
            use()


def test_a_packed_vector_does_not_print_its_words():
    """Entries stay out of logs."""
    vector = PackedVector(np.array([77], np.uint64), BIT, 7)

    assert repr(vector) == "PackedVector(layout=Layout(radix=2, lanes=64, offset=0), length=7)"


def test_packing_does_not_depend_on_its_input_afterwards():
    """Words are the caller's own: changing the input later changes nothing."""
    values = np.ones(64, np.uint8)
    words = pack(values, BIT)
    values[:] = 0

    assert words.tolist() == [2**64 - 1]
