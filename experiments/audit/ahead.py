"""The next item is made in a thread of its own while the last one is used: making and using share the cores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Check = Callable[[], None]


class _Stopped(Exception):
    """Nobody waits for the next item any longer."""


def one_ahead(make: Callable[[Check], Iterator[Item]]) -> Generator[Item, None, None]:
    """Yield what ``make`` yields, one item ahead.

    Args:
        make: takes a check, which it calls now and then: the check raises when nobody waits any longer, so that an
            interrupted command need not wait for what is half made. It runs in one thread, from first to last item.
    """
    is_stopped = Event()

    def check() -> None:
        if is_stopped.is_set():
            raise _Stopped

    items = make(check)
    end = object()
    with ThreadPoolExecutor(1) as maker:
        try:
            coming = maker.submit(next, items, end)
            while (item := coming.result()) is not end:
                coming = maker.submit(next, items, end)
                yield item  # type: ignore[misc]  # not the end
                del item  # the next one is big enough
        finally:
            is_stopped.set()
            maker.shutdown()  # waits: what follows is for items that nobody is at
            if isinstance(items, Generator):
                items.close()
