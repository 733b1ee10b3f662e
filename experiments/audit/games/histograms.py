"""Histograms of tokens from what servers see of block 0, and how near they come to the truth.

Three things are seen: the statistics of a client, the statistics of all clients of a run added up, and the prune masks
of a client. Each is turned into energies of block 0's first input and these into a histogram (attacks.token_histogram).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attacks.leakage.figures import Measured, measured_figures
from attacks.leakage.samples import Samples
from attacks.token_histogram import TokenPrior, cosine, presence, reconstruct, top_recall
from experiments.audit.games.board import Board
from experiments.audit.report import LEVEL

TOP, AMONG = 20, 40
LEAST_ERROR = 1e-6  # of a logarithm of an energy: rounding


def counts_of(texts: np.ndarray, vocabulary: int) -> np.ndarray:
    """Count tokens, int64 (texts, vocabulary) of texts (texts, tokens)."""
    return np.stack([np.bincount(text, minlength=vocabulary) for text in texts])


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Energies of block 0's first input, as some server has them.

    Attributes:
        energies: by number of copies planted, float64 (rows, channels).
        truth: by number of copies, histograms, int64 (rows, vocabulary).
        table: float64 (vocabulary, channels), what a token adds.
        population: int64 (texts, vocabulary), histograms of the attacker's texts of this length.
        error: float64 (channels,), standard deviation of the logarithm of an energy.
        is_scale_known: whether energies are known beyond a factor a row.
        asked: int64 (rows, tokens), the planted tokens that are asked about in a row.
        coins: bool (rows, tokens), whether each is there.
    """

    energies: dict[int, np.ndarray] = field(repr=False)
    truth: dict[int, np.ndarray] = field(repr=False)
    table: np.ndarray = field(repr=False)
    population: np.ndarray = field(repr=False)
    error: np.ndarray = field(repr=False)
    is_scale_known: bool
    asked: np.ndarray = field(repr=False)
    coins: np.ndarray = field(repr=False)

    @property
    def tokens(self) -> int:
        """Tokens of a text."""
        return int(next(iter(self.truth.values()))[0].sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramFigures:
    """How near the histograms of one view come.

    Attributes:
        rows: how many were reconstructed, in each variant of the text.
        tokens: of a text.
        cosine: of each row with the truth, float64 (rows,), where each planted token is there once.
        prior_cosine: of the population's histogram with the truth.
        recall: share of the truth's ``TOP`` tokens among the ``AMONG`` likeliest.
        prior_recall: the same of the population's.
        planted: by number of copies, the AUC of telling whether a rare token is there.
    """

    rows: int
    tokens: int
    cosine: np.ndarray
    prior_cosine: np.ndarray
    recall: np.ndarray
    prior_recall: np.ndarray
    planted: dict[int, Measured]

    def as_json(self) -> dict[str, Any]:
        """Give them as JSON can hold them."""
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "cosine": spread(self.cosine),
            "prior_cosine": spread(self.prior_cosine),
            f"recall_top_{TOP}_among_{AMONG}": spread(self.recall),
            f"prior_recall_top_{TOP}_among_{AMONG}": spread(self.prior_recall),
            "planted_token_auc_by_copies": {str(copies): _measured(each) for copies, each in self.planted.items()},
            "prior_planted_token_auc": 0.5,
        }


def told(board: Board, name: str, seen: Seen, *, generator: np.random.Generator) -> HistogramFigures:
    """Reconstruct the histograms of a view and compare.

    Args:
        board: the ground.
        name: of the view, for the progress bar.
        seen: the view.
        generator: of the bootstrap's weights.
    """
    prior = TokenPrior.of_texts(seen.population)
    found = {copies: _reconstructed(board, f"{name}, copies {copies}", seen, prior, copies) for copies in seen.truth}
    first = min(found)
    truth, shares = seen.truth[first], prior.shares[None]
    return HistogramFigures(
        rows=len(truth),
        tokens=seen.tokens,
        cosine=cosine(found[first], truth),
        prior_cosine=cosine(shares, truth),
        recall=top_recall(found[first], truth, top=TOP, among=AMONG),
        prior_recall=top_recall(shares, truth, top=TOP, among=AMONG),
        planted={copies: _auc(seen, each, prior, generator) for copies, each in found.items()},
    )


def _reconstructed(board: Board, name: str, seen: Seen, prior: TokenPrior, copies: int) -> np.ndarray:
    rows = seen.energies[copies]

    def one(row: np.ndarray) -> np.ndarray:
        return reconstruct(
            row[None],
            seen.table,
            prior=prior,
            tokens=seen.tokens,
            error=seen.error,
            is_scale_known=seen.is_scale_known,
        )

    found = []
    board.progress(f"text from {name}", 0, len(rows))
    for done, each in enumerate(board.workers.map(one, rows), start=1):
        found.append(each)
        board.progress(f"text from {name}", done, len(rows))
    return np.concatenate(found)


def _auc(seen: Seen, found: np.ndarray, prior: TokenPrior, generator: np.random.Generator) -> Measured:
    rows, asked = seen.asked.shape
    of_rows = np.repeat(np.arange(rows), asked)
    tokens, coins = seen.asked.reshape(-1), seen.coins.reshape(-1)
    if coins.all() or not coins.any():
        return Measured(None, None, "all coins fell alike; more --victims toss more")
    scores = presence(found[of_rows], tokens, prior=prior, tokens=seen.tokens)
    samples = Samples(scores=scores, members=coins, runs=of_rows, targets=tokens)
    return measured_figures(samples, cutoff=0.0, level=LEVEL, generator=generator)[0]


def spread(values: np.ndarray) -> dict[str, float | None]:
    """Give mean and standard deviation of some rows."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "standard_deviation": deviation}


def _measured(figure: Measured) -> dict[str, Any]:
    interval = None if figure.interval is None else [figure.interval.low, figure.interval.high]
    return {"value": figure.value, "interval": interval, "reason": figure.reason}
