"""What a run promises: who adds noise, of what law, about which neighbours, and to which epsilon or multiplier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.adjacency import (
    READERS,
    SERVER_ALONE,
    Adjacency,
    check_adjacency,
    server_with_colluders,
)
from fedprllm_secure.privacy.gaussian import check_delta, check_epsilon

Place = Literal["central", "distributed"]
PLACES: tuple[Place, ...] = get_args(Place)
GUMBEL = "gumbel"
LAWS = ("skellam", "discrete-gaussian", GUMBEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyTarget:
    """A target of differential privacy.

    Attributes:
        place: ``central`` (the server adds the noise after the sum) or ``distributed`` (each client adds a share).
        noise: ``skellam``, ``discrete-gaussian``, or ``gumbel`` (a noisy choice of units, at a trusted server).
        adjacency: what neighbouring inputs differ in.
        delta: in (0, 1).
        epsilon: what the claim may be; None where the multiplier is given.
        noise_multiplier: standard deviation of the guaranteed noise over the L2 sensitivity; None where epsilon is
            given.
    """

    place: Place
    adjacency: Adjacency
    delta: float
    noise: str = "skellam"
    epsilon: float | None = None
    noise_multiplier: float | None = None

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InputError: one is out of range, or not exactly one of epsilon and noise multiplier is given.
        """
        if self.place not in PLACES:
            raise InputError(f"dp={self.place} must be one of none, {', '.join(PLACES)}")
        if self.noise not in LAWS:
            raise InputError(f"noise={self.noise} must be one of {', '.join(LAWS)}")
        check_adjacency(self.adjacency)
        check_delta(self.delta)
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise InputError("give either epsilon, which finds the noise, or noise_multiplier, which finds epsilon")
        if self.epsilon is not None:
            check_epsilon(self.epsilon)
        if self.noise_multiplier is not None and not 1e-6 <= self.noise_multiplier <= 1e6:
            raise InputError(f"noise_multiplier={self.noise_multiplier} must be between 1e-6 and 1e6")
        if self.noise == GUMBEL and self.place != "central":
            raise InputError(f"noise={GUMBEL} does not go with dp={self.place}: a trusted server chooses (dp=central)")
        if self.noise == GUMBEL and self.epsilon is None:
            raise InputError(f"noise={GUMBEL} takes epsilon: a choice has no noise multiplier")

    def adversary(self, protocol: str, *, assumed_colluders: int, is_sparse: bool = False) -> str:
        """Name whom the claim holds against, which the protocol decides where clients add the noise.

        A sparse graph guarantees enough honest shares in a sum only against a server that follows the protocol; where
        its degree would do against a liar too, that is not claimed here.

        Raises:
            InputError: the protocol shows the server every client's vector, with no more than a share of noise on it.
        """
        if self.place == "central":
            return READERS
        if protocol == "plain":
            raise InputError(
                "dp=distributed does not go with protocol=plain: the server would see each client's vector under a "
                "share of the noise that protects nothing; use protocol=additive, or dp=central"
            )
        if protocol != "additive":
            return SERVER_ALONE
        return server_with_colluders(assumed_colluders, may_lie=not is_sparse)

    def public(self) -> dict[str, Any]:
        """List what parties must agree on, as JSON can hold it."""
        return {
            "dp": self.place,
            "noise": self.noise,
            "adjacency": self.adjacency,
            "delta": self.delta,
            "epsilon": self.epsilon,
            "noise_multiplier": self.noise_multiplier,
        }
