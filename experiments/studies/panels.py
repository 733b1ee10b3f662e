"""The picture of a study: panels of series with intervals, and lines to compare with. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.bench.cost_figure import SETTINGS
from experiments.report.intervals import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008; markers and dashes tell series apart without colour.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#000000", "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
)
REFERENCES = ((0, (1, 1.5)), (0, (5, 2)), (0, (5, 2, 1, 2)), "-")
SHIFT = 0.09  # between the series of one category


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind.

    Attributes:
        name: what the legend calls it.
        points: by place, a number or a category, the figure there; None draws nothing.
    """

    name: str
    points: Mapping[float, Spread | None] | Mapping[str, Spread | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        x_label: of the places.
        y_label: of the figures.
        series: at most as many as there are styles.
        references: by name, the height of a line across.
        is_log: whether heights are on a logarithmic scale; places that are numbers always are.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    references: Mapping[str, float] = field(default_factory=dict)
    is_log: bool = False

    def __post_init__(self) -> None:
        """Check that series can be told apart.

        Raises:
            ValueError: there are too many.
        """
        if len(self.series) > len(STYLES):
            raise ValueError(f"series={len(self.series)} must be at most {len(STYLES)}")


def draw(panels: Sequence[Panel], file: Path) -> None:
    """Write the picture, panels side by side.

    Args:
        panels: at least one.
        file: ends in ``.png`` or ``.svg``.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(SETTINGS | {"svg.hashsalt": file.stem, "text.parse_math": False}):
        figure = Figure(figsize=(4.4 * len(panels), 4.4), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw_panel(axes, panel)
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    places = list(dict.fromkeys(place for series in panel.series for place in series.points))
    are_categories = any(isinstance(place, str) for place in places)
    for number, (series, style) in enumerate(zip(panel.series, STYLES, strict=False)):
        shift = (number - (len(panel.series) - 1) / 2) * SHIFT if are_categories else 0.0
        found = {place: each for place, each in series.points.items() if each is not None}
        spots = [places.index(place) + shift if are_categories else float(place) for place in found]
        look = dict(style) | ({"linestyle": "none"} if are_categories else {})
        axes.errorbar(
            spots,
            [each.mean for each in found.values()],
            yerr=[_below(found.values(), is_log=panel.is_log), _above(found.values())],
            label=series.name,
            capsize=2.5,
            linewidth=1.4,
            markersize=5,
            elinewidth=1,
            **look,
        )
    for (name, height), dashes in zip(panel.references.items(), REFERENCES, strict=False):
        axes.axhline(height, linestyle=dashes, color="#5A5F66", linewidth=1.1, label=name, zorder=1)
    _label(axes, panel, places if are_categories else sorted(float(place) for place in places))


def _below(found: Any, *, is_log: bool) -> list[float]:
    """Give the lengths of intervals downwards; on a logarithmic scale no longer than to a tenth of the mean."""
    most = [0.9 * abs(each.mean) if is_log else float("inf") for each in found]
    return [
        0.0 if each.low is None else min(each.mean - each.low, limit) for each, limit in zip(found, most, strict=True)
    ]


def _above(found: Any) -> list[float]:
    return [0.0 if each.high is None else each.high - each.mean for each in found]


def _label(axes: Axes, panel: Panel, places: Sequence[Any]) -> None:
    is_turned = sum(len(place) for place in places if isinstance(place, str)) > 40
    axes.set_title(panel.title, fontsize="medium")
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    if any(isinstance(place, str) for place in places):
        axes.set_xticks(range(len(places)), [str(place) for place in places])
        axes.set_xlim(-0.6, len(places) - 0.4)
        if is_turned:
            axes.tick_params(axis="x", labelrotation=35)
            for text in axes.get_xticklabels():
                text.set_horizontalalignment("right")
    else:
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
    if panel.is_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(axis="y", which="major", linewidth=0.5, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.4 if is_turned else -0.15), ncols=2
    )
