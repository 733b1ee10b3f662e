"""Attacks at work side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from attacks import ATTACKS
from attacks.evidence import MatrixSight, Setting
from experiments.audit import scoring
from experiments.audit.scoring import AttackScores

OBSERVED, LABELLED, CANDIDATES = 4, 12, 6


@pytest.fixture
def evidence():
    """Make masks of one matrix, and what an attacker knows."""
    generator = np.random.default_rng(0)
    coins = generator.integers(0, 2, (LABELLED, 3)).astype(np.int8)
    coins[:2] = [[0, 0, 0], [1, 1, 1]]
    setting = Setting(
        kind="masks",
        clients=1,
        slots=2,
        noise_sd=0.0,
        energies=generator.uniform(0.5, 2, (CANDIDATES, 16)),
        population=generator.uniform(0.5, 2, (20, 16)),
        targets=np.arange(CANDIDATES).reshape(3, 2),
        coins=coins,
        observed=OBSERVED,
        in_play=np.ones((OBSERVED, 3), bool),
    )
    sight = MatrixSight(
        name="matrix",
        log_weights=generator.normal(size=(24, 16)).astype(np.float32),
        channels=np.arange(16),
        sparsity=0.5,
        rows=generator.integers(0, 2, (OBSERVED + LABELLED, 24, 16), dtype=np.uint8),
        reference=generator.integers(0, 2, (8, 24, 16), dtype=np.uint8),
        alone=generator.integers(0, 2, (CANDIDATES, 24, 16)).astype(bool),
    )
    return setting, sight


class _Watched:
    """An attack that notes how many rows it was shown."""

    def __init__(self, attack, shown):
        self.name, self.kinds, self.is_taught = attack.name, attack.kinds, attack.is_taught
        self._attack, self._shown = attack, shown

    def start(self, setting):
        """Begin."""
        begun, name, shown = self._attack.start(setting), self.name, self._shown

        class Scoring:
            def see(self, sight):
                shown[name] = len(sight.rows)
                begun.see(sight)

            def scores(self):
                return begun.scores()

        return Scoring()


def test_labelled_rows_are_shown_to_attacks_that_learn_and_to_bases_of_refinements(evidence, monkeypatch):
    """Others are spared them; all score every observed row."""
    setting, sight = evidence
    shown = {}
    watched = {name: _Watched(attack, shown) for name, attack in ATTACKS.items()}
    monkeypatch.setattr(scoring, "ATTACKS", MappingProxyType(watched))
    attacks = AttackScores(setting, ["similarity", "score-test", "simple-test", "inverted", "lira-online"])
    with ThreadPoolExecutor(2) as workers:
        attacks.see(sight, workers)
    scores = attacks.scores()

    both = OBSERVED + LABELLED
    assert shown == {"similarity": OBSERVED, "score-test": OBSERVED, "simple-test": both, "inverted": both}
    assert {each.shape for each in scores.values()} == {(OBSERVED, 3)}
    assert set(scores) == {"similarity", "score-test", "simple-test", "inverted", "lira-online"}


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if "masks" in attack.kinds])
def test_an_attack_says_whether_labelled_rows_teach_it(evidence, name):
    """Without them, an attack that they do not teach gives observed rows the same scores, and another one does not."""
    setting, sight = evidence

    def scores(known):
        begun = ATTACKS[name].start(known)
        begun.see(replace(sight, rows=sight.rows[: known.observed + known.labelled]))
        return begun.scores()[:OBSERVED]

    if ATTACKS[name].is_taught:
        with pytest.raises(ValueError, match="labelled=0 rows must be at least"):
            scores(setting.unlabelled)
    else:
        np.testing.assert_allclose(scores(setting.unlabelled), scores(setting), rtol=1e-5, atol=1e-5)
