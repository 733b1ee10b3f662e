"""``fedprllm plan``: what a run will cost and promise, before an hour is spent.

Reads the model's configuration and the shapes of its weights, and no private text: of text only counts matter, of
public text at most how many windows there are. Bytes are computed by formula and are those of the run; seconds and
memory are estimates, and say how they were made.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments import canaries, inputs
from experiments.demo import DEMO_MODEL
from experiments.plan.counts import public_counts
from experiments.plan.forecast import forecast
from experiments.plan.sessions import PlannedRun
from experiments.plan.shapes import published_shape, shape_of_model, write_stand_in
from experiments.plan.tables import show_plan
from experiments.privacy_flags import refuse_what_does_not_go_together
from experiments.prune_command import dropouts_of, method_of, refuse_flags_of_other_payloads, thresholds_of
from experiments.result import finite
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    method = method_of(flags)
    refuse_flags_of_other_payloads(flags)
    if flags.canaries is not None:
        canaries.refuse_too_many(flags.canaries, clients=flags.clients, per_client=flags.windows_per_client)
    refuse_what_does_not_go_together(flags, method.privacy)
    thresholds = thresholds_of(flags)
    with tempfile.TemporaryDirectory() as scratch, _opened(flags) as (model, is_stand_in):
        length = inputs.window_length(flags, model)
        notes: list[str] = []
        counts = public_counts(flags, model, length, notes, is_stand_in=is_stand_in)
        planned = PlannedRun(model, method, counts, thresholds, folder=Path(scratch) / "work")
        found = forecast(
            flags, model, planned, counts, thresholds, length=length, leaving=dropouts_of(flags), notes=notes
        )
        found["model"]["is_stand_in"] = is_stand_in
    if flags.json:
        print(json.dumps(finite(found), indent=2))
    else:
        show_plan(finite(found))
    return 0


@contextmanager
def _opened(flags: argparse.Namespace) -> Iterator[tuple[StreamedModel, bool]]:
    """Open the model, or a stand-in for one whose weights are not here, for the length of a ``with``.

    Raises:
        InputError: no model is named, or two, or there is no such model.
    """
    shape: str | None = getattr(flags, "model_shape", None)
    if (flags.model is None) == (shape is None):
        raise InputError("plan needs either --model or --model-shape, and not both")
    source = str(DEMO_MODEL) if flags.model == "demo" else flags.model
    config: Any = published_shape(shape) if shape is not None else shape_of_model(source)
    device, dtype = inputs.pick_device(flags.device), inputs.DTYPES.get(flags.dtype)
    if config is None:
        yield StreamedModel(Path(source).expanduser(), device=device, dtype=dtype), False
        return
    with tempfile.TemporaryDirectory() as folder:
        yield StreamedModel(write_stand_in(config, Path(folder)), device=device, dtype=dtype), True
