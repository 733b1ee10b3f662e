"""What is made of the attacker's knowledge alone, once for all attacks and all that is seen of the same texts.

Settings of what different adversaries see differ in rows and coins; candidates' energies and the population's are the
very same arrays. What an attack makes of these decides nothing about the others, so whoever asks first makes it, and it
is kept as long as somebody has it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from attacks.evidence import Setting

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Kept(Generic[Value]):
    """Something that was made, for as long as this is held.

    Attributes:
        value: what was made.
        made_of: energies and population; held too, so that no other array can come to lie where they do.
    """

    value: Value = field(repr=False)
    made_of: tuple[np.ndarray, np.ndarray] = field(repr=False)


class MadeOnce(Generic[Value]):
    """Makes one sort of thing once for settings of the same energies and population.

    Arrays are the same if they are one and the same object: nobody writes to them.
    """

    def __init__(self) -> None:
        """Begin with nothing made."""
        self._kept: WeakValueDictionary[Hashable, Kept[Value]] = WeakValueDictionary()
        self._lock = Lock()

    def get(self, setting: Setting, way: Hashable, make: Callable[[], Value]) -> Kept[Value]:
        """Give what was made; hold it as long as it is used.

        Args:
            setting: whose energies and population it is made of.
            way: everything else that decides it.
            make: makes it; others that ask meanwhile wait.
        """
        key = (id(setting.energies), id(setting.population), way)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = Kept(value=make(), made_of=(setting.energies, setting.population))
                self._kept[key] = found
            return found
