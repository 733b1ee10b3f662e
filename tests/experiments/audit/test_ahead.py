"""Items are made one ahead."""

from __future__ import annotations

from threading import Event, get_ident

import pytest

from experiments.audit.ahead import one_ahead


def test_items_come_in_order_and_are_made_in_one_other_thread():
    """All of them, whatever they are; never in the thread that uses them."""
    made_in = set()

    def make(check):
        for item in (1, None, 3):
            check()
            made_in.add(get_ident())
            yield item

    assert list(one_ahead(make)) == [1, None, 3]
    assert len(made_in) == 1
    assert get_ident() not in made_in
    assert list(one_ahead(lambda check: iter(()))) == []


def test_the_next_item_is_made_while_the_last_one_is_used_and_no_more():
    """One is ready when it is asked for; a third is not begun before the first is done with."""
    begun = [Event() for _ in range(3)]

    def make(check):
        for number, each in enumerate(begun):
            each.set()
            yield number

    items = one_ahead(make)
    assert next(items) == 0
    assert begun[1].wait(10)
    assert not begun[2].wait(0.05)
    assert list(items) == [1, 2]


def test_what_the_maker_raises_reaches_the_user():
    """At the item that failed, not before."""

    def make(check):
        yield 1
        raise ValueError("no second item")

    items = one_ahead(make)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no second item"):
        next(items)


def test_a_maker_that_nobody_waits_for_is_stopped_amid_its_work():
    """Its check raises, so that the user gets away at once."""
    is_at_work, was_stopped = Event(), Event()

    def make(check):
        yield 1
        is_at_work.set()
        try:
            while True:
                check()
        except Exception:
            was_stopped.set()
            raise

    items = one_ahead(make)
    next(items)
    assert is_at_work.wait(10)
    items.close()
    assert was_stopped.is_set()


def test_what_makes_items_is_closed_when_nobody_wants_more():
    """Also while it waits for the next to be asked for, so that what it holds is let go."""
    is_ready, was_closed = Event(), Event()

    def make(check):
        try:
            yield 1
            is_ready.set()
            yield 2
        finally:
            was_closed.set()

    items = one_ahead(make)
    next(items)
    assert is_ready.wait(10)
    items.close()
    assert was_closed.is_set()
