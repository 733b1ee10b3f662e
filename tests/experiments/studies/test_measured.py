"""Values of a study: looked up, compared draw by draw, laid out."""

from __future__ import annotations

import pytest

from experiments.report.intervals import spread
from experiments.studies.measured import Grid, Value, Values, plus_minus


def value(seed: int, variant: str, found: float, place: str = "model") -> Value:
    """A value of one measure."""
    return Value(seed=seed, variant=variant, measure="m", place=place, value=found)


@pytest.fixture
def values():
    """Three draws, two variants, and one place that one draw alone has."""
    found = [
        value(seed, variant, base * (seed + 1)) for seed in (2, 0, 1) for variant, base in (("a", 1.0), ("b", 3.0))
    ]
    return Values([*found, *(value(seed, "c", 2.0 * (seed + 1)) for seed in range(3)), value(1, "a", 9.0, "block 0")])


def test_values_are_paired_by_draw(values):
    """Differences and shares are of each draw, whatever the order of measuring."""
    assert values.of("m", "a") == [1.0, 2.0, 3.0]
    assert values.difference("m", "b", "a") == spread([2.0, 4.0, 6.0])
    assert values.share("m", "c", of="b", above="a") == spread([0.5, 0.5, 0.5])
    assert values.places("m", "a") == ["model", "block 0"]


def test_what_some_draw_lacks_is_shown_as_nothing(values):
    """A mean over some draws only would be of another thing."""
    assert values.shown("m", "a", digits=1) == "2.0 ± 2.5"
    assert values.shown("m", "a", "block 0") == ""
    with pytest.raises(KeyError):
        values.of("m", "a", "block 0")


def test_a_share_of_nothing_is_refused(values):
    """Where there is no difference there is nothing to take a share of."""
    with pytest.raises(ZeroDivisionError):
        values.share("m", "c", of="a", above="a")


def test_two_values_of_one_thing_are_refused():
    """One would hide the other."""
    with pytest.raises(ValueError, match="values=2 must be of different draws"):
        Values([value(0, "a", 1.0), value(0, "a", 2.0)])


def test_half_an_interval_is_shown_where_there_is_one():
    """Equal values have none."""
    assert plus_minus(spread([1.0, 1.0])) == "1.00"
    assert plus_minus(spread([1.0])) == "1.00"
    assert plus_minus(spread([1.0, 2.0, 3.0]), digits=1) == "2.0 ± 2.5"


def test_a_grid_is_markdown_too():
    """Title, headings, rule and rows."""
    grid = Grid("T", ("x", "y"), (("1", "2"),))

    assert grid.markdown() == "**T**\n\n| x | y |\n|---|---:|\n| 1 | 2 |\n"
