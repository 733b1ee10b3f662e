"""Attacks: what an adversary can tell about private text from what it sees, and how sure one can be of that figure.

Arrays of observations in, scores and leakage figures out. Knows nothing of models, protocols, files or command lines.

`ATTACKS` holds attacks on rows, by name; all have the shape of `attacks.evidence.Attack`. `REFINEMENTS` holds what
makes better scores of theirs with labelled rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attacks.blind import Blind
from attacks.evidence import Attack, Refinement
from attacks.inverted_likelihood import InvertedLikelihood
from attacks.learned import Learned
from attacks.lira import Lira
from attacks.margin_likelihood import MarginLikelihood
from attacks.order_statistics import OrderStatistics
from attacks.rmia import Rmia
from attacks.score_test import ScoreTest
from attacks.similarity import Similarity
from attacks.simple_test import SimpleTest
from attacks.whitened import Whitened

_ATTACKS: tuple[Attack, ...] = (
    Blind(),
    Similarity(),
    Similarity(name="contested-similarity", least_rate=0.02),
    ScoreTest(),
    SimpleTest(),
    MarginLikelihood(),
    OrderStatistics(),
    InvertedLikelihood(),
    Whitened(),
    Learned(),
)

_REFINEMENTS: tuple[Refinement, ...] = (Lira(online=True), Lira(online=False), Rmia())

ATTACKS: Mapping[str, Attack] = MappingProxyType({attack.name: attack for attack in _ATTACKS})
REFINEMENTS: Mapping[str, Refinement] = MappingProxyType({each.name: each for each in _REFINEMENTS})

__all__ = ["ATTACKS", "REFINEMENTS"]
