"""How the words of all vectors fill a session's ciphertexts: end to end in the plan's order.

Only the last ciphertext has room left, where words are zero. Knows no encryption library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from protocols.packing import Layout, Words
from protocols.session import SessionPlan


def word_counts(plan: SessionPlan, layouts: Sequence[Layout]) -> list[int]:
    """Return the number of words of each vector of a plan."""
    return [layout.words(spec.length) for spec, layout in zip(plan.vectors, layouts, strict=True)]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Words of one vector that lie in one ciphertext.

    Attributes:
        vector: Position of the vector in the plan.
        first: Its first word there.
        last: One past its last word there.
    """

    vector: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RunOfWords:
    """All words of a session, as they fill ciphertexts.

    Attributes:
        counts: Words of each vector, in the plan's order.
        shifts: `Layout.shift` of each vector's words.
        degree: Words of a ciphertext.
    """

    counts: tuple[int, ...]
    shifts: tuple[int, ...]
    degree: int

    @classmethod
    def of(cls, plan: SessionPlan, layouts: Sequence[Layout], degree: int) -> RunOfWords:
        """Lay the vectors of a plan end to end."""
        return cls(tuple(word_counts(plan, layouts)), tuple(layout.shift() for layout in layouts), degree)

    @property
    def ciphertexts(self) -> int:
        """Number of ciphertexts."""
        return -(-sum(self.counts) // self.degree)

    def stretches(self, ciphertext: int) -> Iterator[Stretch]:
        """Yield what lies in a ciphertext, from its first word on."""
        begin, end = ciphertext * self.degree, (ciphertext + 1) * self.degree
        stops = accumulate(self.counts)
        for vector, (count, stop) in enumerate(zip(self.counts, stops, strict=True)):
            first, last = max(begin - (stop - count), 0), min(end - (stop - count), count)
            if first < last:
                yield Stretch(vector, first, last)

    def shift(self, ciphertext: int) -> Words:
        """Return how far below zero each word of a ciphertext may be, uint64 (degree,)."""
        shift = np.zeros(self.degree, np.uint64)
        at = 0
        for stretch in self.stretches(ciphertext):
            length = stretch.last - stretch.first
            shift[at : at + length] = self.shifts[stretch.vector]
            at += length
        return shift

    def split(self, words: Words) -> list[Words]:
        """Cut the words of all ciphertexts into those of each vector.

        Args:
            words: uint64 (ciphertexts * degree,).

        Raises:
            ValueError: If words behind the last vector are not zero.
        """
        *parts, rest = np.split(words, np.cumsum(self.counts))
        if rest.any():
            raise ValueError("words behind the last vector must be zero")
        return parts
