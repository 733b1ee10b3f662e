"""The command line: ``fedprllm``.

Exit status: 0 done; 1 unexpected (the traceback is in ``DIR/error.log``); 2 bad usage, bad input or a full disk; 3 the
protocol aborted; 4 a privacy budget refused; 130 interrupted, and the same command continues.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from experiments.flags import OneLineParser, add_model_flags, add_prune_flags
from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import BudgetRefused
from protocols import ProtocolError

DONE, UNEXPECTED, BAD_INPUT, ABORTED, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of every command."""
    parser = OneLineParser(prog="fedprllm", description="Prune a language model across parties who keep their text.")
    parser.add_argument("--version", action="version", version=f"fedprllm {version('fedprllm-secure')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    prune = commands.add_parser(
        "prune",
        help="clients with private text prune one model together",
        description="Clients compute prune masks of a public model from private text; the server adds them up under a "
        "protocol and removes the most-voted weights. Baselines are measured in the same run.",
        epilog="example: fedprllm prune --model demo --data demo --clients 8 --sparsity 0.5 --out demo-run",
    )
    add_prune_flags(prune)
    evaluate = commands.add_parser(
        "evaluate",
        help="perplexity of a model, dense and under saved prune masks",
        description="Measure perplexity on non-overlapping windows, streaming the model block by block.",
        epilog="example: fedprllm evaluate --model demo --prune-masks demo-run/prune_masks.safetensors",
    )
    add_model_flags(evaluate)
    evaluate.add_argument("--prune-masks", type=Path, action="append", default=[], metavar="FILE", help="may repeat")
    evaluate.add_argument("--text-field", metavar="NAME", help="column that holds the text (default: text)")
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of a table")
    from experiments.audit.flags import add_audit_flags
    from experiments.bench import add_flags
    from experiments.budget_command import add_budget_flags
    from experiments.plan.flags import DESCRIPTION as PLAN
    from experiments.plan.flags import add_plan_flags
    from experiments.report_command import add_report_flags
    from experiments.study_command import add_study_flags
    from experiments.sweep.flags import DESCRIPTION as SWEEP
    from experiments.sweep.flags import EXAMPLE as SWEEP_EXAMPLE
    from experiments.sweep.flags import add_sweep_flags

    audit = commands.add_parser(
        "audit",
        help="what each adversary learns of single windows or clients",
        description="Membership inference on exactly what each adversary sees of real sessions: clients' masks, "
        "totals, totals less what colluders know, the pruned model. Every coin is fair.",
        epilog="example: fedprllm audit --model demo --data demo --out demo-audit",
    )
    add_audit_flags(audit)
    bench = commands.add_parser(
        "bench",
        help="measure speed, memory and quality against a peer or a limit",
        description="Benchmarks, each a table of its own.",
    )
    add_flags(bench)
    budget = commands.add_parser(
        "budget",
        help="what clients' ledgers have spent, and what a plan would cost",
    )
    add_budget_flags(budget)
    plan = commands.add_parser(
        "plan",
        help="what a run of prune would cost and promise, without running it",
        description=PLAN,
        epilog="example: fedprllm plan --model-shape llama-7b --clients 16 --protocol additive --sparsity 0.5",
    )
    add_plan_flags(plan)
    study = commands.add_parser(
        "study",
        help="answer one question by a table and a picture",
        description="Studies, each a table and a picture of its own.",
    )
    add_study_flags(study)
    sweep = commands.add_parser(
        "sweep",
        help="many runs, by flags with several values, and one table",
        description=SWEEP,
        epilog=SWEEP_EXAMPLE,
    )
    add_sweep_flags(sweep)
    report = commands.add_parser(
        "report",
        help="one page of what runs, audits and sweeps found",
        description="Privacy, utility and cost on one page that opens offline, and the same as Markdown with pictures.",
        epilog="example: fedprllm report demo-run demo-audit --out demo-report",
    )
    add_report_flags(report)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    # Model code prints load reports and hints that are not about this run.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Failed requests are reported once, by the error that ends the command.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        flags = make_parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return guarded(lambda: _command(flags)(flags), out=getattr(flags, "out", None))


def _command(flags: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    # Each command's own imports wait until it is asked for.
    if flags.command == "plan" or getattr(flags, "dry_run", False):
        from experiments.plan_command import run
    elif flags.command == "prune":
        from experiments.prune_command import run
    elif flags.command == "report":
        from experiments.report_command import run
    elif flags.command == "study":
        from experiments.study_command import run
    elif flags.command == "sweep":
        from experiments.sweep_command import run
    elif flags.command == "audit":
        from experiments.audit_command import run
    elif flags.command == "budget":
        from experiments.budget_command import run
    elif flags.command == "evaluate":
        from experiments.evaluate_command import run
    else:
        from experiments.bench import run
    return run


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def guarded(
    work: Callable[[], int],
    *,
    out: Path | None,
    say: Callable[[str], None] = _to_stderr,
    catches_interrupts: bool = True,
) -> int:
    """Run ``work`` and turn what it raises into an exit status and one line.

    Args:
        work: returns a status of its own.
        out: where results go, and the traceback of what nobody expected.
        say: takes the line, and before it a traceback that could not be written.
        catches_interrupts: whether Ctrl-C is such a line too, or the caller's to handle.
    """
    try:
        return work()
    except KeyboardInterrupt:
        if not catches_interrupts:
            raise
        say("interrupted; the same command continues")
        return INTERRUPTED
    except ProtocolError as error:
        say(f"the protocol aborted: {error}")
        return ABORTED
    except BudgetRefused as error:
        say(f"privacy budget refused: {_one_line(error)}")
        return REFUSED
    except InputError as error:
        say(f"fedprllm: {_one_line(error)}")
        return BAD_INPUT
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
            where = f" ({error.filename})" if error.filename else ""
            kept = "; finished blocks are kept" if out is not None and (out / "work").is_dir() else ""
            say(f"fedprllm: {error.strerror}{where}{kept}; check paths, permissions and room")
            return BAD_INPUT
        return _unexpected(error, out, say)
    except Exception as error:  # the last resort: never a bare traceback
        return _unexpected(error, out, say)


def _unexpected(error: BaseException, out: Path | None, say: Callable[[str], None]) -> int:
    text = "".join(traceback.format_exception(error))
    place = "" if out is None else f"; the traceback is in {out / 'error.log'}"
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "error.log").write_text(text)
        except OSError:
            out = None
    if out is None:
        say(text)
    say(f"fedprllm: unexpected {type(error).__name__}: {_one_line(error)}{place}")
    return UNEXPECTED


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
