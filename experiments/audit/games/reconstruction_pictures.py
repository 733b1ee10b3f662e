"""The picture of the game of reconstruction: histograms, planted tokens, and mask inversion by block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.audit.games.pictures import drawn
from experiments.audit.pictures import COLOURS


def draw_reconstruction(figures: Mapping[str, Any], stem: Path) -> list[Path]:
    """Write the picture; gives the files."""

    def draw(figure: Figure) -> None:
        left, middle, right = figure.subplots(1, 3)
        _draw_cosines(left, figures["histograms"])
        _draw_planted(middle, figures["histograms"])
        _draw_inversion(right, figures["mask_inversion"])

    return drawn(stem, draw, size=(13.0, 4.4))


def _names(histograms: Mapping[str, Any]) -> list[str]:
    return [name.replace(" of ", "\nof ") for name in histograms]


def _draw_cosines(axes: Axes, histograms: Mapping[str, Any]) -> None:
    places = np.arange(len(histograms))
    for offset, name, label, colour in (
        (-0.2, "cosine", "reconstructed", COLOURS[0]),
        (0.2, "prior_cosine", "the population's", "#BBBBBB"),
    ):
        mean = [each[name]["mean"] for each in histograms.values()]
        deviation = [each[name]["standard_deviation"] or 0.0 for each in histograms.values()]
        axes.bar(places + offset, mean, 0.38, yerr=deviation, capsize=3, color=colour, label=label)
    axes.set_xticks(places, _names(histograms), fontsize="small")
    axes.set(ylim=(0, 1.18), ylabel="cosine with the true histogram")
    _tidy(axes, "histograms of tokens")


def _draw_planted(axes: Axes, histograms: Mapping[str, Any]) -> None:
    by_copies = [each["planted_token_auc_by_copies"] for each in histograms.values()]
    copies = list(by_copies[0])
    for number, name in enumerate(copies):
        places = np.arange(len(by_copies)) + 0.25 * (number - (len(copies) - 1) / 2)
        for place, each in zip(places, by_copies, strict=True):
            figure = each[name]
            if figure["value"] is None:
                continue
            low, high = figure["interval"] or (figure["value"], figure["value"])
            axes.vlines(place, low, high, color=COLOURS[number], linewidth=2)
        shown = [(place, each[name]["value"]) for place, each in zip(places, by_copies, strict=True)]
        shown = [pair for pair in shown if pair[1] is not None]
        label = f"{name} {'copy' if name == '1' else 'copies'}"
        axes.plot(*zip(*shown, strict=True), "os"[number % 2], color=COLOURS[number], label=label) if shown else None
    axes.axhline(0.5, color="#888888", linewidth=1, label="guessing")
    axes.set_xticks(np.arange(len(by_copies)), _names(histograms), fontsize="small")
    axes.set(xlim=(-0.5, len(by_copies) - 0.5), ylim=(0.3, 1.12), ylabel="AUC, 95 % interval")
    _tidy(axes, "is a planted rare token there?")


def _draw_inversion(axes: Axes, matrices: list[dict[str, Any]]) -> None:
    blocks = sorted({each["block"] for each in matrices})
    for name, label, colour, marker in (
        ("median_error_nats", "recovered: median of channels", COLOURS[0], "o"),
        ("error_nats", "recovered: root mean square", COLOURS[1], "^"),
        ("prior_error_nats", "attacker's mean client: root mean square", "#888888", "s"),
    ):
        values = [[each[name] for each in matrices if each["block"] == block] for block in blocks]
        places = np.repeat(blocks, [len(each) for each in values])
        axes.plot(places, np.concatenate(values), marker, color=colour, markersize=4, alpha=0.7, label=label)
    axes.set_xticks(blocks)
    axes.set(yscale="log", xlabel="block", ylabel="error of a log-energy in a matrix (nats)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 8)  # room for the legend
    bits = [each["bits_reproduced"] for each in matrices]
    _tidy(axes, f"mask inversion: {100 * min(bits):.2f} to {100 * max(bits):.2f} % of bits right")


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="y", linewidth=0.5, color="#DDDDDD")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="best")
