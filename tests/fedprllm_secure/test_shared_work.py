"""The memo of what runs compute alike: what it keeps, what it lets go, and what its keys tell apart."""

from __future__ import annotations

import pytest
import torch

from fedprllm_secure.shared_work import SharedWork, digest


def fill(shared: SharedWork, names: str, *, size: int = 1) -> list[str]:
    """Ask for values by one-letter names; returns those that had to be made."""
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    for name in names:
        shared.get(lambda name=name: (name,), lambda name=name: make(name), num_bytes=lambda _: size)
    return made


def test_value_is_made_once():
    """What one run made, the next finds, with the seconds that it took."""
    shared = SharedWork(most_bytes=10)
    shared.begin_run()
    assert fill(shared, "aba") == ["a", "b"]
    shared.begin_run()

    assert shared.saved_seconds == 0
    assert fill(shared, "ab") == []
    assert shared.saved_seconds > 0


def test_memo_that_may_hold_nothing_makes_no_keys():
    """The default computes everything, and is not asked for keys."""

    def key():
        raise AssertionError

    shared = SharedWork()

    assert not shared.is_on
    assert shared.get(key, lambda: 3, num_bytes=lambda _: 0) == 3


@pytest.mark.parametrize("room", range(1, 5))
def test_runs_that_ask_in_the_same_order_find_what_had_room(room):
    """A memo too small for a run's values keeps the first of them, and the next run finds these."""
    shared = SharedWork(most_bytes=room)
    shared.begin_run()
    fill(shared, "abcd")
    shared.begin_run()

    assert fill(shared, "abcd") == list("abcd")[room:]
    assert shared.held_bytes == room


def test_values_of_earlier_runs_make_room():
    """Another kind of run takes the room of what it does not use, least recently used first."""
    shared = SharedWork(most_bytes=3)
    shared.begin_run()
    fill(shared, "abc")
    shared.begin_run()
    fill(shared, "cxy")  # a and b go

    assert fill(shared, "cxy") == []
    assert fill(shared, "a") == ["a"]
    assert shared.held_bytes == 3


def test_value_larger_than_all_room_drives_nothing_out():
    """A value that can never fit leaves the others where they are."""
    shared = SharedWork(most_bytes=2)
    shared.begin_run()
    fill(shared, "ab")
    shared.begin_run()
    fill(shared, "z", size=3)

    assert fill(shared, "ab") == []


def test_value_without_room_is_not_made_for_keeping():
    """What would be kept is not even put together when there is no room for it."""

    def make():
        raise AssertionError

    SharedWork(most_bytes=1).keep(("key",), make, num_bytes=2, seconds=0.0)


def test_negative_limit_is_refused():
    """There is no memory below none."""
    with pytest.raises(ValueError, match="most_bytes=-1 must not be negative"):
        SharedWork(most_bytes=-1)


def test_digest_tells_apart():
    """Content, shape, type and order of parts each change a digest; a copy does not."""
    ids = torch.arange(4)
    others = [
        (ids.view(2, 2),),
        (ids.to(torch.int32),),
        (ids.flip(0),),
        (ids, 1),
        (1, ids),
        (ids[:2], ids[2:]),
        (ids.bfloat16(),),
        (torch.zeros(0),),
    ]

    found = [digest(ids), *(digest(*parts) for parts in others)]
    assert len(set(found)) == len(found)
    assert digest(ids.clone()) == digest(ids)
