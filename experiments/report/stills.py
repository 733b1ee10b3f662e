"""Draws pictures as PNG files with matplotlib: for Markdown, and for pages read without scripts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from experiments.report.document import Axis, Curves, Grid, Picture, Series

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.usetex": False,
    # Names come from files: a "$" in one begins no formula.
    "text.parse_math": False,
}
# The page's own colours for a light background (page/report.css): at least 3 to 1 on white.
COLOURS = ("#0060A8", "#B84A00", "#007A56", "#9A3B7D", "#5557C4", "#7A5B00")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LIMITS: tuple[Any, ...] = ((0, (1, 1.5)), (0, (5, 2)), (0, (5, 2, 1, 2)), "-")
GREY, CLAIM, UNSEEN = "#5A5F66", "#111111", "#E8E8E8"
COLOURMAP = "YlGnBu"
MIDDLE_LUMINANCE = 0.179  # black and white stand out alike from it
MOST_SQUARES_NAMED = 400


def still(picture: Picture) -> bytes:
    """Give a PNG of a picture."""
    with rc_context(SETTINGS):
        figure = _curves(picture.drawing) if isinstance(picture.drawing, Curves) else _grid(picture.drawing)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()


def _curves(drawing: Curves) -> Figure:
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    axes = figure.subplots()
    _set_axis(axes, "x", drawing.x)
    _set_axis(axes, "y", drawing.y)
    looks = looks_of(drawing.series)
    limits = 0
    for series in drawing.series:
        if series.role == "data":
            _draw(axes, series, looks[series.name], covered=drawing.covered(series))
        else:
            is_claim = series.role == "claim"
            style: dict[str, Any] = (
                {"color": CLAIM, "linewidth": 2.4} if is_claim else {"color": GREY, "linewidth": 1.2}
            )
            dashes = "-" if is_claim else LIMITS[limits % len(LIMITS)]
            axes.plot(series.x, series.y, linestyle=dashes, label=_label(series.name), zorder=1.5, **style)
            limits += not is_claim
    if drawing.unseen is not None:
        low, high, name = drawing.unseen
        axes.axvspan(low, high, color=UNSEEN, zorder=0, label=_label(name))
    axes.grid(which="major", linewidth=0.5, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower left", frameon=False, fontsize="small", ncols=2)
    return figure


def looks_of(series: tuple[Series, ...]) -> dict[str, int]:
    """Number the names of data in their order: series of one name look alike."""
    names = dict.fromkeys(each.name for each in series if each.role == "data")
    return {name: number for number, name in enumerate(names)}


def _draw(axes: Axes, series: Series, look: int, *, covered: int) -> None:
    colour = COLOURS[look % len(COLOURS)]
    dashes = DASHES[look % len(DASHES)] if series.shape != "points" else "none"
    marker = None if series.shape == "steps" else MARKERS[look % len(MARKERS)]
    axes.plot(
        series.x,
        series.y,
        color=colour,
        linestyle=dashes,
        marker=marker,
        markersize=6 + 5 * covered,
        linewidth=1.8,
        drawstyle="steps-post" if series.shape == "steps" else "default",
        label=_label(series.name),
    )
    if series.low:
        heights = np.array(series.y)
        bars = np.stack([heights - np.array(series.low), np.array(series.high) - heights])
        axes.errorbar(series.x, series.y, yerr=bars, fmt="none", ecolor=colour, capsize=3, linewidth=1.2)


def _label(name: str) -> str:
    # matplotlib leaves names that begin with "_" out of legends.
    return f"\u200b{name}" if name.startswith("_") else name


def _set_axis(axes: Axes, which: str, axis: Axis) -> None:
    set_scale, set_limits, set_title = (getattr(axes, f"set_{which}{part}") for part in ("scale", "lim", "label"))
    set_scale("log" if axis.is_log else "linear")
    set_limits(axis.low, axis.high)
    set_title(axis.title)
    ruler = axes.xaxis if which == "x" else axes.yaxis
    if axis.ticks:
        ruler.set_ticks([place for place, _ in axis.ticks], [text for _, text in axis.ticks])
        ruler.set_ticks([], minor=True)
    elif axis.is_log:
        ruler.set_major_formatter(lambda value, _: f"{value:g}")
        ruler.set_minor_formatter(lambda value, _: f"{value:g}" if axis.high < 20 * axis.low else "")


def _grid(drawing: Grid) -> Figure:
    longest = max(len(row) for row in drawing.rows)
    size = (1.6 + 0.08 * longest + 0.95 * len(drawing.columns), 1.5 + 0.42 * len(drawing.rows))
    figure = Figure(figsize=(min(size[0], 14), min(size[1], 14)), layout="constrained")
    axes = figure.subplots()
    values = np.array([[np.nan if value is None else value for value in row] for row in drawing.values], dtype=float)
    scale = Normalize(drawing.low, max(drawing.high, drawing.low + 1e-9), clip=True)
    image = axes.imshow(values, cmap=colormaps[COLOURMAP], norm=scale, aspect="auto")
    figure.colorbar(image, ax=axes, label=drawing.unit)
    axes.set_xticks(np.arange(len(drawing.columns)), [column.replace(" and ", "\nand ") for column in drawing.columns])
    axes.set_yticks(np.arange(len(drawing.rows)), drawing.rows)
    axes.set_xlabel(drawing.across)
    axes.tick_params(length=0)
    if values.size <= MOST_SQUARES_NAMED:
        for row, texts in enumerate(drawing.texts):
            for column, text in enumerate(texts):
                value = values[row, column]
                ink = ink_on(image.cmap(float(scale(value)))) if np.isfinite(value) else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize="small", color=ink)
    return figure


def ink_on(colour: Sequence[float]) -> str:
    """Give black or white, whichever stands out more from a colour (red, green, blue, each 0 to 1).

    Relative luminance as of the Web Content Accessibility Guidelines 2.2.
    """
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return "black" if float(np.dot(linear, [0.2126, 0.7152, 0.0722])) > MIDDLE_LUMINANCE else "white"
