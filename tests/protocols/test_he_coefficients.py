"""The wire form of ciphertexts, and of totals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import Layout, VectorSpec, pack
from protocols.homomorphic.coefficients import decode_coefficients, encode_coefficients
from protocols.homomorphic.totals import decode_totals, sum_digest, unpack_sum


def test_known_coefficients():
    """A pair is one number of 120 bits, little-endian."""
    data = encode_coefficients(np.array([0x123456789ABCDEF, 2**60 - 1, 1, 2], np.uint64))

    assert data.hex() == "efcdab8967452301"[:14] + "f1" + "ff" * 7 + "01000000000000" + "20" + "00" * 7


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2**60 - 94), min_size=8, max_size=8))
def test_coefficients_survive_the_wire(values):
    """Decoding gives back what was encoded, and encodes to the same bytes."""
    data = encode_coefficients(np.array(values, np.uint64))

    assert decode_coefficients(data, (2**60 - 93,), 4).tolist() == values
    assert int.from_bytes(data[:15], "little") == values[0] + (values[1] << 60)


def test_a_coefficient_must_be_below_its_own_prime():
    """Each prime bounds its own stretch of every polynomial."""
    primes = (100, 200)
    good = np.array([99, 99, 199, 199] * 2, np.uint64)  # two polynomials of degree 2
    assert decode_coefficients(encode_coefficients(good), primes, 2).tolist() == good.tolist()
    for position in range(8):
        bad = good.copy()
        bad[position] += 1
        with pytest.raises(ValueError, match="a coefficient is not below its prime"):
            decode_coefficients(encode_coefficients(bad), primes, 2)


@pytest.mark.parametrize("length", [14, 16, 15, 45])
def test_lengths_of_no_polynomial_are_refused(length):
    """Four coefficients of two primes and degree 2 take 30 bytes."""
    with pytest.raises(ValueError, match=f"{length} bytes are not whole polynomials"):
        decode_coefficients(bytes(length), (100, 200), 2)


def test_a_sum_is_checked_against_the_largest_total():
    """An entry above survivors times bound is refused, though its lane has room for it."""
    layout = Layout(9, 3)
    words = pack(np.array([6, 0, 6, 6]), layout)

    assert unpack_sum(words, layout, 4, 6).tolist() == [6, 0, 6, 6]
    with pytest.raises(ValueError, match=r"totals must be in \[0, 5\]"):
        unpack_sum(words, layout, 4, 5)
    with pytest.raises(ValueError, match=r"words must be below 9\*\*3"):
        unpack_sum(np.array([9**3, 0], np.uint64), layout, 4, 8)
    with pytest.raises(ValueError, match="the lanes past the last entry must be zero"):
        unpack_sum(np.array([0, 9], np.uint64), layout, 4, 8)


def test_totals_are_checked_vector_by_vector(make_plan):
    """Length and range are those of the plan, and dtypes its totals'."""
    plan = make_plan(4, (VectorSpec("a", 3, 1), VectorSpec("b", 1, 2**40)))
    layouts = (Layout(5, 2), Layout(2**42 + 1, 1))
    body = np.array([3 + 5 * 3, 3, 3 * 2**40], "<u8").tobytes()
    totals = decode_totals(body, plan, layouts, 3)

    assert [total.tolist() for total in totals] == [[3, 3, 3], [3 * 2**40]]
    assert [total.dtype for total in totals] == [np.int32, np.int64]
    with pytest.raises(ValueError, match="totals of 23 bytes must have 24"):
        decode_totals(body[:-1], plan, layouts, 3)
    with pytest.raises(ValueError, match=r"totals must be in \[0, 2\]"):
        decode_totals(body, plan, layouts, 2)


def test_known_sum_digest():
    """The digest has a label of its own."""
    assert sum_digest(b"abc").hex() == "64836e8c79f2c27419b06495421e6d643669f216e7cb4402682e797652c90c3e"
