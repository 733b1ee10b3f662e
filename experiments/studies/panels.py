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
SHIFT = 0.09  # between the series of one place
WIDE = 10
MOST_LETTERS = 40  # that stand side by side under a panel


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

    Heights are on a logarithmic scale where the largest is many times the smallest; places that are numbers always are.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    references: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that series can be told apart.

        Raises:
            ValueError: there are too many.
        """
        if len(self.series) > len(STYLES):
            raise ValueError(f"series={len(self.series)} must be at most {len(STYLES)}")

    @property
    def is_log(self) -> bool:
        """Whether heights are on a logarithmic scale."""
        means = [each.mean for series in self.series for each in series.points.values() if each is not None]
        return bool(means) and min(means) > 0 and max(means) > WIDE * min(means)


def draw(panels: Sequence[Panel], file: Path) -> None:
    """Write the picture, panels side by side; one legend for all where they have the same series.

    Args:
        panels: at least one.
        file: ends in ``.png`` or ``.svg``.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(SETTINGS | {"svg.hashsalt": file.stem, "text.parse_math": False}):
        figure = Figure(figsize=(max(5.4, 4.4 * len(panels)), 4.4), layout="constrained")
        every = list(figure.subplots(1, len(panels), squeeze=False)[0])
        for axes, panel in zip(every, panels, strict=True):
            _draw_panel(axes, panel)
        legends = [axes.get_legend_handles_labels() for axes in every]
        if all(names == legends[0][1] for _, names in legends):
            figure.legend(*legends[0], loc="outside lower center", ncols=5, frameon=False, fontsize="small")
        else:
            for axes in every:
                axes.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    places = list(dict.fromkeys(place for series in panel.series for place in series.points))
    are_categories = any(isinstance(place, str) for place in places)
    for number, (series, style) in enumerate(zip(panel.series, STYLES, strict=False)):
        shift = (number - (len(panel.series) - 1) / 2) * SHIFT
        found = {place: each for place, each in series.points.items() if each is not None}
        lengths = [_lengths(each, is_log=panel.is_log) for each in found.values()]
        axes.errorbar(
            [places.index(place) + shift if are_categories else float(place) * 2 ** (shift / 2) for place in found],
            [each.mean for each in found.values()],
            yerr=[[low for low, _ in lengths], [high for _, high in lengths]],
            label=series.name,
            capsize=2.5,
            linewidth=1.4,
            markersize=5,
            elinewidth=1,
            **(style | ({"linestyle": "none"} if are_categories else {})),
        )
    for (name, height), dashes in zip(panel.references.items(), REFERENCES, strict=False):
        axes.axhline(height, linestyle=dashes, color="#5A5F66", linewidth=1.1, label=name, zorder=1)
    axes.set_title(panel.title, fontsize="medium")
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    _mark_places(axes, places)
    if panel.is_log:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(axis="y", which="major", linewidth=0.5, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)


def _lengths(each: Spread, *, is_log: bool) -> tuple[float, float]:
    """Give the lengths of an interval down and up; on a logarithmic scale down to no less than a tenth of the mean."""
    if each.low is None or each.high is None:
        return 0.0, 0.0
    down = each.mean - each.low
    return min(down, 0.9 * each.mean) if is_log else down, each.high - each.mean


def _mark_places(axes: Axes, places: Sequence[Any]) -> None:
    names = [place for place in places if isinstance(place, str)]
    if not names:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(places), [f"{place:g}" for place in sorted(places)])
        axes.minorticks_off()
        return
    is_turned = sum(map(len, names)) > MOST_LETTERS
    turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if is_turned else {}
    axes.set_xticks(range(len(names)), names, **turned)
    axes.set_xlim(-0.6, len(names) - 0.4)
