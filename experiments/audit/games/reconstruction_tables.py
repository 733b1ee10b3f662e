"""The game of reconstruction in the terminal: histograms by what is seen, and mask inversion by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from posixpath import commonpath

import numpy as np
from rich.table import Column, Table

from experiments.audit.games.histograms import AMONG, TOP, HistogramFigures
from experiments.audit.games.recovery import MatrixRecovery
from experiments.audit.show import measured


def histogram_table(figures: Mapping[str, HistogramFigures]) -> Table:
    """Lay out how near histograms come, one column for what is seen."""
    table = Table("", *figures, title="histograms of tokens, mean ± standard deviation over texts")
    table.add_row("texts x tokens", *(f"{each.rows} x {each.tokens}" for each in figures.values()))
    table.add_row("cosine with the truth", *(_written(each.cosine) for each in figures.values()))
    table.add_row("  the population's", *(_written(each.prior_cosine) for each in figures.values()))
    table.add_row(f"top {TOP} among {AMONG}", *(_written(each.recall) for each in figures.values()))
    table.add_row("  the population's", *(_written(each.prior_recall) for each in figures.values()))
    for copies in next(iter(figures.values())).planted:
        name = f"AUC, rare token {'once' if copies == 1 else f'{copies} times'}"
        table.add_row(name, *(measured(each.planted[copies]) for each in figures.values()))
    return table


def inversion_table(recoveries: Sequence[MatrixRecovery]) -> Table:
    """Lay out what comes back of prune masks, matrix by matrix; names without what all have in common."""
    common = len(commonpath([each.name.replace(".", "/") for each in recoveries])) + 1
    table = Table(
        Column("matrix", no_wrap=True),
        *("rank corr.", "prior", "rel. error", "error", "median", "prior", "bounded", "bits right"),
        title="log-energies recovered from prune masks, means over clients; errors in nats, prior: the attacker's mean "
        "client, bounded: channels kept or removed as a whole",
        padding=(0, 0),
    )
    for each in recoveries:
        table.add_row(
            each.name[common:],
            f"{each.rank_correlation:.4f}",
            f"{each.prior_rank_correlation:.3f}",
            f"{100 * each.relative_error:.1f} %",
            f"{each.error_nats:.4f}",
            f"{each.median_error_nats:.4f}",
            f"{each.prior_error_nats:.3f}",
            f"{100 * each.bounded:.1f} %",
            f"{100 * each.bits_reproduced:.2f} %",
        )
    return table


def _written(values: np.ndarray) -> str:
    mean = f"{values.mean():.3f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.3f}"
