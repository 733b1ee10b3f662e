"""Differential privacy: what a release costs, how much noise a target needs, and what may be claimed.

>>> from fractions import Fraction
>>> release = Release(
...     mechanism="skellam", adjacency="client-zero-out", adversary=SERVER_ALONE, dimension=4,
...     sensitivity=Sensitivity(l1=100, l2_squared=2500), variance=Fraction(10_000), statistical_distance=2.0**-100,
... )
>>> round(epsilon_of([release], delta=1e-5), 3)
1.993
"""

from fedprllm_secure.privacy.adjacency import (
    ADJACENCIES,
    MEANINGS,
    READERS,
    SERVER_ALONE,
    check_adjacency,
    is_replace,
    is_window_level,
    server_with_colluders,
)
from fedprllm_secure.privacy.budget import Budget, BudgetRefused
from fedprllm_secure.privacy.claim import epsilon_of
from fedprllm_secure.privacy.headroom import headroom_for, wrap_probability
from fedprllm_secure.privacy.ledger import Ledger
from fedprllm_secure.privacy.mechanisms import MECHANISMS
from fedprllm_secure.privacy.references import gaussian_reference, opacus_prv_reference, opacus_rdp_reference
from fedprllm_secure.privacy.release import Release, Sensitivity
from fedprllm_secure.privacy.sensitivity import (
    VoteGroups,
    centred,
    clipped_sensitivity,
    score_range,
    votes_sensitivity,
)
from fedprllm_secure.privacy.sizing import noise_variance_for, printed_variance, share_variance, sized

__all__ = [
    "ADJACENCIES",
    "MEANINGS",
    "MECHANISMS",
    "READERS",
    "SERVER_ALONE",
    "Budget",
    "BudgetRefused",
    "Ledger",
    "Release",
    "Sensitivity",
    "VoteGroups",
    "centred",
    "check_adjacency",
    "clipped_sensitivity",
    "epsilon_of",
    "gaussian_reference",
    "headroom_for",
    "is_replace",
    "is_window_level",
    "noise_variance_for",
    "opacus_prv_reference",
    "opacus_rdp_reference",
    "printed_variance",
    "score_range",
    "server_with_colluders",
    "share_variance",
    "sized",
    "votes_sensitivity",
    "wrap_probability",
]
