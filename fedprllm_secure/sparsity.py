"""How many weights go: a fraction of each comparison group, or N of every M kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from fractions import Fraction
from typing import Literal, get_args

from fedprllm_secure.errors import InputError

Group = Literal["layer", "row", "column"]
GROUPS: tuple[Group, ...] = get_args(Group)


@dataclass(frozen=True, slots=True)
class Sparsity:
    """A sparsity: a fraction in (0, 1), or the pattern N:M.

    Attributes:
        fraction: the share of weights removed, exact.
        kept: N of N:M, the weights kept of every ``window`` consecutive inputs of a row; 0 for a plain fraction.
        window: M of N:M; 0 for a plain fraction.
    """

    fraction: Fraction
    kept: int = 0
    window: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: nothing or everything would be removed, or pattern and fraction contradict each other.
        """
        if self.window and self.fraction * self.window != self.window - self.kept:
            raise InputError(f"sparsity={self.kept}:{self.window} removes another fraction than {self.fraction}")
        if not 0 < self.fraction < 1:
            raise InputError(f"sparsity={float(self.fraction):g} must be above 0 and below 1")

    @classmethod
    def parse(cls, text: str) -> Sparsity:
        """Read ``0.5``, ``2:4`` or ``4:8``; a fraction is taken as the decimal that is written.

        >>> Sparsity.parse("0.29").count(100)
        29

        Raises:
            InputError: it is neither, or out of range.
        """
        pattern = re.fullmatch(r"(\d+):(\d+)", text)
        if pattern:
            kept, window = int(pattern[1]), int(pattern[2])
            if not 0 < kept < window <= 64:
                raise InputError(f"sparsity={text} must keep N of M with 0 < N < M <= 64, such as 2:4")
            return cls(Fraction(window - kept, window), kept, window)
        try:
            fraction = Fraction(Decimal(text))
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise InputError(f"sparsity={text} must be a fraction such as 0.5 or a pattern such as 2:4") from error
        return cls(fraction)

    @property
    def is_pattern(self) -> bool:
        """Whether this is N:M."""
        return self.window > 0

    def count(self, group_size: int) -> int:
        """Number of weights removed from a group: floor(fraction x size)."""
        return self.fraction.numerator * group_size // self.fraction.denominator

    def check_fits(self, name: str, shape: tuple[int, int]) -> None:
        """Check that a matrix (out, in) can carry the pattern.

        Raises:
            InputError: M does not divide the number of inputs.
        """
        if self.is_pattern and shape[1] % self.window:
            raise InputError(f"sparsity={self}: {self.window} does not divide the {shape[1]} inputs of {name}")

    def __str__(self) -> str:
        """Write it as it is read."""
        if self.is_pattern:
            return f"{self.kept}:{self.window}"
        with localcontext() as context:
            context.prec = len(str(self.fraction.denominator)) * 4  # a decimal's fraction 1/2**n takes n digits
            return format(Decimal(self.fraction.numerator) / Decimal(self.fraction.denominator), "f")
