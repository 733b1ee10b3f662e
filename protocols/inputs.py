"""What a client's caller hands in: checked as a whole, then checked again and packed stretch by stretch.

Checked again, since packing happens when messages are asked for, and a caller may have written to the array by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from protocols.packing import Integers, Layout, PackedVector, Words, check_entries, pack_unchecked
from protocols.session import LARGEST_INT64, SessionPlan, VectorSpec


def checked_vectors(
    plan: SessionPlan, layouts: Sequence[Layout], vectors: Mapping[str, Integers | PackedVector]
) -> list[Integers | PackedVector]:
    """Return the vectors in the plan's order after checking every entry.

    Args:
        plan: Names, lengths and bounds.
        layouts: The layout in which the protocol packs each vector of the plan.
        vectors: For every name an integer or bool array (length,), or a vector packed in its layout. An array with
            headroom, and packed words, must stay as they are until the last message has been made.

    Raises:
        ValueError: If names differ from the plan's, or a vector is no array, has a wrong length, dtype or layout or an
            entry out of range.
    """
    names = [vector.name for vector in plan.vectors]
    if set(vectors) != set(names):
        raise ValueError(f"vectors={sorted(map(str, vectors))} must be those of the plan, {sorted(names)}")
    ordered = [vectors[name] for name in names]
    for spec, layout, vector in zip(plan.vectors, layouts, ordered, strict=True):
        _check_vector(vector, spec, layout)
    return ordered


def _check_vector(vector: Integers | PackedVector, spec: VectorSpec, layout: Layout) -> None:
    if isinstance(vector, PackedVector):
        if vector.layout != layout:
            raise ValueError(f"{spec.name!r}: layout={vector.layout} must be {layout}")
        length = vector.length
    else:
        if not isinstance(vector, np.ndarray):
            raise ValueError(f"{spec.name!r}: a {type(vector).__name__} must be an array or a packed vector")
        _check_entries(vector, spec)
        length = len(vector)
    if length != spec.length:
        raise ValueError(f"{spec.name!r}: length={length} must be {spec.length}")


def _check_entries(vector: Integers, spec: VectorSpec) -> None:
    largest = LARGEST_INT64 if spec.headroom else spec.bound
    try:
        check_entries(vector, largest, -largest if spec.signed else 0)
    except ValueError as error:
        raise ValueError(f"{spec.name!r}: {error}") from None


def layout_for(spec: VectorSpec, summands: int) -> Layout:
    """Return the densest layout in 64-bit words for a sum of so many clients' vectors, and its noise.

    Raises:
        ValueError: As `Layout.for_sum`.
    """
    return Layout.for_sum(summands, spec.bound, signed=spec.signed, headroom=spec.headroom)


def checked_words(vector: Integers | PackedVector, spec: VectorSpec, layout: Layout, first: int, last: int) -> Words:
    """Return the words [first, last) of a vector that `checked_vectors` returned, checking and packing only those.

    Raises:
        ValueError: If an entry is out of range by now. With headroom all 64-bit integers are in range, so that nothing
            tells noise from what was written into the array since.
    """
    if not isinstance(vector, PackedVector):
        _check_entries(vector[first * layout.lanes : last * layout.lanes], spec)
    return packed_words(vector, layout, first, last)


def packed_words(vector: Integers | PackedVector, layout: Layout, first: int, last: int) -> Words:
    """Return the words [first, last) of a vector, packing only those and checking none."""
    if isinstance(vector, PackedVector):
        return vector.words[first:last]
    return pack_unchecked(vector[first * layout.lanes : last * layout.lanes], layout)
