"""What a picture's numbers say about how it is drawn."""

from __future__ import annotations

import pytest

from experiments.report.document import Axis, Curves, Series

SHARE, LOG = Axis("AUC", False, 0.5, 1.0), Axis("perplexity", True, 1.0, 100.0)


def points(name: str, x: float, y: float, **more: object) -> Series:
    """Give a series of one point."""
    return Series(name=name, x=(x,), y=(y,), **({"shape": "points"} | more))  # type: ignore[arg-type]


def test_shares_of_an_axis():
    """From 0 to 1 along it, in logarithms where it is logarithmic."""
    assert [SHARE.share(x) for x in (0.5, 0.75, 1.0)] == [0.0, 0.5, 1.0]
    assert [LOG.share(y) for y in (1.0, 10.0, 100.0)] == pytest.approx([0.0, 0.5, 1.0])


def test_points_on_each_other_are_counted():
    """By the series drawn below them: later points on them, of data alone."""
    below, on, nearly = points("a", 0.9, 10.0), points("b", 0.9, 10.0), points("c", 0.902, 10.1)
    beside, line = points("d", 0.8, 10.0), points("e", 0.9, 10.0, role="limit")
    curves = Curves(SHARE, LOG, (below, on, nearly, beside, line))

    assert [curves.covered(each) for each in curves.series] == [2, 1, 0, 0, 0]
