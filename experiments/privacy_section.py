"""What ``result.json`` says of privacy: what is claimed, of which mechanism, against whom, and what is not covered."""

from __future__ import annotations

import argparse
import math
from decimal import ROUND_CEILING, Context
from typing import Any

from experiments.privacy_flags import choice_deviation, votes_deviation
from fedprllm_secure.federation import Federation
from fedprllm_secure.payloads import Units
from fedprllm_secure.privacy import (
    MEANINGS,
    Release,
    epsilon_of,
    gaussian_reference,
    opacus_prv_reference,
    opacus_rdp_reference,
)
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.references import noise_multipliers
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.privacy.target import PrivacyTarget

NOT_COVERED = (
    "timing and who leaves, and whatever stands under simulation_only, which a deployment does not have",
    "errors and refusals of a client: text too short, activations that are not finite, a ledger that refuses",
    "what a simulation keeps on disk: work/ while it runs, transcript/, and coins.json",
    "evaluation text, which is taken to be public",
)


def privacy_section(flags: argparse.Namespace, federation: Federation) -> dict[str, Any]:
    """Describe the run's releases; depends on public settings and public text alone."""
    target = federation.method.privacy
    if target is None:
        return {
            "dp": "none",
            "adversary": "readers of totals and prune mask; the protocol's own claim is under protocol.protects",
            "claim": "none: totals and prune mask tell of the calibration text, and nothing bounds how much",
            **({"ledger": str(flags.ledger)} if flags.ledger else {}),
        }
    releases = federation.releases_made
    epsilon = epsilon_of(releases, target.delta)
    return {
        "dp": target.place,
        "claim": claim(epsilon, target),
        "epsilon": epsilon,
        "delta": target.delta,
        "adjacency": target.adjacency,
        "adjacency_means": MEANINGS[target.adjacency],
        "adversary": releases[0].adversary,
        "assumed_colluders": federation.thresholds.assumed_colluders if target.place == "distributed" else None,
        "mechanism": releases[0].mechanism,
        "releases": len(releases),
        "releases_of_an_uninterrupted_run": len(federation.releases),
        **(
            _choice_figures(federation, releases)
            if federation.chooses
            else _noise_figures(federation, target, releases)
        ),
        "ledger": str(flags.ledger) if flags.ledger else "none: a simulation; nothing remembers this release",
        "not_covered": list(NOT_COVERED),
    }


def claim(epsilon: float, target: PrivacyTarget) -> str:
    """Put a claim in words; its epsilon is rounded up, since a smaller one would not be proven."""
    if math.isinf(epsilon):
        return f"none: nothing is proven of noise this small at delta {target.delta}"
    shown = float(Context(prec=4, rounding=ROUND_CEILING).create_decimal_from_float(epsilon))
    return f"({shown:.4g}, {target.delta})-differential privacy about {target.adjacency}"


def _choice_figures(federation: Federation, releases: list[Release]) -> dict[str, Any]:
    """Describe noisy choices; a share of noise and a lane to wrap do not exist there."""
    assert isinstance(federation.payload, Units)
    return {
        "picks": sum(release.picks or 0 for release in releases),
        "epsilon_each": float(releases[0].epsilon_each or 0),
        "sensitivity_votes": {"score_range": federation.payload.score_range},
        "noise_standard_deviation": {"if_nobody_leaves_votes": choice_deviation(federation)},
        "wrap_probability": 0.0,
    }


def _noise_figures(federation: Federation, target: PrivacyTarget, releases: list[Release]) -> dict[str, Any]:
    noises = federation.noises
    multipliers = [multiplier for multiplier, count in noise_multipliers(releases) for _ in range(count)]
    sensitivities = [release.sensitivity for release in releases if release.sensitivity is not None]
    largest = max(sensitivity.l2_squared for sensitivity in sensitivities)
    gaussian = gaussian_reference(releases, target.delta)
    return {
        "continuous_reference": {
            "gaussian_epsilon": gaussian,
            "opacus_rdp_epsilon": opacus_rdp_reference(releases, target.delta),
            "opacus_prv_epsilon": opacus_prv_reference(releases, target.delta),
        },
        "sensitivity_grid_units": {
            "l1": sum(sensitivity.l1 for sensitivity in sensitivities),
            "l2": math.sqrt(sum(sensitivity.l2_squared for sensitivity in sensitivities)),
            "l2_of_largest_release": math.sqrt(largest),
        },
        "noise_multiplier": min(multipliers),
        "noise_multiplier_as_one_release": 1 / math.hypot(*(1 / multiplier for multiplier in multipliers)),
        "noise_standard_deviation": _deviations(federation, noises),
        **_clip(federation),
        "shares_guaranteed": releases[0].shares,
        "wrap_probability": sum(noise.wrap_probability for noise in noises) if noises[0].is_distributed else 0.0,
    }


def _deviations(federation: Federation, noises: list[SessionNoise]) -> dict[str, float]:
    """Give the largest noise on a total, on the grid and in units that mean something."""
    guaranteed = max(math.sqrt(noise.release.variance or 0) for noise in noises)
    full = max(math.sqrt(noise.full) for noise in noises)
    found = {"guaranteed_grid_units": guaranteed, "if_nobody_leaves_grid_units": full}
    if federation.method.payload != "statistics":
        return found | {"if_nobody_leaves_votes": max(votes_deviation(federation))}
    clip, grid = _agreed_clip(federation)
    return found | {
        "guaranteed_clips": guaranteed / grid,
        "if_nobody_leaves_clips": full / grid,
        "if_nobody_leaves_mean_log_energy": full / grid * clip / _contributions(federation),
    }


def _clip(federation: Federation) -> dict[str, Any]:
    """Describe the clip of statistics: public, for public text or a flag sets it."""
    if federation.method.payload != "statistics":
        return {}
    clip, grid = _agreed_clip(federation)
    return {
        "clip": {
            "log_energy": clip,
            "grid_units": grid,
            "set_by": "held-out public text" if federation.method.clip is None else "--clip",
            "contributions": _contributions(federation),
        }
    }


def _agreed_clip(federation: Federation) -> tuple[float, int]:
    """Read the clip that the parties agreed on, as a norm of log-energies and in grid units."""
    agreed = federation.work.record(0).agreed
    return float.fromhex(agreed["clip"]), int(agreed["grid_bound"])


def _contributions(federation: Federation) -> int:
    """Count what is clipped on its own and summed if nobody leaves: windows, or clients' means."""
    target = federation.method.privacy
    assert target is not None
    windows = federation.windows.per_client if is_window_level(target.adjacency) else 1
    return federation.num_clients * windows
