"""Puts pictures as figures for plotly.js: numbers, and looks by number, which the page turns into colours.

Plotly reads names as a small markup. Names come from files, so that everything is escaped here; the page escapes once
more what it writes into itself.
"""

from __future__ import annotations

import html
import math
from typing import Any

from experiments.report.document import Axis, Curves, Grid, Picture, Series
from experiments.report.stills import looks_of

DASHES = ("solid", "8px,3px", "4px,2px", "8px,3px,2px,3px", "2px,2px")
MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
LIMITS = ("1px,3px", "8px,4px", "8px,4px,2px,4px", "solid")


def figure(picture: Picture) -> dict[str, Any]:
    """Give data and layout, and under ``meta`` what the page has to colour."""
    return _curves(picture.drawing) if isinstance(picture.drawing, Curves) else _grid(picture.drawing)


def escaped(text: str) -> str:
    """Keep plotly from reading a name as markup, or what stands between dollars as a formula."""
    return html.escape(text, quote=False).replace("$", "&#36;")


def _curves(drawing: Curves) -> dict[str, Any]:
    looks = looks_of(drawing.series)
    seen: set[str] = set()
    limits = 0
    traces = []
    if drawing.unseen is not None:
        traces.append(_band(drawing.unseen, drawing.y))
    for series in drawing.series:
        if series.role == "data":
            traces.append(_data(drawing, series, looks[series.name], is_first=series.name not in seen))
            seen.add(series.name)
        else:
            dash = "solid" if series.role == "claim" else LIMITS[limits % len(LIMITS)]
            limits += series.role == "limit"
            traces.append(_guide(series, dash))
    return {
        "data": traces,
        "layout": {"xaxis": _axis(drawing.x), "yaxis": _axis(drawing.y), "hovermode": "closest"},
    }


def _data(drawing: Curves, series: Series, look: int, *, is_first: bool) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": escaped(series.name),
        "x": list(series.x),
        "y": list(series.y),
        "mode": {"points": "markers", "line": "lines+markers", "steps": "lines"}[series.shape],
        "line": {
            "dash": DASHES[look % len(DASHES)],
            "width": 2,
            "shape": "hv" if series.shape == "steps" else "linear",
        },
        "marker": {"symbol": MARKERS[look % len(MARKERS)], "size": 9 + 7 * drawing.covered(series)},
        "legendgroup": str(look),
        "showlegend": is_first,
        "meta": {"look": look},
    }
    if series.notes:
        trace |= {"text": [escaped(note) for note in series.notes], "hovertemplate": "%{text}<extra></extra>"}
    if series.low:
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - value for high, value in zip(series.high, series.y, strict=True)],
            "arrayminus": [value - low for low, value in zip(series.low, series.y, strict=True)],
        }
    return trace


def _guide(series: Series, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": escaped(series.name),
        "x": list(series.x),
        "y": list(series.y),
        "mode": "lines",
        "line": {"dash": dash, "width": 2.5 if series.role == "claim" else 1.5},
        "hoverinfo": "name",
        "meta": {"look": series.role},
    }


def _band(unseen: tuple[float, float, str], y: Axis) -> dict[str, Any]:
    low, high, name = unseen
    return {
        "type": "scatter",
        "name": escaped(name),
        "x": [low, high, high, low],
        "y": [y.low, y.low, y.high, y.high],
        "mode": "none",
        "fill": "toself",
        "hoverinfo": "skip",
        "meta": {"look": "unseen"},
    }


def _axis(axis: Axis) -> dict[str, Any]:
    ends = (axis.low, axis.high)
    found: dict[str, Any] = {
        "title": {"text": escaped(axis.title)},
        "type": "log" if axis.is_log else "linear",
        "range": [math.log10(end) for end in ends] if axis.is_log else list(ends),
        "automargin": True,
    }
    if axis.ticks:
        found["tickvals"] = [place for place, _ in axis.ticks]
        found["ticktext"] = [escaped(text) for _, text in axis.ticks]
    return found


def _grid(drawing: Grid) -> dict[str, Any]:
    return {
        "data": [
            {
                "type": "heatmap",
                # Names may be numbers, which plotly would take for places: these are names.
                "x": [escaped(column) for column in drawing.columns],
                "y": [escaped(row) for row in drawing.rows],
                "z": [list(row) for row in drawing.values],
                "text": [[escaped(text) for text in row] for row in drawing.texts],
                "texttemplate": "%{text}",
                "zmin": drawing.low,
                "zmax": max(drawing.high, drawing.low + 1e-9),
                "xgap": 2,
                "ygap": 2,
                "hovertemplate": "%{y}, %{x}: %{z:.3f}<extra></extra>",
                "colorbar": {"title": {"text": escaped(drawing.unit), "side": "right"}, "thickness": 12},
                "meta": {"look": "grid"},
            }
        ],
        "layout": {
            "xaxis": {
                "type": "category",
                "automargin": True,
                "showgrid": False,
                "title": {"text": escaped(drawing.across)},
            },
            "yaxis": {"type": "category", "automargin": True, "autorange": "reversed", "showgrid": False},
        },
    }
