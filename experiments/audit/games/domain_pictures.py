"""The picture of the game of domains: what was told of clients, and how far told proportions are from true ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.audit.games.pictures import drawn
from experiments.audit.pictures import COLOURMAP, COLOURS


def draw_domains(figures: Mapping[str, Any], stem: Path) -> list[Path]:
    """Write the picture; gives the files."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
        _draw_told(left, figures)
        _draw_errors(right, figures)

    count = len(figures["domains"])
    return drawn(stem, draw, size=(6.4 + 0.7 * count, 2.6 + 0.6 * count))


def _draw_told(axes: Axes, figures: Mapping[str, Any]) -> None:
    told, names = np.array(figures["told"]), figures["domains"]
    shares = told / np.maximum(told.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap=COLOURMAP, vmin=0, vmax=1.15)
    for row, column in np.ndindex(*told.shape):
        ink = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(told[row, column]), ha="center", va="center", color=ink)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="domain told from the client's prune mask", ylabel="domain of the client's text")
    low, high = figures["accuracy_interval"]
    axes.set_title(
        f"{figures['correct']} of {figures['clients']} clients right: {figures['accuracy']:.3f}\n"
        f"[{low:.3f}, {high:.3f}]; guessing {figures['prior_accuracy']:.3f}",
        fontsize="medium",
    )


def _draw_errors(axes: Axes, figures: Mapping[str, Any]) -> None:
    told = np.array(figures["total_variation_by_run"])
    blind = np.array(figures["prior_total_variation_by_run"])
    places = np.arange(len(told))
    order = np.argsort(blind, kind="stable")
    axes.vlines(places, told[order], blind[order], color="#CCCCCC", linewidth=1)
    axes.plot(places, blind[order], "o", color=COLOURS[1], fillstyle="none", label="the mean mixture")
    axes.plot(places, told[order], "o", color=COLOURS[0], label="told from the totals")
    axes.set(ylim=(0, max(1.1 * float(max(told.max(), blind.max())), 0.1)), ylabel="total variation from the truth")
    axes.set_xticks([])
    axes.set_xlabel(f"{len(told)} runs")
    axes.set_title("proportions of domains in a run", fontsize="medium")
    axes.grid(axis="y", linewidth=0.5, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="best")
