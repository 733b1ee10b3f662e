"""A claimed epsilon against what an audit of the same game shows.

A claim that more people, another neighbour or a weaker adversary stand behind is another claim: only the same adjacency
and adversary are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from attacks.leakage.bounds import Bound
from attacks.leakage.ceilings import epsilon_delta_auc
from attacks.leakage.lower_bounds import check_delta, one_run_p_value
from attacks.leakage.plan import Guesses
from attacks.leakage.samples import Samples

Adjacency = Literal["client-zero-out", "client-replace", "window-zero-out", "window-replace"]
ADJACENCIES: tuple[Adjacency, ...] = get_args(Adjacency)


@dataclass(frozen=True, slots=True)
class Game:
    """What is guessed, and by whom.

    Attributes:
        adjacency: what a coin decides: a client's or a window's contribution or nothing, or one of two.
        adversary: who guesses, in the words in which the claim names it.
    """

    adjacency: Adjacency
    adversary: str

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ValueError: the adjacency is unknown, or the adversary has no name.
        """
        if self.adjacency not in ADJACENCIES:
            raise ValueError(f"adjacency={self.adjacency!r} must be one of {', '.join(ADJACENCIES)}")
        if not self.adversary:
            raise ValueError("adversary='' must be named")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a mechanism is said to hold.

    Attributes:
        epsilon: at least 0.
        delta: in [0, 1).
        game: under which adjacency and against which adversary.
    """

    epsilon: float
    delta: float
    game: Game

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: `epsilon` is below 0, or `delta` is not in [0, 1).
        """
        check_delta(self.delta)
        if not self.epsilon >= 0:
            raise ValueError(f"epsilon={self.epsilon} must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCheck:
    """How a claim fares.

    Attributes:
        claim: what is claimed.
        p_value: chance, at most, of as many right guesses if the claim holds (one-run bound): to be corrected for the
            number of claims and attacks tested.
        exceeded_by: the bounds, valid for any mechanism, that lie above the claimed epsilon.
        least_p_value: what guessing every coin rightly would have given: however good the attack, so many coins show no
            smaller one. To be corrected alike.
        greatest_auc: of any attack, if the claim holds.
    """

    claim: Claim
    p_value: float
    exceeded_by: tuple[str, ...]
    least_p_value: float
    greatest_auc: float


def check_claim(
    claim: Claim, *, game: Game, samples: Samples, guesses: Guesses, bounds: dict[str, Bound]
) -> ClaimCheck:
    """Compare.

    Args:
        claim: what is claimed.
        game: what was played.
        samples: of the runs that are reported.
        guesses: which coins are guessed, chosen on other runs.
        bounds: by name, those that are valid for any mechanism, at the claim's delta.

    Raises:
        ValueError: the game played is not the claim's.
    """
    if game != claim.game:
        raise ValueError(f"game={game} must be the claim's, {claim.game}")
    guessed, right = guesses.told(samples)
    coins = len(samples)
    return ClaimCheck(
        claim=claim,
        p_value=one_run_p_value(coins, guessed, right, epsilon=claim.epsilon, delta=claim.delta),
        exceeded_by=tuple(
            name for name, bound in bounds.items() if bound.epsilon is not None and bound.epsilon > claim.epsilon
        ),
        least_p_value=one_run_p_value(coins, coins, coins, epsilon=claim.epsilon, delta=claim.delta),
        greatest_auc=epsilon_delta_auc(epsilon=claim.epsilon, delta=claim.delta),
    )
