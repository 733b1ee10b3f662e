"""The picture of a study: drawn in both formats, on the scale that its heights need."""

from __future__ import annotations

import pytest

from experiments.report.intervals import spread
from experiments.studies.panels import STYLES, Panel, Series, draw


def panel(*values: float, places: tuple[object, ...] = ("a", "b")) -> Panel:
    """A panel of one series, two seeds a place."""
    points = {place: spread([value, 1.01 * value]) for place, value in zip(places, values, strict=True)}
    return Panel("a $ title", "places", "heights", [Series("one", points)], {"dense": 1.0})


def test_pictures_are_drawn_and_the_same_again(tmp_path):
    """Names, numbers and places without a figure; two files of the same are equal."""
    hollow = Panel(
        "t", "x", "y", [Series("one", {"a" * 30: None, "b" * 30: spread([1.0])}), Series("two", {"c": None})]
    )
    panels = [panel(2.0, 3.0), panel(1.0, 2.0, places=(8, 2)), panel(1.0, 200.0), hollow]

    for name in ("one.svg", "one.png"):
        draw(panels, tmp_path / name)
    (tmp_path / "again").mkdir()
    draw(panels, tmp_path / "again" / "one.svg")

    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "again" / "one.svg").read_text()
    assert "a $ title" in drawn
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_scale_follows_the_heights():
    """Logarithmic from ten times on, never where something is not positive."""
    assert not panel(2.0, 3.0).is_log
    assert panel(2.0, 30.0).is_log
    assert not panel(-1.0, 30.0).is_log


def test_series_that_could_not_be_told_apart_are_refused():
    """There are as many as there are styles."""
    with pytest.raises(ValueError, match="series=6 must be at most 5"):
        Panel("t", "x", "y", [Series(str(number), {}) for number in range(len(STYLES) + 1)])
