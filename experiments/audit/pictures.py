"""Pictures of an audit: ROC curves on logarithmic axes, and what every adversary reaches under every protocol.

Logarithmic, for an attack that names few but names them rightly is what hurts, and linear axes hide it. Beside each
curve stands what could be seen at all: how low a false positive rate these runs can show, what guessing reaches,
and what a claimed epsilon allows. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attacks.leakage.ceilings import epsilon_delta_tpr, one_run_ceiling, smallest_supported_fpr
from attacks.leakage.claims import Claim
from attacks.leakage.curves import roc
from attacks.leakage.figures import Measured
from attacks.leakage.samples import Samples

SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "audit",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 10,
}
# Okabe and Ito 2008: told apart with any colour vision; dashes tell the curves apart without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (6, 2, 1, 2)), "-", (0, (6, 2)), (0, (3, 1.5)))
LOWEST_FPR = 1e-3  # the axes begin here or, with more runs, further left
POINTS_A_DECADE = 200
COLOURMAP = "YlGnBu"
MIDDLE_LUMINANCE = 0.179  # black and white stand out alike from it


@dataclass(frozen=True, slots=True)
class Cell:
    """What the strongest attack of one adversary reaches under one protocol.

    Attributes:
        auc: of the strongest attack, chosen on other runs.
        note: printed below, such as the attack's name or `no claim`.
    """

    auc: Measured
    note: str = ""


def draw_roc(curves: Mapping[str, Samples], stem: Path, *, title: str, claim: Claim | None, level: float) -> list[Path]:
    """Write ROC curves on logarithmic axes, with what could be seen at all.

    Args:
        curves: up to seven, by what the legend calls them, in its order; of runs on which nothing was chosen.
        stem: files are this with `.png` and `.svg`.
        title: above the axes.
        claim: whose curve no attack may pass; None where nothing is claimed.
        level: chance of being wrong at which runs show a rate.

    Returns:
        The files.

    Raises:
        ValueError: there is no curve, or there are more than seven.
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise ValueError(f"curves={len(curves)} must be 1 to {len(COLOURS)}")
    runs = min(samples.independent_non_members for samples in curves.values())
    supported = smallest_supported_fpr(runs, level=level)
    lowest = min(LOWEST_FPR, supported / 2)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(8.2, 5.0), layout="constrained")
        axes = figure.subplots()
        axes.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(lowest, 1.15))
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.set_title(title, fontsize="medium")
        for (label, samples), colour, dashes in zip(curves.items(), COLOURS, DASHES, strict=False):
            _draw_curve(axes, label, samples, lowest, color=colour, linestyle=dashes)
        coins = min(len(samples) for samples in curves.values())
        _draw_limits(axes, lowest, claim=claim, coins=coins, level=level)
        axes.axvspan(
            lowest, supported, color="#E8E8E8", zorder=0, label=f"{runs:,} runs with a non-member show no rate this low"
        )
        _tidy(axes)
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")
        return _written(figure, stem)


def _draw_curve(axes: Axes, label: str, samples: Samples, lowest: float, **style: Any) -> None:
    curve = roc(samples)
    # A rate of 0 has no place on a logarithmic axis: the curve comes in from beyond its left end.
    false = np.maximum(curve.false_positive_rates, lowest / 10)
    # Of points closer than a line is wide, the last: it is the highest.
    bins = np.round(np.log10(false) * POINTS_A_DECADE)
    last = np.append(np.flatnonzero(np.diff(bins)), len(bins) - 1)
    axes.plot(
        false[last],
        curve.true_positive_rates[last],
        drawstyle="steps-post",
        linewidth=1.8,
        label=f"{label}: AUC {curve.auc():.3f}",
        **style,
    )


def _draw_limits(axes: Axes, lowest: float, *, claim: Claim | None, coins: int, level: float) -> None:
    """Draw guessing, the curve of the claim, and that of the greatest epsilon that so many coins can show."""
    false = np.geomspace(lowest, 1, 400)
    axes.plot(false, false, color="#888888", linewidth=1, label="guessing")
    delta = 0.0 if claim is None else claim.delta
    ceiling = one_run_ceiling(coins, delta=delta, level=level)
    shown = epsilon_delta_tpr(false, epsilon=ceiling, delta=delta)
    label = f"epsilon {ceiling:.2f}: the most that {coins:,} coins show"
    axes.plot(false, shown, color="#888888", linewidth=1, linestyle=":", label=label)
    if claim is not None:
        allowed = epsilon_delta_tpr(false, epsilon=claim.epsilon, delta=claim.delta)
        label = f"claimed: epsilon {claim.epsilon:g}, delta {claim.delta:g}\n({claim.game.adjacency})"
        axes.plot(false, allowed, color="black", linewidth=2.4, alpha=0.85, label=label)
        axes.fill_between(false, allowed, 2, color="#E69F00", alpha=0.13, linewidth=0, label="the claim rules this out")


def draw_matrix(
    cells: Mapping[tuple[str, str], Cell],
    stem: Path,
    *,
    protocols: Sequence[str],
    adversaries: Sequence[str],
    title: str,
) -> list[Path]:
    """Write a table of AUCs, a protocol a row and an adversary a column, darker where more is told.

    Args:
        cells: by protocol and adversary; a pair without a cell is drawn as none.
        stem: files are this with `.png` and `.svg`.
        protocols: rows, from above.
        adversaries: columns, from the left.
        title: above.

    Returns:
        The files.

    Raises:
        ValueError: a cell is of no row or column.
    """
    stray = [pair for pair in cells if pair[0] not in protocols or pair[1] not in adversaries]
    if stray:
        raise ValueError(f"cells={stray} must be of protocols={list(protocols)} and adversaries={list(adversaries)}")
    with rc_context(SETTINGS):
        size = (1.8 + 1.75 * len(adversaries), 1.3 + 0.85 * len(protocols))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for row, protocol in enumerate(protocols):
            for column, adversary in enumerate(adversaries):
                _draw_cell(axes, column, row, cells.get((protocol, adversary)))
        axes.set(xlim=(0, len(adversaries)), ylim=(len(protocols), 0))
        axes.set_xticks(np.arange(len(adversaries)) + 0.5, [name.replace(" ", "\n", 1) for name in adversaries])
        axes.set_yticks(np.arange(len(protocols)) + 0.5, list(protocols))
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize="medium", pad=12)
        return _written(figure, stem)


def _draw_cell(axes: Axes, column: int, row: int, cell: Cell | None) -> None:
    """Draw a square with its figure, its interval, and its note."""
    place, middle = (column, row), (column + 0.5, row + 0.5)
    if cell is None or cell.auc.value is None:
        axes.add_patch(Rectangle(place, 1, 1, facecolor="white", edgecolor="#BBBBBB", hatch="///", linewidth=0.5))
        says = "not played" if cell is None else "refused"
        background = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        axes.text(*middle, says, ha="center", va="center", fontsize="small", color="#555555", bbox=background)
        return
    share = float(Normalize(0.5, 1.0, clip=True)(cell.auc.value))
    colour = colormaps[COLOURMAP](0.85 * share)
    axes.add_patch(Rectangle(place, 1, 1, facecolor=colour, edgecolor="white", linewidth=2))
    ink = "black" if _luminance(colour) > MIDDLE_LUMINANCE else "white"
    interval = cell.auc.interval
    below = ["no interval" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}", cell.note]
    axes.text(column + 0.5, row + 0.3, f"{cell.auc.value:.3f}", ha="center", va="center", color=ink, weight="bold")
    axes.text(
        column + 0.5, row + 0.52, "\n".join(filter(None, below)), ha="center", va="top", color=ink, fontsize="small"
    )


def _luminance(colour: tuple[float, float, float, float]) -> float:
    """Give relative luminance, 0 to 1 (Web Content Accessibility Guidelines 2.2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def _tidy(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.grid(which="major", linewidth=0.5, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)


def _written(figure: Figure, stem: Path) -> list[Path]:
    files = [stem.with_name(stem.name + ending) for ending in (".png", ".svg")]
    for file in files:
        file.touch()
        file.chmod(0o600)  # what attacks tell of private text is for this user alone
        # A date would make every file differ.
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files
