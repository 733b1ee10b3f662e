"""From the flags of differential privacy to a target and to clients' ledgers, and from a planned run to advice."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from experiments.ledger_names import ledger_of
from fedprllm_secure.data import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.federation import Federation
from fedprllm_secure.payloads import Units
from fedprllm_secure.privacy import Budget, Ledger, Release
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.sensitivity import score_range
from fedprllm_secure.privacy.target import GUMBEL, PrivacyTarget
from fedprllm_secure.residuals.clipping import grid_bound
from fedprllm_secure.sparsity import Sparsity

DEFAULT_COLLUDERS = 1  # under distributed noise: any client can subtract its own share
FEW_DIRECTIONS = 16
GUMBEL_DEVIATION = math.pi / math.sqrt(6)  # of a Gumbel distribution of scale 1
FLAGS_OF_A_TARGET = ("epsilon", "delta", "noise_multiplier", "adjacency")
FLAGS_OF_RESIDUALS = ("rank", "clip")


def privacy_target(flags: argparse.Namespace) -> PrivacyTarget | None:
    """Read the target.

    Raises:
        InputError: a flag is missing, out of range, or goes without ``--dp``.
    """
    if flags.dp == "none":
        given = [name for name in FLAGS_OF_A_TARGET if getattr(flags, name) is not None]
        if given or flags.noise != "skellam":
            flag = (given or ["noise"])[0].replace("_", "-")
            raise InputError(f"--{flag} goes with --dp central or --dp distributed")
        return None
    return required_target(flags)


def required_target(flags: argparse.Namespace) -> PrivacyTarget:
    """Read the target where ``--dp`` asks for noise.

    Raises:
        InputError: a flag is missing or out of range.
    """
    _refuse_what_is_missing(flags)
    return PrivacyTarget(
        place=flags.dp,
        adjacency=flags.adjacency,
        delta=flags.delta,
        noise=flags.noise,
        epsilon=flags.epsilon,
        noise_multiplier=flags.noise_multiplier,
    )


def _refuse_what_is_missing(flags: argparse.Namespace) -> None:
    """Name everything that a target still lacks at once."""
    missing = [f"--{name}" for name in ("adjacency", "delta") if getattr(flags, name) is None]
    needs = []
    if missing:
        it = "it, so it has" if len(missing) == 1 else "them, so they have"
        needs.append(f"{' and '.join(missing)}: the claim means nothing without {it} no default")
    if (flags.epsilon is None) == (flags.noise_multiplier is None):
        needs.append("either --epsilon, which finds the noise, or --noise-multiplier, which finds the epsilon")
    if needs:
        raise InputError(f"--dp {flags.dp} needs {'; and '.join(needs)}")


def refuse_what_does_not_go_together(flags: argparse.Namespace, target: PrivacyTarget | None) -> None:
    """Refuse, before anything is read, what flags alone show to be impossible.

    Raises:
        InputError: a flag of residuals or of a ledger has nothing to act on, the target does not go with payload or
            protocol, or units are to be removed by a pattern or rated by a pruner that does not rate them.
    """
    if flags.payload == "units":
        Units(sparsity=Sparsity.parse(flags.sparsity), pruner=flags.pruner)
    for name in FLAGS_OF_RESIDUALS:
        if getattr(flags, name) is not None and (target is None or flags.payload != "statistics"):
            raise InputError(f"--{name} goes with --payload statistics and --dp central or --dp distributed")
    if flags.data_set is not None and flags.ledger is None:
        raise InputError("--data-set goes with --ledger: it is the name there")
    if target is None:
        return
    if flags.scale:
        raise InputError("--scale does not go with --dp: the share of clients that kept a weight is not released")
    target.adversary(flags.protocol, assumed_colluders=assumed_colluders(flags) or 0)  # refuses plain
    if target.noise == GUMBEL and flags.payload != "units":
        raise InputError(f"--noise {GUMBEL} goes with --payload units alone: it chooses among few things")
    if target.noise == GUMBEL and flags.save_votes:
        raise InputError(f"--save-votes does not go with --noise {GUMBEL}, which publishes no totals")
    if flags.payload != "statistics":
        score_range(target.adjacency)  # refuses an adjacency without a meaning for votes


def assumed_colluders(flags: argparse.Namespace) -> int | None:
    """Give ``--assumed-colluders``, which is at least 1 under distributed noise unless it was said otherwise."""
    if flags.assumed_colluders is None and flags.dp == "distributed" and flags.graph == "complete":
        return DEFAULT_COLLUDERS
    colluders: int | None = flags.assumed_colluders
    return colluders


class Ledgers:
    """The ledgers of all simulated clients; each client keeps its own, as it would in a deployment."""

    def __init__(self, file: Path, clients: int) -> None:
        """Name them after a file, a ledger a client."""
        self._ledgers = [Ledger(ledger_of(file, client)) for client in range(clients)]

    def open(self, name: str, windows: Windows, target: PrivacyTarget | None, releases: list[Release]) -> None:
        """Open every client's account and refuse now what would be refused later.

        Args:
            name: what the data set is called in the ledgers.
            windows: the clients'.
            target: if it names an epsilon, that is the budget of accounts that have none.
            releases: what the run will still release.

        Raises:
            InputError: a ledger cannot be trusted, or its account holds other text.
            BudgetRefused: a budget would be overspent.
        """
        self._name = name
        for client, ledger in enumerate(self._ledgers):
            account = ledger.open_account(name, windows.of(client))
            if account.budget is None and target is not None and target.epsilon is not None:
                budget = Budget(epsilon=target.epsilon, delta=target.delta, adjacency=target.adjacency)
                ledger.open_account(name, windows.of(client), budget=budget)
        for ledger in self._ledgers:
            ledger.check(name, releases)

    def charge(self, client: int, release: Release, identity: bytes) -> None:
        """Charge one client."""
        self._ledgers[client].charge(self._name, release, identity=identity + client.to_bytes(4, "little"))


def advice(federation: Federation) -> list[str]:
    """Say before the work what the noise will leave of what is shared."""
    if federation.chooses:
        return [_choice_advice(federation)]
    if not federation.noises:
        return []
    if federation.method.payload == "statistics":
        return [_residual_advice(federation)]
    clients = federation.num_clients
    deviation = max(votes_deviation(federation))
    ratio = clients / 2 / deviation
    lines = [
        f"noise of standard deviation {deviation:.3g} votes on counts of at most {clients}: signal to noise at best "
        f"{ratio:.2g}"
    ]
    if ratio < 1:
        verdict = "the prune mask will be close to a coin flip" if ratio < 0.3 else "most of a prune mask will be noise"
        fewer = "" if federation.method.payload == "units" else " Units (--payload units) need far fewer, and"
        lines.append(
            f"{verdict}; about {math.ceil(2 * deviation):,} clients would bring the ratio to 1.{fewer} --payload "
            "statistics releases what text adds to a public prior"
        )
    return lines


def _choice_advice(federation: Federation) -> str:
    """Compare the noise of a choice with the votes that it chooses by."""
    deviation, clients = choice_deviation(federation), federation.num_clients
    verdict = "; the choice will be close to chance" if deviation > clients else ""
    return f"noise of standard deviation {deviation:.3g} votes on counts of at most {clients}{verdict}"


def _residual_advice(federation: Federation) -> str:
    """Compare the whole signal with the noise on one direction: how many directions could stand above it."""
    (noise,) = federation.noises
    assert noise.release.sensitivity is not None  # a release of noise
    windows = federation.windows.per_client if is_window_level(noise.release.adjacency) else 1
    largest = federation.num_clients * windows * grid_bound(noise.release.dimension)
    resolved = largest**2 / float(noise.full)
    rank = noise.release.dimension
    text = f"the noise leaves room for at most {min(resolved, rank):,.0f} of {rank:,} directions to stand above it"
    if resolved < FEW_DIRECTIONS:
        return f"{text}: expect no more than the public prior gives; more windows or clients, or a larger epsilon"
    return f"{text}; what cannot is shrunk to the public prior"


def choice_deviation(federation: Federation) -> float:
    """Give the standard deviation of the Gumbel noise of a choice, in votes."""
    payload = federation.payload
    assert isinstance(payload, Units)
    assert payload.epsilon_each is not None
    return float(payload.score_range / payload.epsilon_each) * GUMBEL_DEVIATION


def votes_deviation(federation: Federation) -> list[float]:
    """Give for each session the standard deviation of the noise if nobody leaves, in votes."""
    step = federation.payload.public()["centre"][1]
    return [math.sqrt(noise.full) / step for noise in federation.noises]
