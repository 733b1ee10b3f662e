"""Figures of `fedprllm bench privacy`: what was measured of each mask, kept as it comes, and the tables made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fedprllm_secure.errors import InputError

BOOTSTRAPS = 10_000
REFERENCES = ("central", "public-only")


@dataclass(slots=True)
class Figures:
    """What was measured of one mask.

    Attributes:
        cell: how the mask came about: sparsity, clients, mask.
        draw: which clients.
        output_error: relative output error of the layers, their mean.
        agreement: share of weights on which it agrees with central.
        perplexity: on the evaluation windows; None where it was not measured.
    """

    cell: tuple[str, ...]
    draw: int
    output_error: float
    agreement: float
    perplexity: float | None = None


class FiguresFile:
    """Figures of finished draws, a draw a line, so that an interrupted run goes on after the last one."""

    def __init__(self, file: Path | None, settings: Mapping[str, Any]) -> None:
        """Read what an earlier run left.

        Args:
            file: JSON Lines, the settings first; None keeps figures in memory only.
            settings: what figures depend on.

        Raises:
            InputError: the file is of other settings, or no file of figures.
        """
        self._file = file
        self._draws: dict[tuple[str, ...], list[Figures]] = {}
        if file is None:
            return
        if not file.exists():
            file.write_text(json.dumps({"settings": settings}) + "\n")
            return
        try:
            first, *rest = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
            same = first["settings"] == json.loads(json.dumps(settings))
            self._draws = {tuple(line["done"]): [_figures(each) for each in line["figures"]] for line in rest}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"--table {file} holds something else ({error}); name a new file") from error
        if not same:
            raise InputError(f"--table {file} holds figures of another run, {first['settings']}; name a new file")

    def has(self, *draw: str) -> bool:
        """Say whether a draw is finished."""
        return draw in self._draws

    def add(self, figures: Sequence[Figures], *draw: str) -> None:
        """Keep the figures of a draw."""
        self._draws[draw] = list(figures)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps({"done": draw, "figures": [asdict(each) for each in figures]}) + "\n")

    def all(self) -> list[Figures]:
        """Give the figures of all finished draws."""
        return [each for figures in self._draws.values() for each in figures]


def _figures(fields: Mapping[str, Any]) -> Figures:
    return Figures(**{**fields, "cell": tuple(fields["cell"])})


def print_tables(figures: Sequence[Figures], *, windows_per_client: int) -> None:
    """Print a table for each sparsity and number of clients."""
    for sparsity, clients in dict.fromkeys(f.cell[:2] for f in figures):
        own = [f for f in figures if f.cell[:2] == (sparsity, clients)]
        draws = len({f.draw for f in own})
        out = Table(
            *("mask", "perplexity", "output error", "agrees with central", "share kept: perplexity", "output error"),
            title=f"sparsity {sparsity}, {clients} clients x {windows_per_client} windows, {draws} draws",
        )
        for name in dict.fromkeys(f.cell[2] for f in own):
            out.add_row(name, *row(own, name))
        Console(width=180).print(out)


def row(figures: Sequence[Figures], name: str) -> list[str]:
    """Give a mask's cells: means over draws, their spread, and the shares of central's advantage that it keeps."""
    mine = [f for f in figures if f.cell[2] == name]
    cells = []
    for field_name, digits in (("perplexity", 2), ("output_error", 4), ("agreement", 4)):
        values = _by_draw(mine, field_name)
        spread = "" if values is None or len(values) < 2 else f" ± {values.std(ddof=1):.{digits}f}"
        cells.append("" if values is None else f"{values.mean():.{digits}f}{spread}")
    if name in REFERENCES:
        return [*cells, "", ""]
    return cells + [_share(figures, mine, field_name) for field_name in ("perplexity", "output_error")]


def _by_draw(figures: Sequence[Figures], name: str) -> np.ndarray | None:
    """Give the mean over releases for every draw; None where it was not measured."""
    by_draw: dict[int, list[float]] = {}
    for each in figures:
        if (value := getattr(each, name)) is not None:
            by_draw.setdefault(each.draw, []).append(value)
    return np.array([np.mean(by_draw[draw]) for draw in sorted(by_draw)]) if by_draw else None


def _share(figures: Sequence[Figures], mine: Sequence[Figures], name: str) -> str:
    """Give (public-only - private) / (public-only - central) of means, with its interval."""
    private = _by_draw(mine, name)
    central, public = (_by_draw([f for f in figures if f.cell[2] == each], name) for each in REFERENCES)
    if private is None or public is None or central is None:
        return ""
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(private), (BOOTSTRAPS, len(private)))
    gained, possible = public - private, public - central
    shares = gained[picks].mean(1) / possible[picks].mean(1)
    low, high = np.quantile(shares, [0.025, 0.975])
    interval = f"{gained.mean() / possible.mean():.2f} [{low:.2f}, {high:.2f}]"
    # A ratio means nothing where central may not be better than public-only.
    return interval if np.quantile(possible[picks].mean(1), 0.025) > 0 else "public-only is as good"
