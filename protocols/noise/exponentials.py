"""exp(-x) as an integer of any precision, by the decimal arithmetic of the standard library."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

_LOG10_OF_2 = 0.30103  # rounded up


def scaled_exp(exponent: Fraction, bits: int) -> int:
    """Return 2**bits * exp(-exponent) for a non-negative exponent, within 1.

    Ten digits more than the result has are carried. The quotient that stands for the exponent is off by a relative
    rounding r, which moves exp(-x) by at most r x exp(-x) < r; `Decimal.exp` is correctly rounded; both errors and that
    of the product are below 1e-9 after scaling, and rounding to an integer adds 1/2.

    >>> scaled_exp(Fraction(0), 10), scaled_exp(Fraction(1), 10)
    (1024, 377)
    """
    context = Context(prec=int(bits * _LOG10_OF_2) + 11)
    numerator, denominator = exponent.as_integer_ratio()
    power = context.exp(context.divide(Decimal(-numerator), Decimal(denominator)))
    return int(context.multiply(power, Decimal(2**bits)).to_integral_value())
