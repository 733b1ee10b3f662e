"""Fields of a record that may come from anyone: each is checked, and named where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

LARGEST = 2**128  # of every integer: what is larger comes from no model, and would overflow floats
LONGEST_TEXT = 200


def check_integer(name: str, value: object) -> None:
    """Check a count or a norm.

    Raises:
        ValueError: it is no integer from 1 to 2**128 - 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < LARGEST:
        raise ValueError(f"{name} must be an integer from 1 to 2**128 - 1")


def check_fraction(name: str, value: object) -> None:
    """Check a variance or an epsilon.

    Raises:
        ValueError: it is no Fraction above 0, or of integers too large.
    """
    if not isinstance(value, Fraction) or not 0 < value.numerator < LARGEST or value.denominator >= LARGEST:
        raise ValueError(f"{name} must be a fraction above 0, of integers below 2**128")


def check_distance(name: str, value: object) -> None:
    """Check a statistical distance.

    Raises:
        ValueError: it is no number in [0, 1).
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number in [0, 1)")


def known_fields(record: object, known: set[str], name: str) -> dict[str, Any]:
    """Return the fields of an object.

    Raises:
        ValueError: it is none, or has a field that is not known.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"{name} must be an object")
    for key in record:
        if key not in known:
            raise ValueError(
                f"{name} has a field {str(key)[:LONGEST_TEXT]!r}, which is none of {', '.join(sorted(known))}"
            )
    return dict(record)


def read_fraction(name: str, text: object) -> Fraction:
    """Read ``p/q``, decimal digits alone.

    Raises:
        ValueError: it is written in any other way.
    """
    numerator, slash, denominator = text.partition("/") if isinstance(text, str) else ("", "", "")
    # 39 digits are as many as 2**128 has: longer texts are not worth parsing.
    if not slash or not all(
        part.isascii() and part.isdecimal() and len(part) <= 39 for part in (numerator, denominator)
    ):
        raise ValueError(f'{name} must be a text such as "3/2"')
    if not int(denominator):
        raise ValueError(f"{name} must have a denominator above 0")
    return Fraction(int(numerator), int(denominator))
