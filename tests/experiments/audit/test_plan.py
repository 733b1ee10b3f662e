"""Plans of audits: numbers that go together, and who is who among the windows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from attacks.evidence import NOTHING
from experiments.audit.plan import AuditPlan, Contributions
from experiments.audit.texts import AuditTexts
from fedprllm_secure.errors import InputError

NUMBERS: dict[str, Any] = {
    "adjacency": "window-replace",
    "knowledge": "exact",
    "clients": 3,
    "windows_per_client": 2,
    "targets": 5,
    "canaries": 4,
    "runs": 4,
    "labelled_runs": 8,
    "reference_runs": 8,
    "population": 15,
    "strangers": 3,
    "seed": 0,
}
SMALLEST = {
    "clients": 2, "windows_per_client": 1, "targets": 2, "canaries": 1, "runs": 2, "labelled_runs": 8,
    "reference_runs": 8, "strangers": 2,
}  # fmt: skip


def plan(**changed: Any) -> AuditPlan:
    """Make a plan."""
    return AuditPlan(**NUMBERS | changed)


def texts_of(of: AuditPlan) -> AuditTexts:
    """Number the windows that a plan needs, one after the other; only numbers matter here."""
    needed = of.windows_needed()
    starts = dict(zip(needed, np.cumsum([0, *needed.values()]), strict=False))
    numbers = {name: np.arange(starts[name], starts[name] + count) for name, count in needed.items()}
    return AuditTexts(
        ids=torch.zeros(0, 2, dtype=torch.int64),
        same_source=numbers["candidates"] + 1000,
        near_duplicates=numbers["candidates"] + 2000,
        **numbers,
    )


@pytest.mark.parametrize(("name", "least"), SMALLEST.items())
def test_numbers_that_are_too_small_are_refused(name: str, least: int) -> None:
    """By the name of the flag."""
    with pytest.raises(InputError, match=re.escape(f"--{name.replace('_', '-')} {least - 1} must be at least {least}")):
        plan(**{name: least - 1})


def test_numbers_that_do_not_go_together_are_refused() -> None:
    """Slots asked about, targets, and the population, each against what bounds it."""
    with pytest.raises(InputError, match="--canaries 7 must be at most 6, the windows of a run"):
        plan(canaries=7, targets=9)
    with pytest.raises(InputError, match="--canaries 4 must be at most 3, the clients of a run"):
        plan(adjacency="client-replace")
    with pytest.raises(InputError, match="--targets 3 must be at least --canaries 4"):
        plan(targets=3)
    with pytest.raises(InputError, match="--population 5 must be at least 6, the windows of a run"):
        plan(population=5)


@pytest.mark.parametrize(
    ("adjacency", "group", "places", "candidates", "companions"),
    [
        ("window-replace", 1, 6, 10, 8),
        ("window-zero-out", 1, 6, 5, 8),
        ("client-replace", 2, 3, 10, 4),
        ("client-zero-out", 2, 3, 5, 4),
    ],
)
def test_a_game_counts_what_it_needs(adjacency: str, group: int, places: int, candidates: int, companions: int) -> None:
    """Contributions, and windows behind them."""
    found = plan(adjacency=adjacency, canaries=4 if places == 6 else 2)

    assert (found.group_size, found.places, found.candidates, found.companions) == (
        group,
        places,
        candidates,
        companions,
    )
    assert found.slots.clients * found.slots.per_client == places
    assert found.slots.in_play == found.canaries
    assert found.is_client_level is adjacency.startswith("client")
    assert found.is_zero_out is adjacency.endswith("zero-out")
    assert found.windows_needed() == {
        "candidates": candidates * group,
        "strangers": 3 * group,
        "companions": companions * group,
        "population": 15,
    }


@pytest.mark.parametrize("adjacency", ["window-replace", "window-zero-out", "client-replace", "client-zero-out"])
def test_every_window_has_one_part(adjacency: str) -> None:
    """Candidates, strangers, population and companions are apart, in this order, and targets name candidates once."""
    of = plan(adjacency=adjacency, canaries=2)
    texts = texts_of(of)
    found = Contributions.of(of, texts)
    size = of.group_size
    candidates = np.arange(of.candidates)

    assert len(np.unique(found.groups)) == found.groups.size
    assert np.array_equal(found.groups[candidates].ravel(), texts.candidates)
    strangers = np.arange(of.candidates, of.candidates + of.strangers)
    assert np.array_equal(found.groups[strangers].ravel(), texts.strangers)
    assert np.array_equal(found.groups[found.population].ravel(), texts.population[: 15 // size * size])
    assert np.array_equal(found.groups[found.companions].ravel(), texts.companions)
    if of.is_zero_out:
        assert np.array_equal(found.targets, [[each, NOTHING] for each in candidates])
    else:
        assert np.array_equal(found.targets.ravel(), candidates)
    assert len(found.targets) == of.targets


@pytest.mark.parametrize(("knowledge", "offset"), [("exact", 0), ("same-source", 1000), ("near-duplicate", 2000)])
def test_the_attacker_knows_candidates_as_it_is_said(knowledge: str, offset: int) -> None:
    """Strangers, which are in no run, are known as they are."""
    of = plan(knowledge=knowledge)
    found = Contributions.of(of, texts_of(of))
    known = found.groups[: of.candidates + of.strangers].copy()
    known[: of.candidates] += offset

    assert np.array_equal(found.known, known)


def test_an_attacker_makes_its_worlds_of_what_it_holds() -> None:
    """Of a candidate it holds only other text of its source then; of everything else, the text."""
    wanted = plan(knowledge="same-source")
    texts = texts_of(wanted)
    contributions = Contributions.of(wanted, texts)
    candidates = len(contributions.targets) * 2

    np.testing.assert_array_equal(contributions.held[:candidates, 0], texts.same_source)
    assert not np.isin(texts.candidates, contributions.held).any()
    np.testing.assert_array_equal(contributions.held[candidates:], contributions.groups[candidates:])
