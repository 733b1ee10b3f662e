"""Shamir's secret sharing over the prime 2**256 + 297 (Shamir 1979): t shares give the secret, t - 1 give nothing.

A secret is any 32 bytes, read as a little-endian integer; a share is the value of a polynomial of degree t - 1 at x, in
33 bytes. Client i has x = i + 1; x = 0, where the secret lies, x past the roster and a repeated x are refused.

Instead of coefficients, the values at 0 and at the first t - 1 points are drawn: the secret and t - 1 uniform field
elements. This is the same distribution (through t points goes exactly one polynomial of degree t - 1), and only the
remaining points have to be computed, in barycentric form:

    y_j = prod(x_j - x_i) * sum(w_i * y_i / (x_j - x_i)),   w_i = 1 / prod(x_i - x_m for m != i)

All differences are small integers, so their inverses are a table. Knows no protocol.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33

_inverses = [0, 1]  # _inverses[d] * d = 1 modulo PRIME, grown as needed; position 0 is never used


def split(secret: bytes, *, threshold: int, points: Sequence[int], largest: int) -> list[int]:
    """Return one share for each point.

    Args:
        secret: 32 bytes.
        threshold: Shares that give the secret.
        points: Distinct x, each in [1, largest].
        largest: Number of clients of the roster.

    Returns:
        The shares in the order of the points.

    Raises:
        ValueError: If the secret is not 32 bytes, a point is out of range or repeated, or there are fewer points than
            the threshold.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret={len(secret)} bytes must be {SECRET_BYTES} bytes")
    check_points(points, largest)
    if not 1 <= threshold <= len(points):
        raise ValueError(f"threshold={threshold} must be between 1 and {len(points)} points")
    ascending = tuple(sorted(points))
    drawn = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    values = [int.from_bytes(secret, "little"), *drawn]
    weights, rows = _extension(ascending, threshold)
    weighted = [weight * value % PRIME for weight, value in zip(weights, values, strict=True)]
    rest = [scale * sum(map(operator.mul, weighted, row)) % PRIME for scale, row in rows]
    share_by_point = dict(zip(ascending, drawn + rest, strict=True))
    return [share_by_point[point] for point in points]


def join(shares: Mapping[int, int]) -> int:
    """Return the value at 0 of the polynomial through these shares, by x; a secret is below 2**256.

    Raises:
        ValueError: If there is no share or a point is below 1.
    """
    points = tuple(shares)
    check_points(points, max(points, default=0))
    return sum(map(operator.mul, _at_zero(points), shares.values())) % PRIME


def check_points(points: Sequence[int], largest: int) -> None:
    """Refuse points that are out of [1, largest] or repeated.

    Raises:
        ValueError: If so, or if there is none.
    """
    if not points:
        raise ValueError("points=() must have at least one x")
    for point in points:
        if not 1 <= point <= largest:
            raise ValueError(f"x={point} must be between 1 and {largest}")
    if len(set(points)) < len(points):
        raise ValueError("points must not repeat an x")


def encode_share(share: int) -> bytes:
    """Return the 33 bytes of a share."""
    return share.to_bytes(SHARE_BYTES, "little")


def decode_share(data: bytes) -> int:
    """Return the share that 33 bytes hold.

    Raises:
        ValueError: If the length is wrong or the value is no field element.
    """
    share = int.from_bytes(data, "little")
    if len(data) != SHARE_BYTES or share >= PRIME:
        raise ValueError(f"a share must be {SHARE_BYTES} bytes that hold a field element")
    return share


# With a complete graph all clients share over the same points, and all secrets are joined from the same points.
@lru_cache(maxsize=4)
def _extension(points: tuple[int, ...], threshold: int) -> tuple[list[int], list[tuple[int, list[int]]]]:
    """Return the weights of 0 and the first points; for each later point the product and the inverse differences."""
    base, later = (0, *points[: threshold - 1]), points[threshold - 1 :]
    inverses = _inverses_up_to(points[-1])
    weights = []
    for point in base:
        weight = 1
        for other in base:
            if other != point:
                weight = weight * inverses[abs(point - other)] % PRIME
        negative = sum(other > point for other in base) % 2
        weights.append(PRIME - weight if negative else weight)
    rows = []
    for point in later:
        product = 1
        for other in base:
            product = product * (point - other) % PRIME
        rows.append((product, [inverses[point - other] for other in base]))
    return weights, rows


@lru_cache(maxsize=4)
def _at_zero(points: tuple[int, ...]) -> list[int]:
    """Return Lagrange's coefficients at 0: prod(x_m / (x_m - x_i) for m != i)."""
    inverses = _inverses_up_to(max(points))
    coefficients = []
    for point in points:
        coefficient = 1
        for other in points:
            if other != point:
                coefficient = coefficient * (other * inverses[abs(other - point)] % PRIME) % PRIME
        negative = sum(other < point for other in points) % 2
        coefficients.append(PRIME - coefficient if negative else coefficient)
    return coefficients


def _inverses_up_to(largest: int) -> list[int]:
    for number in range(len(_inverses), largest + 1):
        _inverses.append((PRIME - PRIME // number) * _inverses[PRIME % number] % PRIME)
    return _inverses
