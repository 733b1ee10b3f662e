"""The figure of what a client costs as clients grow in number: one panel a cost, logarithmic axes. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedprllm_secure.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")
# Okabe and Ito 2008: told apart with any colour vision; markers and dashes tell the curves apart without colour.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#D55E00", "marker": "s", "linestyle": "-"},
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#009E73", "marker": "^", "linestyle": "--"},
)
SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "client-cost",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9,
}


@dataclass(frozen=True, slots=True)
class Curve:
    """One way of masking.

    Attributes:
        name: What the legend calls it.
        clients: Numbers of clients, ascending.
        client_bytes: Bytes of a client, up and down, for each of them.
        client_seconds: Seconds of a client.
        server_seconds: Seconds of the server for a client.
    """

    name: str
    clients: Sequence[int]
    client_bytes: Sequence[float]
    client_seconds: Sequence[float]
    server_seconds: Sequence[float]

    def __post_init__(self) -> None:
        """Check that every cost is there for every number of clients.

        Raises:
            ValueError: If not.
        """
        for name in ("client_bytes", "client_seconds", "server_seconds"):
            if (found := len(getattr(self, name))) != len(self.clients):
                raise ValueError(f"{name}={found} values must be one for each of {len(self.clients)} numbers")


def check_plot_file(file: Path) -> None:
    """Refuse a figure that could not be drawn, before anything is measured for it.

    Raises:
        InputError: If the file's ending names no format here, its folder is missing, or matplotlib is not installed.
    """
    if file.suffix not in FORMATS:
        raise InputError(f"--plot={file} must end in {' or '.join(FORMATS)}")
    if not file.absolute().parent.is_dir():
        raise InputError(f"--plot={file} must be in a folder that exists")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install matplotlib") from None


def draw_costs(curves: Sequence[Curve], file: Path) -> None:
    """Write the figure: bytes of a client, seconds of a client, seconds of the server for a client.

    Args:
        curves: Up to three.
        file: Ends in `.svg` or `.png`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        panels = figure.subplots(1, 3)
        heights: dict[str, list[Sequence[float]]] = {
            "client: kilobytes, up and down": [[value / 1e3 for value in curve.client_bytes] for curve in curves],
            "client: seconds": [curve.client_seconds for curve in curves],
            "server: seconds a client": [curve.server_seconds for curve in curves],
        }
        for axes, (label, values) in zip(panels, heights.items(), strict=True):
            _draw_panel(axes, label, curves, values)
        _scale_alike(panels)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(curves), frameon=False)
        # A date would make every file differ.
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=150, metadata=metadata)


def _draw_panel(axes: Axes, label: str, curves: Sequence[Curve], values: Sequence[Sequence[float]]) -> None:
    for curve, heights, style in zip(curves, values, STYLES, strict=False):
        axes.plot(curve.clients, heights, label=curve.name, linewidth=1.6, markersize=4.5, **style)
    axes.set(xscale="log", yscale="log", xlabel="clients")
    axes.set_title(label, fontsize="medium")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.grid(which="major", linewidth=0.5, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)


def _scale_alike(panels: Sequence[Axes]) -> None:
    """Give all panels as many decades, so that a slope means the same in each."""
    limits = [axes.get_ylim() for axes in panels]
    half = max(high / low for low, high in limits) ** 0.5
    for axes, (low, high) in zip(panels, limits, strict=True):
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / half, middle * half)
