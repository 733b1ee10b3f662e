"""What ``result.json`` says of privacy: what is claimed, of which mechanism, against whom, and what is not covered."""

from __future__ import annotations

import argparse
import math
from typing import Any

from experiments.privacy_flags import votes_deviation
from fedprllm_secure.federation import Federation
from fedprllm_secure.privacy import (
    MEANINGS,
    Release,
    epsilon_of,
    gaussian_reference,
    opacus_prv_reference,
    opacus_rdp_reference,
)
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.privacy.target import PrivacyTarget

NOT_COVERED = (
    "timing and who leaves, and whatever stands under simulation_only, which a deployment does not have",
    "evaluation text, which is taken to be public",
)


def privacy_section(flags: argparse.Namespace, federation: Federation) -> dict[str, Any]:
    """Describe the run's releases; depends on public settings alone."""
    target = federation.method.privacy
    if target is None:
        return {
            "dp": "none",
            "adversary": "readers of totals and prune mask; the protocol's own claim is under protocol.protects",
            "claim": "none: totals and prune mask tell of the calibration text, and nothing bounds how much",
        }
    releases = federation.releases_made
    epsilon = epsilon_of(releases, target.delta)
    return {
        "dp": target.place,
        "claim": f"({epsilon:.4g}, {target.delta:g})-differential privacy about {target.adjacency}",
        "epsilon": epsilon,
        "delta": target.delta,
        "adjacency": target.adjacency,
        "adjacency_means": MEANINGS[target.adjacency],
        "adversary": releases[0].adversary,
        "assumed_colluders": federation.thresholds.assumed_colluders if target.place == "distributed" else None,
        "mechanism": releases[0].mechanism,
        "releases": len(releases),
        "releases_of_an_uninterrupted_run": len(federation.releases),
        **_noise_figures(federation, target, releases),
        "ledger": str(flags.ledger) if flags.ledger else "none: a simulation; nothing remembers this release",
        "not_covered": list(NOT_COVERED),
    }


def _noise_figures(federation: Federation, target: PrivacyTarget, releases: list[Release]) -> dict[str, Any]:
    if not federation.noises:
        picks = sum(release.picks or 0 for release in releases)
        return {"picks": picks, "epsilon_each": float(releases[0].epsilon_each or 0)}
    noises = federation.noises
    sensitivities = [release.sensitivity for release in releases if release.sensitivity is not None]
    return {
        "continuous_reference": {
            "gaussian_epsilon": gaussian_reference(releases, target.delta),
            "opacus_rdp_epsilon": opacus_rdp_reference(releases, target.delta),
            "opacus_prv_epsilon": opacus_prv_reference(releases, target.delta),
        },
        "sensitivity_grid_units": {
            "l1": sum(sensitivity.l1 for sensitivity in sensitivities),
            "l2": math.sqrt(sum(sensitivity.l2_squared for sensitivity in sensitivities)),
        },
        "noise_multiplier": _multiplier(noises),
        "noise_standard_deviation": _deviations(federation, noises),
        "shares_guaranteed": releases[0].shares,
        "wrap_probability": sum(noise.wrap_probability for noise in noises) if noises[0].is_distributed else 0.0,
    }


def _multiplier(noises: list[SessionNoise]) -> float:
    """Standard deviation of the guaranteed noise over the L2 sensitivity of all releases together, as of one."""
    weight = sum(
        1 / float(n.release.variance or 1) * (n.release.sensitivity.l2_squared) for n in noises if n.release.sensitivity
    )
    return 1 / math.sqrt(weight)


def _deviations(federation: Federation, noises: list[SessionNoise]) -> dict[str, float]:
    guaranteed = max(math.sqrt(noise.release.variance or 0) for noise in noises)
    full = max(math.sqrt(noise.full) for noise in noises)
    found = {"guaranteed_grid_units": guaranteed, "if_nobody_leaves_grid_units": full}
    if federation.method.payload != "statistics":
        found["if_nobody_leaves_votes"] = max(votes_deviation(federation))
    return found
