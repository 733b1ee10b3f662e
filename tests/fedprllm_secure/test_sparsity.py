"""Sparsities are read as they are written, exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprllm_secure.errors import InputError
from fedprllm_secure.sparsity import Sparsity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", Sparsity(Fraction(1, 2))),
        (".25", Sparsity(Fraction(1, 4))),
        ("5e-1", Sparsity(Fraction(1, 2))),
        ("1:2", Sparsity(Fraction(1, 2), 1, 2)),
        ("2:4", Sparsity(Fraction(1, 2), 2, 4)),
        ("1:4", Sparsity(Fraction(3, 4), 1, 4)),
        ("4:8", Sparsity(Fraction(1, 2), 4, 8)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parse(text: str, expected: Sparsity) -> None:
    """A decimal is a fraction; N:M keeps N of every M."""
    assert Sparsity.parse(text) == expected
    assert Sparsity.parse(text).is_pattern == (":" in text)


@pytest.mark.parametrize(
    ("text", "size", "count"),
    [("0.29", 100, 29), ("0.57", 100, 57), ("0.7", 10, 7), ("0.3", 3, 0), ("0.5", 5, 2), ("0.999", 1000, 999)],
)
def test_counts_are_exact_decimals(text: str, size: int, count: int) -> None:
    """0.29 of 100 is 29, which floats make 28."""
    assert Sparsity.parse(text).count(size) == count


@given(st.integers(1, 999), st.integers(1, 10**9))
def test_count_is_the_floor(thousandths: int, size: int) -> None:
    """floor(sparsity x size) for every decimal and size."""
    assert Sparsity.parse(f"0.{thousandths:03d}").count(size) == thousandths * size // 1000


@pytest.mark.parametrize("text", ["0", "1", "0.0", "1.0", "-0.1", "1.5", "-0"])
def test_fractions_out_of_range_are_refused(text: str) -> None:
    """Nothing or everything removed is a mistake."""
    with pytest.raises(InputError, match=r"sparsity=.* must be above 0 and below 1"):
        Sparsity.parse(text)


@pytest.mark.parametrize("text", ["nan", "abc", "", "inf", "-inf", "snan", "2:4:8", "-2:4", "2:", "0,5", "50%"])
def test_what_is_no_sparsity_is_refused(text: str) -> None:
    """The message says what would do."""
    with pytest.raises(InputError, match=r"must be a fraction such as 0\.5 or a pattern such as 2:4"):
        Sparsity.parse(text)


@pytest.mark.parametrize("text", ["4:2", "0:4", "4:4", "0:0", "1:65"])
def test_patterns_out_of_range_are_refused(text: str) -> None:
    """N lies strictly between 0 and M."""
    with pytest.raises(InputError, match=rf"sparsity={text} must keep N of M with 0 < N < M <= 64"):
        Sparsity.parse(text)


def test_a_pattern_must_divide_the_inputs() -> None:
    """The message names the matrix."""
    with pytest.raises(InputError, match=r"sparsity=2:4: 4 does not divide the 30 inputs of layers\.0\.q"):
        Sparsity.parse("2:4").check_fits("layers.0.q", (4, 30))


@pytest.mark.parametrize(("text", "shape"), [("2:4", (3, 8)), ("0.5", (3, 7))], ids=["pattern", "fraction"])
def test_what_fits_is_let_through(text: str, shape: tuple[int, int]) -> None:
    """Only the number of inputs matters, and only for a pattern."""
    Sparsity.parse(text).check_fits("q", shape)


@pytest.mark.parametrize(
    "text", ["0.5", "0.29", "2:4", "0.123456789012345678", "0.000001", "0.0000000000000001", "0.999999999999"]
)
def test_written_as_read(text: str) -> None:
    """Str gives back the text."""
    assert str(Sparsity.parse(text)) == text


@given(st.integers(1, 50), st.data())
def test_every_decimal_is_written_as_the_same_number(places: int, data: st.DataObject) -> None:
    """What is written can be read again, to the last of fifty places, and holds no exponent."""
    digits = data.draw(st.integers(1, 10**places - 1))
    sparsity = Sparsity(Fraction(digits, 10**places))
    assert Sparsity.parse(str(sparsity)) == sparsity
    assert str(sparsity) == f"0.{digits:0{places}d}".rstrip("0")
