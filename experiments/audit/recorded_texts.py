"""What an attacker on a finished run holds beside the pairs in question: windows of the run's source, none of the run.

They are cut from text after what the clients and the coins' second windows took. A source too large to read whole is
dealt differently when more is read of it; then, and wherever else a window repeats text of the run, it is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments import inputs
from experiments.audit.recorded import RecordedRun
from fedprllm_secure.data import TooLittleText, read_windows, windows_shape
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel

SHARED = 16  # tokens: a run of twice as many in common is always found, a run of fewer than this never


def windows_apart(
    run: RecordedRun, flags: argparse.Namespace, model: StreamedModel, *, wanted: int, generator: np.random.Generator
) -> Tensor:
    """Cut windows that share no text with the run's.

    Args:
        run: the run.
        flags: those of the run.
        model: its model; its tokenizer cuts.
        wanted: how many windows, at most.
        generator: of their order.

    Returns:
        int64 (windows, tokens), up to ``wanted``.

    Raises:
        InputError: the source is not the run's, or too short.
    """
    held, _ = inputs.windows_and_further(flags, model, run.coins.window_length, [], canaries=run.config["canaries"])
    pairs = torch.tensor([slot.windows for slot in run.coins.slots])  # (coins, 2, tokens)
    if not torch.equal(held.ids[torch.from_numpy(run.places)], pairs[:, 0]):
        raise InputError(f"--data {flags.data} is not the text that the run's windows were cut from, or has changed")
    try:
        pool = _pool(run, flags, model, held.ids, wanted)
    except TooLittleText as error:
        raise InputError(
            f"--population and --strangers ask for {wanted} windows beside those of the run; --data has too little "
            "text for so many: lower them"
        ) from error
    pool = _without(pool, torch.cat([held.ids, pairs.flatten(0, 1)]))
    return pool[torch.from_numpy(generator.permutation(len(pool)))][:wanted]


def _pool(run: RecordedRun, flags: argparse.Namespace, model: StreamedModel, held: Tensor, wanted: int) -> Tensor:
    """Cut at least as many windows of the source; those of the run may be among them."""
    length = run.coins.window_length
    if inputs.is_cut(flags.data):
        rows, _ = windows_shape(Path(flags.data))
        return read_windows(
            Path(flags.data), num_clients=1, per_client=rows, length=length, vocabulary_size=model.vocabulary_size
        ).ids[len(held) :]
    taken = run.per_client + min(int(run.config["canaries"]), run.per_client)
    each = -(-wanted // run.clients)

    def dealt(per_client: int) -> Tensor:
        more = argparse.Namespace(**vars(flags) | {"windows_per_client": per_client})
        return inputs.client_windows(more, model, length, []).ids.reshape(run.clients, per_client, length)

    found = dealt(taken + each)
    if torch.equal(found[:, : run.per_client].flatten(0, 1), held):
        return found[:, taken:].flatten(0, 1)
    return dealt(2 * taken + each).flatten(0, 1)  # a window of the run lies across two of these at most


def _without(pool: Tensor, taken: Tensor) -> Tensor:
    """Leave out windows that repeat text of others, at whatever place."""
    size = min(SHARED, taken.shape[1])
    pieces = {piece.tobytes() for window in taken.numpy() for piece in _cut(window, size, step=size)}
    kept = [not any(piece.tobytes() in pieces for piece in _cut(window, size, step=1)) for window in pool.numpy()]
    return pool[torch.tensor(kept, dtype=torch.bool)]


def _cut(window: np.ndarray, size: int, *, step: int) -> list[np.ndarray]:
    return [window[start : start + size] for start in range(0, len(window) - size + 1, step)]
