"""Totals in the form in which a client that opened them reports them: packed words, vector after vector.

    words of 8 bytes, little-endian, of each vector in the plan's order; entries are sums over the survivors

Both ends check them alike. Knows neither keys nor ciphertexts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from protocols.homomorphic.run_of_words import word_counts
from protocols.packing import Integers, Layout, Words, unpack
from protocols.session import SessionPlan

WORD_BYTES = 8
SUM_LABEL = b"fedprllm/v1/sum"


def sum_digest(ciphertexts: bytes) -> bytes:
    """Return what stands for the summed ciphertexts of all vectors in the survivor list, 32 bytes."""
    return hashlib.sha256(SUM_LABEL + ciphertexts).digest()


def unpack_sum(words: Words, layout: Layout, length: int, largest: int) -> Integers:
    """Return the entries of a packed sum.

    Args:
        words: uint64 (layout.words(length),).
        layout: How a client's vector is packed.
        length: Number of entries.
        largest: Largest possible entry, and with signed entries the largest below zero.

    Raises:
        ValueError: If a word or an entry is out of range or padding is not zero.
    """
    entries = unpack(words, layout, length)
    lowest = -largest if layout.offset else 0
    if int(entries.max()) > largest or int(entries.min()) < lowest:
        raise ValueError(f"totals must be in [{lowest}, {largest}]")
    return entries


def totals_bytes(plan: SessionPlan, layouts: Sequence[Layout]) -> int:
    """Return the length of a report of all totals."""
    return WORD_BYTES * sum(word_counts(plan, layouts))


def decode_totals(body: bytes, plan: SessionPlan, layouts: Sequence[Layout], survivors: int) -> list[Integers]:
    """Return the totals of every vector, in the plan's order.

    Raises:
        ValueError: If the length is wrong, or as `unpack_sum`.
    """
    counts = word_counts(plan, layouts)
    if len(body) != totals_bytes(plan, layouts):
        raise ValueError(f"totals of {len(body)} bytes must have {totals_bytes(plan, layouts)}")
    words = np.frombuffer(body, "<u8").astype(np.uint64, copy=False)
    totals, offset = [], 0
    for vector, layout, count in zip(plan.vectors, layouts, counts, strict=True):
        entries = unpack_sum(words[offset : offset + count], layout, vector.length, vector.reach(survivors))
        totals.append(entries.astype(plan.total_dtype(vector)))
        offset += count
    return totals
