"""Selection by partition marks exactly what a full sort would."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedprllm_secure import selection
from fedprllm_secure.selection import select, tie_order
from fedprllm_secure.sparsity import GROUPS, Sparsity
from tests.fedprllm_secure.oracle import remove_lowest

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
]  # fmt: skip


@st.composite
def tied_keys(draw: st.DrawFn, column_unit: int = 1) -> list[Tensor]:
    """Draw one to three keys of few values, so that ties abound."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6)) * column_unit
    shape = (rows, columns)
    keys = []
    for _ in range(draw(st.integers(1, 3))):
        values = draw(st.lists(st.integers(-2, 2), min_size=rows * columns, max_size=rows * columns))
        keys.append(torch.tensor(values).view(shape).to(draw(st.sampled_from(DTYPES))))
    return keys


def sorted_selection(keys: list[Tensor], sparsity: str, group: str) -> Tensor:
    """Select by a full sort of (keys, position)."""
    flat = list(zip(*(key.flatten().tolist() for key in keys), strict=True))
    return remove_lowest(flat, keys[0].shape, sparsity, group)


@settings(max_examples=150, deadline=None)
@given(tied_keys(), st.sampled_from(["0.01", "0.29", "0.5", "0.7", "0.99"]), st.sampled_from(GROUPS))
def test_fractions_equal_a_full_sort(keys: list[Tensor], sparsity: str, group: str) -> None:
    """Lowest first key, then second, ..., then position, in every group."""
    assert torch.equal(select(keys, Sparsity.parse(sparsity), group), sorted_selection(keys, sparsity, group))


@settings(max_examples=80, deadline=None)
@given(tied_keys(column_unit=8), st.sampled_from(["1:2", "2:4", "4:8", "1:4", "3:4"]), st.sampled_from(GROUPS))
def test_patterns_equal_a_full_sort(keys: list[Tensor], pattern: str, group: str) -> None:
    """N:M keeps the N highest of every M consecutive inputs of a row."""
    assert torch.equal(select(keys, Sparsity.parse(pattern), group), sorted_selection(keys, pattern, "row"))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("extremes", [False, True], ids=["finite", "infinite"])
def test_large_float_keys_equal_a_full_sort(group: str, extremes: bool) -> None:
    """Random floats, with and without infinities and the extremes of an integer key among the ties."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 4, (40, 30), generator=generator)
    second = torch.randn(40, 30, generator=generator)
    if extremes:
        first[first == 3] = torch.iinfo(torch.int64).max
        second[second > 0.5] = torch.inf
    third = torch.randint(-3, 3, (40, 30), generator=generator)
    keys = [first, second, third]
    for sparsity in ("0.1", "0.55", "0.9"):
        assert torch.equal(select(keys, Sparsity.parse(sparsity), group), sorted_selection(keys, sparsity, group))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("group", GROUPS)
def test_floats_without_a_sign_equal_a_full_sort(dtype: torch.dtype, group: str) -> None:
    """Zeros, infinities, the smallest numbers that there are, and ties; as the first key and among ties."""
    generator = torch.Generator().manual_seed(2)
    key = torch.randn(24, 20, generator=generator).abs().to(dtype)
    key[key > 1.5] = torch.inf
    key[:, ::5] = 0
    key[:, 1::5] = torch.finfo(dtype).smallest_normal * key[:, 1::5] / 2
    votes = torch.randint(0, 3, (24, 20), generator=generator)
    for keys in ([key], [key, votes], [votes, key]):
        for sparsity in ("0.1", "0.4", "0.9"):
            assert torch.equal(select(keys, Sparsity.parse(sparsity), group), sorted_selection(keys, sparsity, group))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([torch.int8, torch.uint8, torch.int32, torch.int64]),
    st.sampled_from([0, 1, 2, 9, 254, 255, 256, 1000, 2**40]),
    st.sampled_from(["0.02", "0.5", "0.7", "0.98"]),
    st.integers(0, 2**32),
)
def test_integers_of_few_and_many_values_equal_a_full_sort(
    dtype: torch.dtype, most: int, sparsity: str, seed: int
) -> None:
    """Votes of one large group, with as many values as a dtype has room for, from its lowest on or around 0."""
    generator = torch.Generator().manual_seed(seed)
    info = torch.iinfo(dtype)
    most = min(most, info.max - info.min)
    votes = torch.randint(0, most + 1, (11, 13), generator=generator)
    votes[0, 0], votes[-1, -1] = 0, most
    for lowest in {info.min, max(-(most // 2), info.min)}:
        keys = [(votes + lowest).to(dtype), torch.randn(11, 13, generator=generator).half()]
        assert torch.equal(select(keys, Sparsity.parse(sparsity), "layer"), sorted_selection(keys, sparsity, "layer"))


def test_all_equal_keys_go_by_position() -> None:
    """With nothing to tell them apart, the first entries of each group go."""
    keys = [torch.zeros(2, 4)]
    assert select(keys, Sparsity.parse("0.5"), "row").tolist() == [[True, True, False, False]] * 2
    assert select(keys, Sparsity.parse("0.5"), "layer").tolist() == [[True] * 4, [False] * 4]
    assert select(keys, Sparsity.parse("0.5"), "column").tolist() == [[True] * 4, [False] * 4]
    assert select(keys, Sparsity.parse("1:2"), "layer").tolist() == [[True, False, True, False]] * 2


def test_a_group_too_small_for_one_weight_keeps_all() -> None:
    """floor(0.3 x 3) is 0: nothing goes."""
    assert not select([torch.randn(4, 3)], Sparsity.parse("0.3"), "row").any()


@pytest.mark.parametrize("group", GROUPS)
def test_negative_zero_ties_with_zero(group: str) -> None:
    """-0.0 and 0.0 are equal: position decides."""
    found = select([torch.tensor([[0.0, -0.0], [-0.0, 0.0]])], Sparsity.parse("0.5"), group)
    expected = {"layer": [[True, True], [False, False]], "row": [[True, False]] * 2}
    assert found.tolist() == expected.get(group, [[True, True], [False, False]])


def test_keys_are_left_alone() -> None:
    """Selection changes none of its inputs."""
    keys = [torch.randint(0, 2, (6, 8)), torch.randn(6, 8)]
    copies = [key.clone() for key in keys]
    for group in GROUPS:
        select(keys, Sparsity.parse("0.5"), group)
    assert all(torch.equal(key, before) for key, before in zip(keys, copies, strict=True))


def test_magnitude_ties_put_the_smallest_weight_first() -> None:
    """The key is |W|."""
    (key,) = tie_order("magnitude", torch.tensor([[-3.0, 1.0], [0.5, -0.25]]), seed=0, name="q")
    assert key.tolist() == [[3.0, 1.0], [0.5, 0.25]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_magnitude_ties_see_every_bit_of_the_weight(dtype: torch.dtype) -> None:
    """Weights that are one number in half precision, or none there at all, still have an order."""
    close = 1 + torch.finfo(dtype).eps
    weight = torch.tensor([[close, 1.0, -1e-30, 1e-31], [-3e30, 2e30, -1.0, -close]], dtype=dtype)
    order = tie_order("magnitude", weight, seed=0, name="q")
    equal_votes = torch.ones(2, 4, dtype=torch.int32)

    assert select([-equal_votes, *order], Sparsity.parse("0.25"), "row").tolist() == [
        [False, False, False, True],
        [False, False, True, False],
    ]
    assert select([-equal_votes, *order], Sparsity.parse("0.75"), "row").tolist() == [
        [False, True, True, True],
        [False, True, True, True],
    ]


@pytest.mark.parametrize("group", GROUPS)
def test_bfloat16_keys_select_as_wider_ones(group: str) -> None:
    """Numpy knows no bfloat16; keys of that dtype, first or later, mark what the same numbers in float64 mark."""
    generator = torch.Generator().manual_seed(1)
    keys = [torch.randint(-3, 4, (8, 12), generator=generator) for _ in range(2)]
    half, wide = [key.bfloat16() for key in keys], [key.double() for key in keys]
    for sparsity in ("0.25", "0.5", "2:4"):
        expected = sorted_selection(wide, sparsity, "row" if ":" in sparsity else group)
        assert torch.equal(select(half, Sparsity.parse(sparsity), group), expected)


@pytest.mark.parametrize("group", GROUPS)
def test_selection_needs_no_numpy(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done on other devices marks what is done on a CPU."""
    generator = torch.Generator().manual_seed(3)
    keys = [torch.randint(0, 4, (20, 24), generator=generator), torch.randn(20, 24, generator=generator).half()]
    for sparsity in ("0.2", "0.5", "0.9", "2:4"):
        by_numpy = select(keys, Sparsity.parse(sparsity), group)
        with monkeypatch.context() as patched:
            patched.setattr(selection, "_suits_numpy", lambda values: False)
            assert torch.equal(select(keys, Sparsity.parse(sparsity), group), by_numpy)


def test_position_ties_need_no_key() -> None:
    """Position is what comes last in every case."""
    assert tie_order("position", torch.ones(2, 2), seed=0, name="q") == []


def test_random_ties_depend_on_seed_and_matrix_alone() -> None:
    """The order is a permutation, the same for the same seed and name, another for any other."""
    orders = {
        (seed, name): tie_order("random", torch.randn(8, 9), seed=seed, name=name)[0]
        for seed in (0, 1)
        for name in ("q", "k")
    }
    assert torch.equal(orders[0, "q"], tie_order("random", torch.zeros(8, 9), seed=0, name="q")[0])
    assert all(sorted(order.flatten().tolist()) == list(range(72)) for order in orders.values())
    assert len({tuple(order.flatten().tolist()) for order in orders.values()}) == 4
