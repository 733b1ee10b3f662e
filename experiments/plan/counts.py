"""From flags to the public counts of a run: how many windows each party will have."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments import inputs
from experiments.plan.sessions import Counts
from fedprllm_secure.data import CORPORA
from fedprllm_secure.models.streamed import StreamedModel


def public_counts(
    flags: argparse.Namespace, model: StreamedModel, length: int, notes: list[str], *, is_stand_in: bool
) -> Counts:
    """Count what the run will have; what was assumed goes to ``notes``.

    Args:
        flags: of the command.
        model: opened, or a stand-in.
        length: tokens a window.
        notes: receives what the user should know.
        is_stand_in: whether there is no tokenizer, so that public text cannot be cut either.

    Raises:
        fedprllm_secure.data.DataError: public text that has to be counted cannot be read, or is too short.
    """
    return Counts(
        clients=flags.clients,
        per_client=flags.windows_per_client,
        public=_public_windows(flags, model, length, notes, is_stand_in=is_stand_in),
        central="central" in flags.baselines,
        local_only=min(flags.local_only_clients, flags.clients) if "local" in flags.baselines else 0,
        magnitude="magnitude" in flags.baselines,
    )


def _public_windows(
    flags: argparse.Namespace, model: StreamedModel, length: int, notes: list[str], *, is_stand_in: bool
) -> int | None:
    source = flags.public_data or ("demo" if flags.data == "demo" else None)
    if not inputs.makes_prior(flags):
        is_wanted = "public" in flags.baselines and source is not None
        return (flags.public_windows or flags.clients * flags.windows_per_client) if is_wanted else None
    if flags.public_windows is not None:
        return int(flags.public_windows)
    is_here = source is not None and (source == "demo" or Path(source).expanduser().exists())
    if is_here and not is_stand_in:
        public = inputs.public_windows(flags, model, length, flags.clients * flags.windows_per_client)
        return None if public is None else len(public)
    notes.append(
        f"taken for granted: {inputs.MOST_PRIOR_WINDOWS} windows of public text, as many as are used; fewer leave "
        "fewer directions (--public-windows)"
    )
    return inputs.MOST_PRIOR_WINDOWS


def evaluated_windows(flags: argparse.Namespace) -> int:
    """Give how many windows will be evaluated at most; 0 where no text is named."""
    has_text = flags.eval_data or flags.data == "demo" or flags.data in CORPORA
    return int(flags.eval_windows) if has_text else 0
