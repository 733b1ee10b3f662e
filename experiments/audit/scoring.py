"""All attacks on one thing that is seen: they take its matrices one after another, then score."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np

from attacks import ATTACKS, REFINEMENTS
from attacks.evidence import Scoring, Setting, Sight


@dataclass(slots=True)
class AttackScores:
    """The attacks of one setting at work.

    Attributes:
        setting: what the attacker knows.
        names: which attacks to report.
        refused: attacks that these rows do not suffice for, with the reason.
    """

    setting: Setting
    names: Sequence[str]
    refused: dict[str, str] = field(default_factory=dict, init=False)
    _scorings: dict[str, Scoring] = field(init=False, repr=False)
    _reads_labelled: set[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start the attacks that can read such rows, and those that a refinement builds on."""
        kind = self.setting.kind
        wanted = {name for name in self.names if name in ATTACKS and kind in ATTACKS[name].kinds}
        bases = {REFINEMENTS[name].base[kind] for name in self.refinements}
        self._reads_labelled = {name for name in ATTACKS if name in bases or ATTACKS[name].is_taught}
        self._scorings = {
            name: ATTACKS[name].start(self.setting if name in self._reads_labelled else self.setting.unlabelled)
            for name in ATTACKS
            if name in wanted | bases
        }

    @property
    def refinements(self) -> list[str]:
        """The refinements among the names that have a base for such rows."""
        return [name for name in self.names if name in REFINEMENTS and self.setting.kind in REFINEMENTS[name].base]

    def see(self, sight: Sight, workers: Executor) -> None:
        """Show a matrix to every attack; they work side by side, each for itself.

        Labelled rows, which may be most, are shown to those that they teach and those that a refinement builds on.
        """
        without = replace(sight, rows=sight.rows[: self.setting.observed])
        shown = {name: sight if name in self._reads_labelled else without for name in self._scorings}
        for seen in [workers.submit(scoring.see, shown[name]) for name, scoring in self._scorings.items()]:
            seen.result()

    def scores(self) -> dict[str, np.ndarray]:
        """Give the scores of coins by attack, float64 (observed rows, targets)."""
        found: dict[str, np.ndarray] = {}
        raw: dict[str, np.ndarray] = {}
        for name, scoring in self._scorings.items():
            try:
                raw[name] = scoring.scores()
            except ValueError as error:  # too few labelled rows for it, say; it is listed with the reason
                self.refused[name] = str(error)
        for name in self.names:
            if name in raw:
                found[name] = self.setting.paired(raw[name])
        for name in self.refinements:
            refinement = REFINEMENTS[name]
            base = refinement.base[self.setting.kind]
            if base not in raw:
                self.refused[name] = f"it builds on {base}, which was not made"
                continue
            try:
                found[name] = refinement.refine(self.setting, raw[base])
            except ValueError as error:
                self.refused[name] = str(error)
        return {name: scores[: self.setting.observed] for name, scores in found.items()}
