"""Which weights go: exactly k of the lowest in every comparison group, ties broken by explicit keys.

One routine serves clients (keys: saliency) and server (keys: votes, then the tie order). It selects by partition
or by counting, never by a full sort, and exactly: the number removed per group is :meth:`Sparsity.count`.
"""

from __future__ import annotations

import hashlib
import operator
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.sparsity import Group, Sparsity

Ties = Literal["magnitude", "position", "random"]
TIES: tuple[Ties, ...] = get_args(Ties)
_FEW = 256  # values of an integer key, at which counting takes eight passes


def select(keys: Sequence[Tensor], sparsity: Sparsity, group: Group) -> Tensor:
    """Mark the weights to remove: the lowest by the first key, then the second, ..., then by position.

    Args:
        keys: tensors (out, in) of real numbers, none of them NaN.
        sparsity: how many; under N:M the groups are the M consecutive inputs of a row and ``group`` is not used.
        group: the weights that compete with each other.

    Returns:
        bool (out, in), True = removed.
    """
    rows, columns = keys[0].shape
    if sparsity.is_pattern:
        shaped = [key.reshape(-1, sparsity.window) for key in keys]
        return _lowest_of_few(shaped, sparsity.window - sparsity.kept).view(rows, columns)
    if group == "row":
        return _lowest(keys, sparsity.count(columns))
    if group == "column":
        return _lowest([key.t().contiguous() for key in keys], sparsity.count(rows)).t().contiguous()
    return _lowest([key.reshape(1, -1) for key in keys], sparsity.count(rows * columns)).view(rows, columns)


def tie_order(ties: Ties, weight: Tensor, *, seed: int, name: str) -> list[Tensor]:
    """Make the keys that order equal totals; position always comes last and needs none.

    Args:
        ties: ``magnitude`` (smallest first), ``position``, or ``random`` (from seed and name).
        weight: (out, in).
        seed: for ``random``.
        name: the matrix, so that each has an order of its own.
    """
    if ties == "magnitude":
        return [weight.abs()]
    if ties == "position":
        return []
    digest = hashlib.sha256(f"fedprllm tie order|{seed}|{name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
    order = torch.from_numpy(generator.permutation(weight.numel()).astype(np.int32))
    return [order.view(weight.shape).to(weight.device)]


def _lowest(keys: Sequence[Tensor], count: int) -> Tensor:
    """Mark the ``count`` lowest entries of every row of keys (groups, size)."""
    first, *rest = keys
    if count == 0:
        return torch.zeros_like(first, dtype=torch.bool)
    cutoff = _kth_lowest(first, count)  # (groups, 1)
    chosen = _compared(operator.le, first, cutoff)
    if _count(chosen) == count * len(chosen):  # at least ``count`` of every group are at most its cutoff
        return chosen
    surplus = chosen.sum(1, dtype=torch.int32) - count  # ties at the cutoff that must stay
    crowded = slice(None) if len(surplus) == 1 else surplus.nonzero()[:, 0]  # one large group need not be copied
    tied = _compared(operator.eq, first[crowded], cutoff[crowded])
    wanted = tied.sum(1, dtype=torch.int32) - surplus[crowded]
    chosen[crowded] &= ~tied
    chosen[crowded] |= _lowest_among(tied, [key[crowded] for key in rest], wanted)
    return chosen


def _lowest_among(eligible: Tensor, keys: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """Mark, in every row, the ``wanted`` (at least 1) lowest of the eligible entries; ties by position."""
    if not keys:
        return eligible & (eligible.cumsum(1, dtype=torch.int32) <= wanted[:, None])
    if len(eligible) == 1:  # one large group: partition the few that are eligible instead of sorting it all
        where = _places(eligible[0])
        chosen = torch.zeros_like(eligible)
        chosen[0, where] = _lowest([key[:, where] for key in keys], int(wanted))[0]
        return chosen
    first, *rest = keys
    barred = torch.where(eligible, first, _highest(first.dtype))
    cutoff = _sorted_rows(barred).gather(1, wanted[:, None] - 1)
    chosen = eligible & (barred < cutoff)
    tied = eligible & (barred == cutoff)
    return chosen | _lowest_among(tied, rest, wanted - chosen.sum(1))


def _highest(dtype: torch.dtype) -> float | int:
    return torch.inf if dtype.is_floating_point else torch.iinfo(dtype).max


def _sorted_rows(values: Tensor) -> Tensor:
    if not _suits_numpy(values):
        return values.sort(1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


def _kth_lowest(values: Tensor, count: int) -> Tensor:
    """Find the ``count``-th lowest value (count >= 1) of every row, as a column."""
    if not _suits_numpy(values):
        return values.kthvalue(count, dim=1, keepdim=True).values
    # numpy's vectorised quickselect is several times faster than kthvalue on a CPU. Not in threads: they would fight
    # with torch's own, which spin while they wait (measured five times slower).
    numbers = values.numpy()
    if len(numbers) == 1 and numbers.dtype.kind in "ui":
        low, high = int(numbers.min()), int(numbers.max())
        if high - low < _FEW:
            return torch.full_like(values[:, :1], _kth_of_few(numbers, count, low, high))
    parted = np.partition(_as_integers(numbers), count - 1, axis=1)[:, count - 1 : count]
    return torch.from_numpy(np.ascontiguousarray(parted).view(numbers.dtype))


def _kth_of_few(numbers: NDArray[Any], count: int, low: int, high: int) -> int:
    """Find the ``count``-th lowest of integers from ``low`` to ``high`` by counting how many are at most a guess.

    Partitions take up to ten times as long where nearly all numbers are equal to many others, as votes are.
    """
    return low + bisect_left(range(low, high), count, key=lambda guess: int(np.count_nonzero(numbers <= guess)))


def _as_integers(numbers: NDArray[Any]) -> NDArray[Any]:
    """View floats without a sign as the integers of their bits: these order alike and are partitioned in half the time.

    Floats with a sign, and integers, come back as they are.
    """
    if numbers.dtype.kind != "f":
        return numbers
    bits = numbers.view(f"i{numbers.itemsize}")
    return bits if bits.min(initial=0) == 0 else numbers


def _compared(relation: Callable[[Any, Any], Any], values: Tensor, cutoff: Tensor) -> Tensor:
    """Mark, in every row, the entries that stand in a relation to the row's cutoff (groups, 1)."""
    if not _suits_numpy(values):
        return relation(values, cutoff)
    return torch.from_numpy(relation(values.numpy(), cutoff.numpy()))


def _count(marked: Tensor) -> int:
    """Count the marked entries of a bool tensor."""
    return int(np.count_nonzero(marked.numpy()) if _suits_numpy(marked) else marked.count_nonzero())


def _places(marked: Tensor) -> Tensor:
    """List the marked positions of a bool tensor (size,)."""
    return torch.from_numpy(np.flatnonzero(marked.numpy())) if _suits_numpy(marked) else marked.nonzero()[:, 0]


def _suits_numpy(values: Tensor) -> bool:
    """Whether numpy can take it: on a CPU it needs a fraction of torch's time to compare, count and find."""
    return values.device.type == "cpu" and values.dtype != torch.bfloat16


def _lowest_of_few(keys: Sequence[Tensor], count: int) -> Tensor:
    """Mark the ``count`` lowest of every short row (groups, M) by counting for each entry how many come before it."""
    size = keys[0].shape[1]
    columns = [[key[:, position].contiguous() for position in range(size)] for key in keys]
    rank = [torch.zeros_like(columns[0][0], dtype=torch.int8) for _ in range(size)]
    for left in range(size):
        for right in range(left + 1, size):
            precedes = _precedes([column[left] for column in columns], [column[right] for column in columns])
            rank[right] += precedes
            rank[left] += ~precedes
    return torch.stack([position < count for position in rank], dim=1)


def _precedes(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Say where the left entry, which comes first by position, goes before the right one."""
    before = left[-1] <= right[-1]
    for one, other in zip(reversed(left[:-1]), reversed(right[:-1]), strict=True):
        before = (one < other) | ((one == other) & before)
    return before
