"""Flags of ``fedprllm audit``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from attacks import ATTACKS, REFINEMENTS
from experiments.audit.games import GAMES, MEMBERSHIP
from experiments.audit.plan import KNOWLEDGE
from experiments.audit.statistics import CACHE
from experiments.flags import add_model_flags, not_negative, positive
from fedprllm_secure.privacy.adjacency import ADJACENCIES
from fedprllm_secure.pruners import PRUNERS
from fedprllm_secure.selection import TIES
from fedprllm_secure.sparsity import GROUPS
from protocols import PROTOCOLS

ALL_ATTACKS = (*ATTACKS, *REFINEMENTS)
# What a finished run says itself.
OF_PLAYED_RUNS = (
    "dtype", "window_length", "text_field", "clients", "windows_per_client", "sparsity", "pruner", "group",
    "local_group", "ties", "payload", "protocol", "assumed_colluders", "dp", "epsilon", "delta", "noise_multiplier",
    "noise", "rank", "clip", "public_data", "public_windows", "adjacency", "knowledge", "targets", "canaries", "runs",
    "baseline", "game", "victims", "domains", "label_field",
)  # fmt: skip
OF_GIVEN_MASKS = ("masks", "kind", "candidates", "non_members")
# What given masks have no use for.
NOT_OF_GIVEN_MASKS = (
    "data", "text_field", "payload", "protocol", "assumed_colluders", "dp", "epsilon", "delta", "noise_multiplier",
    "noise", "rank", "clip", "public_data", "public_windows", "adjacency", "knowledge", "targets", "canaries", "runs",
    "labelled_runs", "population", "strangers", "baseline", "game", "victims", "domains", "label_field",
)  # fmt: skip


def add_audit_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``fedprllm audit``; which of them a mode needs is for the command to say.

    Beside the flags' values there is ``given``: the names of those that the command line gave a value.
    """
    parser.register("action", None, _Remembered)
    parser.set_defaults(given=frozenset())
    parser.add_argument(
        "run_dir",
        nargs="?",
        type=Path,
        metavar="RUN_DIR",
        help="audit this one finished run of fedprllm prune --canaries K --save-transcript instead of playing runs; it "
        "says model, text and all settings of the run",
    )
    add_model_flags(parser, evaluates=False, requires_model=False)
    data = parser.add_argument_group("text")
    data.add_argument("--data", help="as of prune: text that candidates, others and shadows are cut of")
    data.add_argument("--text-field", metavar="NAME", help="column that holds the text")
    data.add_argument(
        "--label-field",
        metavar="NAME",
        help="column that names the domain, for --game domain; without it a domain is a file of a folder, or a package "
        "of the demo's text",
    )
    data.add_argument("--seed", type=not_negative, default=0, help="of texts and shadows; never of coins, keys, noise")
    run = parser.add_argument_group("the runs that are audited")
    run.add_argument("--clients", type=positive, default=8, metavar="N", help="parties of a run; default 8")
    run.add_argument("--windows-per-client", type=positive, default=2, metavar="M", help="default 2")
    run.add_argument("--sparsity", default="0.5", help="share of weights removed, or N:M; default 0.5")
    run.add_argument("--pruner", choices=sorted(PRUNERS), default="wanda", help="default wanda")
    run.add_argument("--group", choices=GROUPS, help="as of prune")
    run.add_argument("--local-group", choices=GROUPS, default="row", help="as of prune; default row")
    run.add_argument("--ties", choices=TIES, default="magnitude", help="as of prune; default magnitude")
    run.add_argument(
        "--payload",
        choices=("votes", "statistics"),
        default="votes",
        help="what clients share; default votes. Of statistics, what the pruned model shows the public is not played",
    )
    run.add_argument(
        "--protocol",
        type=protocol_list,
        default=["plain", "additive", "ckks"],
        metavar="LIST",
        help=f"of {','.join(PROTOCOLS)}; default plain,additive,ckks",
    )
    run.add_argument(
        "--baseline",
        choices=("plain", "none"),
        default="plain",
        help="plain (default): play that protocol too, whatever --protocol says; none: single clients' masks, most of "
        "the work where clients are many, are then neither kept nor attacked",
    )
    run.add_argument(
        "--assumed-colluders",
        type=not_negative,
        default=1,
        metavar="K",
        help="clients that tell the server what they submitted, where that is an adversary of its own; default 1",
    )
    privacy = parser.add_argument_group("differential privacy")
    privacy.add_argument("--dp", choices=("none", "central", "distributed"), default="none", help="default none")
    privacy.add_argument("--epsilon", type=float, metavar="E", help="finds the noise")
    privacy.add_argument("--delta", type=float, metavar="D")
    privacy.add_argument("--noise-multiplier", type=float, metavar="Z", help="instead of --epsilon")
    privacy.add_argument("--noise", choices=("skellam", "discrete-gaussian"), default="skellam", help="default skellam")
    privacy.add_argument("--rank", type=positive, metavar="R", help="as of prune, with --payload statistics")
    privacy.add_argument("--clip", type=float, metavar="C", help="as of prune, with --payload statistics")
    privacy.add_argument("--public-data", metavar="SOURCE", help="as of prune: for statistics under --dp")
    privacy.add_argument("--public-windows", type=positive, metavar="N", help="as of prune")
    game = parser.add_argument_group("game")
    game.add_argument(
        "--game",
        choices=GAMES,
        default=MEMBERSHIP,
        help="membership (default): whether a window or client took part; domain: what a client's text is about; "
        "linkage: whether a client is known again in another run; reconstruction: which tokens a client's text holds, "
        "and how far prune masks give its activations away. Flags of other games are refused",
    )
    game.add_argument(
        "--victims",
        type=positive,
        metavar="V",
        help="clients that are attacked over all runs, in games other than membership: a multiple of --clients (for "
        "domain of --domains too), elsewhere twice as many at least; default about 96 (domain), 64 (linkage), 24 "
        "(reconstruction)",
    )
    game.add_argument(
        "--domains",
        type=positive,
        default=4,
        metavar="K",
        help="those with the most text, for --game domain; default 4",
    )
    game.add_argument(
        "--adjacency",
        choices=ADJACENCIES,
        default="window-replace",
        help="what a coin decides, and under --dp what the noise is sized for: which of two windows (clients) fills a "
        "slot, or whether one does; default window-replace",
    )
    game.add_argument(
        "--knowledge",
        choices=KNOWLEDGE,
        default="exact",
        help="what the attacker holds of a candidate: its text, a near-duplicate, other text of its source; default "
        "exact",
    )
    game.add_argument("--attacks", type=attack_list, default=list(ALL_ATTACKS), metavar="LIST", help=_attacks_help())
    game.add_argument(
        "--targets",
        type=positive,
        default=64,
        metavar="K",
        help="pairs of candidates that are asked about, with a fresh coin in every run that holds one; default 64",
    )
    game.add_argument(
        "--canaries", type=positive, metavar="K", help="slots of a run that are asked about; default all of them"
    )
    game.add_argument(
        "--runs",
        type=positive,
        default=72,
        metavar="R",
        help="runs that are attacked, half of them to choose; default 72",
    )
    game.add_argument(
        "--labelled-runs", type=positive, default=96, metavar="R", help="shadow runs with known coins; default 96"
    )
    game.add_argument(
        "--reference-runs", type=positive, default=48, metavar="R", help="shadow runs for rates; default 48"
    )
    game.add_argument(
        "--population", type=positive, default=256, metavar="W", help="windows the attacker holds; default 256"
    )
    game.add_argument(
        "--strangers", type=positive, default=32, metavar="W", help="candidates in no run, to compare with; default 32"
    )
    given = parser.add_argument_group("prune masks that others made, scored without any claim")
    given.add_argument("--masks", nargs="+", metavar="FILE", help="as prune writes them; one a client")
    given.add_argument(
        "--kind",
        choices=("masks", "choice"),
        default="masks",
        help="masks: one file of --masks a client; choice: one file, chosen from --clients; default masks",
    )
    given.add_argument("--candidates", metavar="FILE", help="text or windows that may be behind the masks")
    given.add_argument("--non-members", metavar="FILE", help="likewise, known not to be")
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, required=True, metavar="DIR", help="audit.json and figures")
    output.add_argument("--overwrite", action="store_true", help="replace another audit in DIR")
    output.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help=f"kept statistics; default {CACHE}")
    output.add_argument("--json", action="store_true", help="print the result as JSON instead of tables")


class _Remembered(argparse.Action):
    """Stores a value, and that it was given: a value says nothing of that where it is the default one."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.given |= {self.dest}


def _attacks_help() -> str:
    return f"of {','.join(ALL_ATTACKS)}; default all"


def protocol_list(text: str) -> list[str]:
    """Read a comma-separated list of protocols."""
    return _listed(text, tuple(PROTOCOLS))


def attack_list(text: str) -> list[str]:
    """Read a comma-separated list of attacks; the blind baseline is always among them."""
    names = _listed(text, ALL_ATTACKS)
    return names if "blind" in names else ["blind", *names]


def _listed(text: str, known: tuple[str, ...]) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        wrong = repr(unknown[0]) if unknown else "''"
        raise argparse.ArgumentTypeError(f"{wrong} is none of {', '.join(known)}")
    return list(dict.fromkeys(names))
