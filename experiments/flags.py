"""The command line's flags: names, defaults and help. Values are checked by the rooms that use them."""

from __future__ import annotations

import argparse
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from fedprllm_secure.payloads import PAYLOADS
from fedprllm_secure.privacy import ADJACENCIES, MEANINGS
from fedprllm_secure.privacy.target import LAWS, PLACES
from fedprllm_secure.pruners import PRUNERS
from fedprllm_secure.schedule import PROPAGATIONS, ROUNDS
from fedprllm_secure.selection import TIES
from fedprllm_secure.sparsity import GROUPS
from fedprllm_secure.thresholds import GRAPHS
from protocols import PROTOCOLS, Step

BASELINES = ("dense", "central", "local", "public", "magnitude")
SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaint is one line: what is wrong and where to read more."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read arguments; a flag that there is not is named, with the nearest, before anything that is missing."""
        if self._subparsers is None and args is not None:
            flags = [str(arg).split("=", 1)[0] for arg in args if str(arg).startswith("--") and len(str(arg)) > 2]
            for flag in flags:
                if not any(known.startswith(flag) for known in self._option_string_actions):
                    nearest = get_close_matches(flag, self._option_string_actions, n=1)
                    self.error(f"there is no flag {flag}" + (f"; the nearest is {nearest[0]}" if nearest else ""))
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        # `fedprllm: `, as errors that are found later begin; which command it is stands at the end.
        print(f"{self.prog.split()[0]}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def add_prune_flags(parser: argparse.ArgumentParser, *, is_run: bool = True) -> None:
    """Add the flags of ``fedprllm prune``; a plan of one (not ``is_run``) needs no text and no place for results."""
    add_model_flags(parser, requires_model=is_run)
    data = parser.add_argument_group("private text")
    data.add_argument(
        "--data",
        required=is_run,
        help="demo, wikitext2, c4, ptb, a hub data set (owner/name), a .txt .jsonl .parquet file, a folder of .txt "
        "files (one a client), or .safetensors with windows already cut",
    )
    data.add_argument(
        "--text-field", metavar="NAME", help="column that holds the text (default: text, else the only one of strings)"
    )
    data.add_argument("--clients", type=positive, required=True, metavar="N", help="number of parties")
    data.add_argument("--windows-per-client", type=positive, default=2, metavar="M", help="default 2, as in the paper")
    data.add_argument(
        "--partition",
        default="iid",
        help="how text falls to clients: iid, natural (a file, package or --client-field value each), dirichlet:ALPHA "
        "over --label-field (smaller ALPHA: more unequal); default iid",
    )
    data.add_argument("--client-field", metavar="NAME", help="column that names the client, for natural")
    data.add_argument("--label-field", metavar="NAME", help="column that names the label, for dirichlet")
    data.add_argument(
        "--seed", type=not_negative, default=0, help="of the partition and of random ties; never of keys or noise"
    )
    data.add_argument(
        "--public-data",
        metavar="SOURCE",
        help="public text: for the public-only baseline, and for prior, basis and clip of statistics under --dp",
    )
    data.add_argument(
        "--public-windows",
        type=positive,
        metavar="N",
        help="windows of it; default as many as the clients', for statistics under --dp up to 1024",
    )

    method = parser.add_argument_group("method")
    method.add_argument(
        "--sparsity", required=True, help="share of weights removed (0.5), or N:M: N kept of every M (2:4, 4:8)"
    )
    method.add_argument(
        "--pruner",
        choices=list(PRUNERS),
        default="wanda",
        help="how a client ranks weights: wanda (|weight| x norm of its input), magnitude (|weight|); default wanda",
    )
    method.add_argument("--group", choices=GROUPS, help="weights that compete at the server (default layer)")
    method.add_argument("--local-group", choices=GROUPS, help="weights that compete at a client (default row)")
    method.add_argument(
        "--schedule",
        choices=ROUNDS,
        default="one-shot",
        help="one-shot: clients wait for no result; iterative: the server's block comes back before the next; "
        "default one-shot",
    )
    method.add_argument(
        "--propagate",
        choices=PROPAGATIONS,
        help="what enters the next block: local (each client's own pruned block) or dense with one-shot, global (the "
        "server's pruned block) with iterative; default local or global",
    )
    method.add_argument(
        "--ties",
        choices=TIES,
        default="magnitude",
        help="the server's order among equal totals: smallest weight, lowest index or drawn from --seed first; "
        "default magnitude",
    )
    method.add_argument(
        "--scale",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="multiply each weight that stays by the share of clients that kept it",
    )

    privacy = parser.add_argument_group("protection")
    privacy.add_argument(
        "--payload", choices=list(PAYLOADS), default="votes", help="what a client shares; default votes"
    )
    privacy.add_argument(
        "--protocol",
        choices=list(PROTOCOLS),
        default="plain",
        help="how it is summed. plain, the default, protects nothing: the server sees every client's prune mask. "
        "additive: masked sums; even a lying server learns only totals (but see --graph), clients may leave at any "
        "step. bfv, ckks: homomorphic encryption, against an honest-but-curious server; a lying one opens the votes of "
        "up to log2(N + 1) clients in each session (3 of 8, 6 of 64), any client that helps it opens everything",
    )
    privacy.add_argument(
        "--graph",
        choices=GRAPHS,
        default="complete",
        help="who masks with whom under additive: all (the default), or a sparse random graph for many clients, sized "
        "for a server that follows the protocol: against a lying one it takes more --neighbours, a higher "
        "--recovery-threshold and a beacon that nobody chose",
    )
    privacy.add_argument("--neighbours", type=positive, metavar="K", help="of each client in a sparse graph")
    privacy.add_argument(
        "--recovery-threshold",
        type=positive,
        metavar="K",
        help="clients (sparse: neighbours of each) that open the totals; default 1 under plain, else 2/3 and one",
    )
    privacy.add_argument(
        "--minimum-survivors",
        type=positive,
        metavar="K",
        help="fewest clients whose sum may be opened; default the recovery threshold, but (except under plain) "
        "at least 3 and two more than the assumed colluders (sparse: 95 %% of the clients)",
    )
    privacy.add_argument(
        "--assumed-colluders",
        type=not_negative,
        metavar="K",
        help="clients that may help the server; default 0, or 1 under --dp distributed (sparse: 5 %% of the clients)",
    )
    privacy.add_argument(
        "--dropout",
        type=dropout,
        metavar="RATE[@STEP]",
        help="simulated: each client leaves with this probability at a step "
        f"({', '.join(step.name.lower() for step in Step)}; default submit), drawn from seed and block",
    )

    add_privacy_flags(parser)

    result = parser.add_argument_group("results")
    result.add_argument("--out", type=Path, required=is_run, metavar="DIR", help="where results go")
    if is_run:
        result.add_argument(
            "--dry-run", action="store_true", help="run nothing and write nothing: say what it would cost, as plan does"
        )
    result.add_argument("--overwrite", action="store_true", help="replace what DIR holds")
    result.add_argument("--save-model", action="store_true", help="DIR/model, loads with from_pretrained")
    result.add_argument("--save-votes", action="store_true", help="DIR/votes.safetensors, the totals")
    result.add_argument("--save-transcript", action="store_true", help="DIR/transcript, every byte the server saw")
    result.add_argument(
        "--canaries",
        type=positive,
        metavar="K",
        help="for fedprllm audit, in simulation only: K of the clients' windows are drawn, and a fair coin decides for "
        "each whether the client uses it or a fresh one of the same text that no client holds; DIR/coins.json says how "
        "they fell. Windows already cut need K more rows than the clients hold",
    )
    result.add_argument("--json", action="store_true", help="print result.json instead of the tables")
    result.add_argument(
        "--baselines",
        type=baseline_list,
        default=list(BASELINES),
        metavar="LIST",
        help=f"measured beside the result, any of {','.join(BASELINES)} (default all); --baselines= for none",
    )
    result.add_argument(
        "--local-only-clients",
        type=positive,
        default=4,
        metavar="K",
        help="clients that prune alone, for the baseline local; default 4, at most all",
    )


def add_privacy_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of differential privacy."""
    privacy = parser.add_argument_group(
        "differential privacy",
        "Noise on the totals, and a proven claim about them: with --dp, what is not under simulation_only in "
        "result.json depends on private text through noisy totals alone, and exact totals are never written.",
    )
    privacy.add_argument(
        "--dp",
        choices=("none", *PLACES),
        default="none",
        help="none (default); central: the server, which is trusted, adds the noise after the sum; distributed: each "
        "client adds a share that the protocol hides (additive, bfv, ckks), enough without those that may leave or "
        "collude",
    )
    privacy.add_argument("--epsilon", type=float, metavar="E", help="what the claim may be; finds the noise")
    privacy.add_argument("--delta", type=float, metavar="D", help="of the claim, such as 1e-5; no default")
    privacy.add_argument(
        "--noise-multiplier",
        type=float,
        metavar="Z",
        help="standard deviation of the noise over the sensitivity, instead of --epsilon; finds the claim",
    )
    privacy.add_argument(
        "--noise",
        choices=LAWS,
        default="skellam",
        help="law of the noise: skellam (default; shares add up to it exactly), discrete-gaussian, or gumbel (with "
        "--payload units and --dp central: a noisy choice that publishes no totals)",
    )
    privacy.add_argument(
        "--adjacency",
        choices=ADJACENCIES,
        help="what the claim compares; no default. "
        + "; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items()),
    )
    privacy.add_argument(
        "--rank",
        type=positive,
        metavar="R",
        help="with --payload statistics: most public directions in which residuals are shared; later ones are shrunk "
        "away where they show nothing but noise (default 1000)",
    )
    privacy.add_argument(
        "--clip",
        type=float,
        metavar="C",
        help="with --payload statistics: largest norm of a contribution; default the median of held-out public text. A "
        "value chosen by looking at private text is a release of its own",
    )
    privacy.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="charge each simulated client's ledger (FILE with the client's number in its name) before its message "
        "leaves, and refuse to overspend (exit status 4); an account without a budget gets --epsilon for one. See "
        "fedprllm budget --help",
    )
    privacy.add_argument(
        "--data-set",
        metavar="NAME",
        help="what ledgers call the clients' text; default --data and --partition. Text that was cut in another way is "
        "another data set; what two of them share is recognised",
    )


def add_model_flags(parser: argparse.ArgumentParser, *, evaluates: bool = True, requires_model: bool = True) -> None:
    """Add the flags that commands on a model share; those of evaluation where it ``evaluates``."""
    model = parser.add_argument_group("model")
    model.add_argument("--model", required=requires_model, help="demo, a hub name (owner/name) or a model folder")
    model.add_argument("--model-sha256", metavar="DIGEST", help="refuse a model with another digest")
    model.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="of the computation; auto takes the checkpoint's, or float32 for half precision on a CPU",
    )
    model.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes a GPU where there is one"
    )
    model.add_argument(
        "--hidden-dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="of the hidden states kept between blocks; auto takes that of the computation",
    )
    model.add_argument(
        "--hidden-memory",
        type=size_in_bytes,
        default=4 << 30,
        metavar="BYTES",
        help="hidden states past this lie on disk; 500M, 4G (default 4G)",
    )
    model.add_argument(
        "--batch-windows", type=positive, default=2, metavar="B", help="windows a forward pass; default 2"
    )
    model.add_argument(
        "--window-length",
        type=positive,
        metavar="T",
        help="tokens a window (default: as cut, 256 for the demo model, else 2048 or the model's context if shorter)",
    )
    if evaluates:
        text = parser.add_argument_group("evaluation")
        text.add_argument(
            "--eval-data",
            metavar="SOURCE",
            help="text for perplexity (default: the demo's or the corpus's own test split; none for files)",
        )
        text.add_argument("--eval-windows", type=positive, default=64, metavar="N", help="windows of it (default 64)")


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def not_negative(text: str) -> int:
    """Read a whole number of at least 0."""
    if not re.fullmatch(r"\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 0")
    return int(text)


def size_in_bytes(text: str) -> int:
    """Read a size such as 500M."""
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", text, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} must be bytes, such as 500M or 4G")
    return int(found[1]) * SIZES[found[2].upper()]


def dropout(text: str) -> tuple[float, Step]:
    """Read RATE[@STEP]."""
    rate, at, step = text.partition("@")
    step = step if at else "submit"
    names = {member.name.lower(): member for member in Step}
    try:
        value = float(rate)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1 or step not in names:
        raise argparse.ArgumentTypeError(f"{text!r} must be a rate in [0, 1), perhaps @ one of {', '.join(names)}")
    return value, names[step]


def baseline_list(text: str) -> list[str]:
    """Read a comma-separated list of baselines."""
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(BASELINES)}")
    return names


# What these flags change is how a result is reached or shown, not the result.
NOT_CONFIGURATION = frozenset(
    {"command", "out", "overwrite", "json", "dry_run", "hidden_memory", "run", "batch_windows", "device"}
)


def configuration(flags: argparse.Namespace) -> dict[str, Any]:
    """Turn flags into the configuration that names a result: plain values, sorted."""
    return {
        name: value if isinstance(value, str | int | float | bool | list | None) else _written(value)
        for name, value in sorted(vars(flags).items())
        if name not in NOT_CONFIGURATION
    }


def _written(value: Any) -> str:
    return f"{value[0]}@{value[1].name.lower()}" if isinstance(value, tuple) else str(value)
