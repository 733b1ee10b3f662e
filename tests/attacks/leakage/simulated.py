"""Samples of known mechanisms, for tests."""

from __future__ import annotations

import numpy as np

from attacks.leakage.samples import Samples


def samples(scores, members, runs=None, targets=None) -> Samples:
    """Make samples of lists; without runs, every coin is of its own run and of target 0."""
    count = len(scores)
    return Samples(
        scores=np.asarray(scores, np.float64),
        members=np.asarray(members, bool),
        runs=np.arange(count) if runs is None else np.asarray(runs),
        targets=np.zeros(count, np.int64) if targets is None else np.asarray(targets),
    )


def gaussian(generator, *, runs, per_run=1, shift=1.0, of_runs=0.0, of_targets=0.0) -> Samples:
    """Scores of members are `shift` higher in the mean, more in some runs and targets and less in others."""
    run, target = (each.reshape(-1) for each in np.indices((runs, per_run)))
    members = generator.random(len(run)) < 0.5
    more = of_runs * generator.normal(size=runs)[run] + of_targets * generator.normal(size=per_run)[target]
    return samples(generator.normal(size=len(run)) + (shift + more) * members, members, run, target)


def randomised_response(generator, *, runs, epsilon, per_run=1) -> Samples:
    """Every coin is told rightly with the greatest chance that epsilon allows."""
    run, target = (each.reshape(-1) for each in np.indices((runs, per_run)))
    members = generator.random(len(run)) < 0.5
    is_true = generator.random(len(run)) < 1 / (1 + np.exp(-epsilon))
    return samples(np.where(is_true, members, ~members).astype(np.float64), members, run, target)
