"""What all parties of a run must agree on, as one digest for each session.

The protocols bind the digest into every key and signature, so parties that were shown different models, settings or
(in iterative runs) different results of earlier blocks cannot complete a session together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from protocols import Roster

VERSION = 1


class Manifest:
    """The manifest of a run; grows by what the server announces."""

    def __init__(self, model: StreamedModel, method: Method, roster: Roster, *, window_length: int) -> None:
        """Take down what is fixed before the first session.

        Args:
            model: its digest is of configuration and weights; that of the tokenizer stands beside it.
            method: how to prune.
            roster: the clients' keys.
            window_length: tokens a window.
        """
        self._fixed: dict[str, Any] = {
            "version": VERSION,
            "model": model.checkpoint.sha256,
            "tokenizer": model.checkpoint.tokenizer_sha256,
            "dtype": str(model.dtype),
            "window_length": window_length,
            "method": method.manifest(),
            "roster": roster.digest.hex(),
        }
        self._announced = hashlib.sha256(b"fedprllm/v1/announced").digest()

    def announce(self, prune_masks: Iterable[Tensor]) -> None:
        """Add a block's global prune masks (out, in), which the clients go on from."""
        digest = hashlib.sha256(self._announced)
        for prune_mask in prune_masks:
            digest.update(hashlib.sha256(np.packbits(prune_mask.cpu().numpy()).tobytes()).digest())
        self._announced = digest.digest()

    def digest(self, *, block: int, session_number: int, payload: Mapping[str, Any] | None = None) -> bytes:
        """Give the SHA-256 that a session binds.

        Args:
            block: the block whose vectors it sums; 0 for a session over all blocks.
            session_number: its number in the run.
            payload: what parties must agree on of what is shared, beside the method.
        """
        session: dict[str, Any] = {"block": block, "session_number": session_number, "announced": self._announced.hex()}
        session |= {"payload": dict(payload or {})}
        encoded = json.dumps(self._fixed | session, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(encoded.encode()).digest()
