"""Which propagation goes with which schedule."""

from __future__ import annotations

import itertools

import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.schedule import PROPAGATIONS, ROUNDS, Schedule

LEGAL = {("one-shot", "local"), ("one-shot", "dense"), ("iterative", "global")}


@pytest.mark.parametrize(("rounds", "propagate"), sorted(LEGAL))
def test_legal_pairs(rounds: str, propagate: str) -> None:
    """One-shot goes on from clients' own or unpruned blocks, iterative from the server's."""
    assert Schedule.of(rounds, propagate) == Schedule(rounds, propagate)


@pytest.mark.parametrize(
    ("rounds", "propagate"),
    sorted((set(itertools.product(["one-shot", "iterative"], ["local", "global", "dense", "none"]))) - LEGAL),
)
def test_other_pairs_are_refused(rounds: str, propagate: str) -> None:
    """The message names both."""
    with pytest.raises(InputError, match=rf"propagate={propagate} does not go with schedule={rounds}"):
        Schedule(rounds, propagate)


@pytest.mark.parametrize("propagate", [None, "local"])
def test_an_unknown_schedule_is_refused(propagate: str | None) -> None:
    """The message lists those there are."""
    with pytest.raises(InputError, match="schedule=sometimes must be one of one-shot, iterative"):
        Schedule.of("sometimes", propagate)


@pytest.mark.parametrize(("rounds", "propagate"), [("one-shot", "local"), ("iterative", "global")])
def test_defaults(rounds: str, propagate: str) -> None:
    """The paper's propagation is the default of each schedule."""
    assert Schedule.of(rounds, None).propagate == propagate


def test_every_name_is_used() -> None:
    """Each schedule and each propagation belongs to a legal pair."""
    assert {"one-shot", "iterative"} <= set(ROUNDS)
    assert set(PROPAGATIONS) == {"local", "global", "dense"}
