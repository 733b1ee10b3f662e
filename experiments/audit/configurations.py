"""From flags to what ``fedprllm audit`` plays: the game's size, the target of noise, and every configuration."""

from __future__ import annotations

import argparse

from experiments.audit.matrix import Configuration
from experiments.audit.plan import AuditPlan
from experiments.privacy_flags import required_target
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.thresholds import Thresholds


def thresholds_of(flags: argparse.Namespace, configuration: Configuration) -> Thresholds:
    """Choose the thresholds of a configuration's sessions.

    Raises:
        InputError: so few clients cannot bear so many colluders.
    """
    colluders = None if configuration.protocol == "plain" else flags.assumed_colluders
    return Thresholds.choose(configuration.protocol, flags.clients, assumed_colluders=colluders)


def plan_of(flags: argparse.Namespace) -> AuditPlan:
    """Read the game and its size.

    Raises:
        InputError: a number is too small, or they do not go together.
    """
    is_client_level = not is_window_level(flags.adjacency)
    places = flags.clients * (1 if is_client_level else flags.windows_per_client)
    return AuditPlan(
        adjacency=flags.adjacency,
        knowledge=flags.knowledge,
        clients=flags.clients,
        windows_per_client=flags.windows_per_client,
        targets=flags.targets,
        canaries=flags.canaries or min(places, flags.targets),
        runs=flags.runs,
        labelled_runs=flags.labelled_runs,
        reference_runs=flags.reference_runs,
        population=flags.population,
        strangers=flags.strangers,
        seed=flags.seed,
    )


def target_of(flags: argparse.Namespace) -> PrivacyTarget | None:
    """Read the target of differential privacy.

    Raises:
        InputError: a flag is missing, or goes without ``--dp``.
    """
    if flags.dp == "none":
        given = [name for name in ("epsilon", "delta", "noise_multiplier") if getattr(flags, name) is not None]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} goes with --dp central or --dp distributed")
        if flags.adjacency == "window-zero-out" and flags.payload == "votes":
            raise InputError("--adjacency window-zero-out has no meaning for votes: a client with a window less votes")
        return None
    if flags.payload == "votes" and (flags.rank or flags.clip or flags.public_data or flags.public_windows):
        raise InputError("--rank, --clip, --public-data and --public-windows go with --payload statistics")
    return required_target(flags)


def configurations_of(flags: argparse.Namespace, target: PrivacyTarget | None) -> dict[Configuration, Method]:
    """List what is played: the plain baseline first if wanted, then each protocol, with noise where it is asked for.

    Raises:
        InputError: noise is asked for that no protocol named can carry.
    """
    configurations = [Configuration("plain")] if flags.baseline == "plain" else []
    for protocol in flags.protocol:
        # Under `plain` clients' shares of noise protect nothing; it stays the baseline without noise.
        privacy = None if target is None or (target.place == "distributed" and protocol == "plain") else target
        configurations.append(Configuration(protocol, privacy))
    if target is not None and all(each.privacy is None for each in configurations):
        raise InputError("--dp distributed does not go with --protocol plain alone; add additive, ckks or bfv")
    return {
        each: method_of(flags, payload=flags.payload, protocol=each.protocol, privacy=each.privacy)
        for each in dict.fromkeys(configurations)
    }


def method_of(
    flags: argparse.Namespace, *, payload: str, protocol: str = "plain", privacy: PrivacyTarget | None = None
) -> Method:
    """Say how clients and server prune in one configuration.

    Args:
        flags: of the command.
        payload: what is shared.
        protocol: under which.
        privacy: the noise, if there is any.

    Raises:
        InputError: flags do not go together.
    """
    return Method(
        sparsity=Sparsity.parse(flags.sparsity),
        pruner=flags.pruner,
        **({"group": flags.group} if flags.group and payload == "votes" else {}),
        local_group=flags.local_group,
        schedule=Schedule("one-shot", "dense"),
        ties=flags.ties,
        payload=payload,
        protocol=protocol,
        privacy=privacy,
        **({"rank": flags.rank} if flags.rank else {}),
        clip=flags.clip,
    )
