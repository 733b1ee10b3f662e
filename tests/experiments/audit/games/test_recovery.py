"""How near recovered log-energies come, against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from experiments.audit.games.recovery import MatrixRecovery, log_energies
from experiments.audit.statistics import WindowStatistics


def test_figures_are_those_of_the_formulas() -> None:
    """Spearman's correlation, and errors less the mean over live channels; dead channels do not count."""
    generator = np.random.default_rng(0)
    live = np.arange(9) != 4
    truth, prior = generator.normal(size=(3, 9)), generator.normal(size=9)
    found = truth + 0.1 * generator.normal(size=(3, 9))
    found[:, live] -= found[:, live].mean(1, keepdims=True)
    found[:, 4] = 0
    masks = generator.integers(0, 2, (3, 20, 9)).astype(bool)
    masks[0, :, 2], masks[1:, :, 8] = True, False

    figures = MatrixRecovery.of(
        1, "some", found=found, truth=truth, prior=prior, live=live, masks=masks, bits_reproduced=0.75
    ).as_json()

    centred = truth[:, live] - truth[:, live].mean(1, keepdims=True)
    off = np.sqrt(((found[:, live] - centred) ** 2).mean(1))
    expected = [spearmanr(own, true).statistic for own, true in zip(found[:, live], centred, strict=True)]
    blind = [spearmanr(prior[live], true).statistic for true in centred]
    assert figures["rank_correlation"] == pytest.approx(np.mean(expected))
    assert figures["prior_rank_correlation"] == pytest.approx(np.mean(blind))
    assert figures["error_nats"] == pytest.approx(off.mean())
    assert figures["median_error_nats"] == pytest.approx(
        np.mean([np.median(abs(own - true)) for own, true in zip(found[:, live], centred, strict=True)])
    )
    assert figures["bounded"] == 3 / 24
    assert figures["relative_error"] == pytest.approx(off.mean() / np.sqrt((centred**2).mean(1)).mean())
    assert figures["prior_error_nats"] == pytest.approx(
        np.sqrt((centred - (prior[live] - prior[live].mean())) ** 2 @ np.ones(8) / 8).mean()
    )
    assert (figures["block"], figures["name"], figures["bits_reproduced"]) == (1, "some", 0.75)


def test_log_energies_are_of_the_sum_over_windows(statistics: WindowStatistics) -> None:
    """Of every client, all channels."""
    windows = np.array([[0, 3], [5, 1]])

    expected = np.log(
        [statistics.energies[0] + statistics.energies[3], statistics.energies[5] + statistics.energies[1]]
    )

    assert np.allclose(log_energies(statistics, windows), expected)
