"""The picture of the game of linkage: identification and equal error rate by the share of windows in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.audit.games.pictures import drawn
from experiments.audit.pictures import COLOURS


def draw_linkage(figures: Mapping[str, Any], stem: Path) -> list[Path]:
    """Write the picture; gives the files."""
    shares = figures["shares"]
    places = np.array([100 * each["shared"] for each in shares])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, label, colour, marker in (
            ("identification_rate", "clients known again (nearest mask)", COLOURS[0], "o"),
            ("equal_error_rate", "equal error rate", COLOURS[1], "s"),
        ):
            mean = np.array([each[name]["mean"] for each in shares])
            deviation = np.array([each[name]["standard_deviation"] for each in shares])
            bars = np.stack([np.minimum(deviation, mean), np.minimum(deviation, 1 - mean)])  # rates stay in [0, 1]
            axes.errorbar(places, mean, bars, color=colour, marker=marker, capsize=4, linewidth=1.8, label=label)
        axes.axhline(shares[0]["chance"], color="#888888", linewidth=1, label="known again by guessing")
        axes.axvspan(97, 103, color="#E8E8E8", zorder=0, label="the same masks by construction")
        axes.set(xlim=(-4, 104), ylim=(-0.02, 1.05), xlabel="windows that both runs have (%)", ylabel="rate")
        axes.set_xticks(places)
        axes.set_title(
            f"Clients in two runs, {shares[0]['pairs_of_runs']} pairs of runs, bars one standard deviation",
            fontsize="medium",
        )
        axes.grid(linewidth=0.5, color="#DDDDDD")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")

    return drawn(stem, draw, size=(7.0, 4.8))
