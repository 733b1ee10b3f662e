"""Perplexities that several runs measure alike are measured once: a variant's follows from windows and weights alone.

Variants go by a key that says which weights they have (:mod:`fedprllm_secure.variants`), so that runs whose clients,
protocols or baselines came to the same prune mask share its perplexity, whatever they are called in each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fedprllm_secure.evaluation import Perplexity, Variant, perplexities
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.shared_work import Key, SharedWork, digest
from fedprllm_secure.variants import KeyedVariant

PERPLEXITY_BYTES = 1024  # of one value and its key, roughly


def shared_perplexities(
    model: StreamedModel,
    ids: Tensor,
    variants: Mapping[str, KeyedVariant],
    *,
    shared: SharedWork,
    batch_windows: int = 8,
    hidden_dtype: torch.dtype | None = None,
    hidden_memory_bytes: int = 4 << 30,
    folder: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Perplexity]:
    """Measure as :func:`~fedprllm_secure.evaluation.perplexities` what is not known yet.

    Args:
        model: the unpruned model.
        ids: int64 (windows, tokens).
        variants: by name, each with what gives its key; not asked where nothing can be shared.
        shared: what other runs measured.
        batch_windows: windows a forward pass.
        hidden_dtype: how hidden states are kept between blocks; the model's dtype if None.
        hidden_memory_bytes: past this, hidden states lie on disk.
        folder: where they lie then.
        progress: receives (phase, done, total).
    """

    def measure(wanted: Mapping[str, Variant]) -> dict[str, Perplexity]:
        return perplexities(
            model,
            ids,
            wanted,
            batch_windows=batch_windows,
            hidden_dtype=hidden_dtype,
            hidden_memory_bytes=hidden_memory_bytes,
            folder=folder,
            progress=progress,
        )

    if not shared.is_on:
        return measure({name: variant for name, (variant, _) in variants.items()})
    settings = (model.dtype, model.device, hidden_dtype, batch_windows, torch.get_num_threads())
    common: Key = ("perplexity", model.checkpoint.sha256, digest(settings, ids))
    keys: dict[str, Key] = {name: (*common, key()) for name, (_, key) in variants.items()}
    known: dict[Key, Perplexity] = {key: found for key in keys.values() if (found := shared.find(key)) is not None}
    # Of several variants with the same weights, one is measured.
    missing = {key: name for name, key in keys.items() if key not in known}
    if missing:
        started = time.perf_counter()
        measured = measure({name: variants[name][0] for name in missing.values()})
        seconds = (time.perf_counter() - started) / len(missing)
        for key, name in missing.items():
            known[key] = measured[name]
            shared.keep(key, partial(measured.__getitem__, name), num_bytes=PERPLEXITY_BYTES, seconds=seconds)
    return {name: known[key] for name, key in keys.items()}
