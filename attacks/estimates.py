"""Log-norms estimated from what is seen of a matrix, made once for all attacks that use them.

Inverting masks is most of the work of the attacks that do it. What an estimate is made of decides it entirely, so it is
kept as long as its sight is, and attacks that work side by side wait for the one that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from attacks.evidence import MatrixSight


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What was made of a sight.

    Attributes:
        weights: float64 (in,), how much each channel's estimate tells.
        rows: float64 (observed + labelled, in).
        reference: float64 (reference rows, in).
    """

    weights: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    reference: np.ndarray = field(repr=False)


_KEPT: WeakKeyDictionary[MatrixSight, dict[Hashable, Future[Estimates]]] = WeakKeyDictionary()
_LOCK = Lock()


def made_once(sight: MatrixSight, way: Hashable, make: Callable[[], Estimates]) -> Estimates:
    """Give the estimates of a sight, made by whoever asks first.

    Args:
        sight: what they are made of.
        way: everything else that decides them.
        make: makes them.
    """
    with _LOCK:
        ways = _KEPT.setdefault(sight, {})
        found = ways.get(way)
        is_first = found is None
        if found is None:
            found = ways[way] = Future()
    if is_first:
        try:
            found.set_result(make())
        except BaseException as error:
            found.set_exception(error)  # who waits fails alike
            raise
    return found.result()
