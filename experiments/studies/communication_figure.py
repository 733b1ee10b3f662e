"""The picture of the communication study: bytes of a client against parameters, logarithmic axes. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.bench.cost_figure import SETTINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from experiments.studies.communication import Row

# Okabe and Ito 2008; markers and dashes tell series apart without colour.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#000000", "marker": "o", "linestyle": ":"},
    {"color": "#0072B2", "marker": "s", "linestyle": "-"},
    {"color": "#D55E00", "marker": "^", "linestyle": "--"},
    {"color": "#009E73", "marker": "D", "linestyle": "-."},
)
UNITS = ("B", "kB", "MB", "GB", "TB")


def draw(rows: Sequence[Row], file: Path, *, clients: int) -> None:
    """Write the picture: votes under each protocol, and each payload under one.

    Args:
        rows: of the study.
        file: ends in ``.png`` or ``.svg``.
        clients: roster of the rows to draw.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    chosen = [row for row in rows if row.clients == clients]
    with rc_context(SETTINGS | {"svg.hashsalt": "communication"}):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        votes = [row for row in chosen if row.payload == "votes"]
        _panel(left, f"votes on every weight, {clients} clients", _series(votes, "protocol"))
        other = {row.protocol for row in chosen if row.payload != "votes"}
        _panel(
            right,
            f"payloads under {', '.join(sorted(other))}, {clients} clients",
            _series([row for row in chosen if row.protocol in other], "payload"),
        )
        left.set_ylabel("bytes of a client, up and down")
        figure.supxlabel("parameters of the model (filled: measured and computed, equal; hollow: computed)", size=9)
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=150, metadata=metadata)


def _series(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.parameters):
        found.setdefault(getattr(row, name), []).append(row)
    return found


def _panel(axes: Axes, title: str, series: dict[str, list[Row]]) -> None:
    for (name, rows), style in zip(series.items(), STYLES, strict=False):
        places = [row.parameters for row in rows]
        heights = [row.computed_bytes for row in rows]
        axes.plot(places, heights, label=name, linewidth=1.4, markersize=5.5, markerfacecolor="white", **style)
        run = [row for row in rows if row.measured_bytes is not None]
        axes.plot(
            [row.parameters for row in run],
            [row.measured_bytes or 0 for row in run],
            linestyle="none",
            markersize=5.5,
            color=style["color"],
            marker=style["marker"],
        )
    axes.set(xscale="log", yscale="log")
    axes.set_title(title, fontsize="medium")
    axes.xaxis.set_major_formatter(lambda value, _: _short(value, ("", "k", "M", "B", "T")))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value, tuple(f" {unit}" for unit in UNITS)))
    axes.grid(which="major", linewidth=0.5, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")


def _short(value: float, units: Sequence[str]) -> str:
    power = 0
    while value >= 1000 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g}{units[power]}"
