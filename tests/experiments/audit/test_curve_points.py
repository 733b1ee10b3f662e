"""What is written of a ROC curve beside its points."""

from __future__ import annotations

from experiments.audit.curve_points import curve_points
from tests.attacks.leakage.simulated import samples


def test_independent_non_members_are_runs() -> None:
    """Of three runs with five non-members in two of them, two count: coins of one run are not independent."""
    found = curve_points(samples(range(7), [0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 2], [0, 1, 2, 0, 1, 2, 0]))
    assert (found["coins"], found["independent_non_members"]) == (7, 2)
