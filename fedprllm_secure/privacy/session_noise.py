"""The noise of one session: how much of it each party adds, and the room it takes.

One draw belongs to one release: the noise is drawn when a vector is handed to the protocol, or by the server before the
totals are written anywhere, and never again for the same session. It comes from the operating system's generator; no
seed reaches it. Knows neither models nor how vectors come about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.claim import epsilon_of
from fedprllm_secure.privacy.headroom import headroom_for, wrap_probability
from fedprllm_secure.privacy.release import Release, Sensitivity
from fedprllm_secure.privacy.sizing import printed_variance, share_variance, sized
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.thresholds import Thresholds
from protocols import VectorSpec
from protocols.noise import NOISES

# A total past its lane's headroom moves its neighbours by one: accuracy, never privacy. At most once in a million runs.
WRAP_PROBABILITY = 1e-6
# Of one draw from its law; those of the samplers of ``protocols.noise`` are smaller, which is checked.
SAMPLER_DISTANCE = 2.0**-100
MULTIPLIER_GRID = 2**44


@dataclass(frozen=True, slots=True)
class SessionNoise:
    """What is added to the totals of one session.

    Attributes:
        release: what may be said of it.
        added: variance of what one party adds: each client its share, or the server all of it.
        full: variance of the noise in the totals if nobody drops out.
        is_distributed: whether clients add it.
    """

    release: Release
    added: Fraction
    full: Fraction
    is_distributed: bool

    def __post_init__(self) -> None:
        """Check that the sampler is as close to its law as the release says.

        Raises:
            ValueError: it is not.
        """
        assert self.release.statistical_distance is not None  # a release of noise
        if NOISES[self.release.mechanism](self.added).distance > self.release.statistical_distance:
            raise ValueError(f"the sampler of {self.release.mechanism} is not within {SAMPLER_DISTANCE} of its law")

    @property
    def headroom(self) -> int:
        """How far the noise may take a total before its lane overflows."""
        return headroom_for(
            WRAP_PROBABILITY, variance=self.full, dimension=self.release.dimension, mechanism=self.release.mechanism
        )

    @property
    def wrap_probability(self) -> float:
        """Probability, at most, that any total overflows its lane."""
        return wrap_probability(
            self.headroom,
            variance=self.full,
            dimension=self.release.dimension,
            mechanism=self.release.mechanism,
        )

    def specs(self, specs: Sequence[VectorSpec]) -> tuple[VectorSpec, ...]:
        """Make room in the lanes of the session's vectors."""
        room = self.headroom if self.is_distributed else 0
        return tuple(replace(spec, signed=spec.signed or room > 0, headroom=room) for spec in specs)

    def with_share(self, vectors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Add a client's share to its vectors: int64 (length,), on the CPU, where noise is drawn."""
        if not self.is_distributed:
            return vectors
        return {name: torch.from_numpy(self._noisy(values.cpu().numpy())) for name, values in vectors.items()}

    def released(self, totals: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Give what leaves the server: the totals, with all of the noise where it is the server's to add."""
        if self.is_distributed:
            return dict(totals)
        return {name: self._noisy(values) for name, values in totals.items()}

    def _noisy(self, values: NDArray[Any]) -> NDArray[np.int64]:
        noise = NOISES[self.release.mechanism](self.added).sample(len(values))
        noise += values
        return noise


def plan_noise(
    target: PrivacyTarget,
    exact: Sequence[tuple[Sensitivity, int]],
    *,
    protocol: str,
    thresholds: Thresholds,
    num_clients: int,
) -> list[SessionNoise]:
    """Size the noise of a run's sessions, all with one noise multiplier, so that their claim meets the target.

    Args:
        target: what is promised, with noise of a law in ``protocols.noise.NOISES``.
        exact: for each session how far one participant moves it, and how many numbers it releases.
        protocol: a name in ``PROTOCOLS``.
        thresholds: how many clients are certain to be in a sum, and how many of them may collude.
        num_clients: size of the roster.

    Raises:
        InputError: the target cannot be met, or takes more noise than can be drawn, or too few honest clients are
            certain to be in a sum.
    """
    colluders = thresholds.assumed_colluders
    is_distributed = target.place == "distributed"
    releases = [
        Release(
            mechanism=target.noise,
            adjacency=target.adjacency,
            adversary=target.adversary(protocol, assumed_colluders=colluders, is_sparse=thresholds.neighbours > 0),
            dimension=dimension,
            sensitivity=sensitivity,
            variance=Fraction(sensitivity.l2_squared),
            shares=thresholds.minimum_survivors - colluders if is_distributed else 1,
            statistical_distance=SAMPLER_DISTANCE,
        )
        for sensitivity, dimension in exact
    ]
    if target.epsilon is not None:
        releases = list(sized(releases, epsilon=target.epsilon, delta=target.delta))
    else:
        assert target.noise_multiplier is not None  # one of the two is given
        squared = Fraction(math.ceil(target.noise_multiplier**2 * MULTIPLIER_GRID), MULTIPLIER_GRID)
        releases = [replace(r, variance=squared * r.sensitivity.l2_squared) for r in releases if r.sensitivity]
    return [_session_noise(release, thresholds, num_clients, is_distributed=is_distributed) for release in releases]


def _session_noise(release: Release, thresholds: Thresholds, num_clients: int, *, is_distributed: bool) -> SessionNoise:
    assert release.variance is not None  # just sized
    if not is_distributed:
        _check_can_be_drawn(release, release.variance)
        return SessionNoise(release, release.variance, release.variance, is_distributed)
    survivors, colluders = thresholds.minimum_survivors, thresholds.assumed_colluders
    share = share_variance(release.variance, minimum_survivors=survivors, assumed_colluders=colluders)
    full = printed_variance(
        release.variance, roster=num_clients, minimum_survivors=survivors, assumed_colluders=colluders
    )
    _check_can_be_drawn(release, share)
    return SessionNoise(release, share, full, is_distributed)


def _check_can_be_drawn(release: Release, variance: Fraction) -> None:
    try:
        NOISES[release.mechanism](variance)
    except ValueError as error:
        raise InputError(
            f"the target takes noise of standard deviation {math.sqrt(variance):.4g} on integers, more than can be "
            "drawn; allow a larger epsilon, or share less"
        ) from error


def claimed_epsilon(noises: Sequence[SessionNoise], delta: float) -> float:
    """Give the epsilon that may be claimed for all sessions of a run together."""
    return epsilon_of([noise.release for noise in noises], delta)
