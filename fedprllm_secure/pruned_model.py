"""Federated pruning from Python: one call prunes, the object it returns measures and saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from fedprllm_secure.artifacts import save_model, save_prune_masks
from fedprllm_secure.data import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import Perplexity, Variant, dense, perplexities
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.variants import masked, scaled
from fedprllm_secure.work import WorkFolder


class PrunedModel:
    """A finished run: the model and the folder that holds its totals and prune masks."""

    def __init__(self, model: StreamedModel, work: WorkFolder) -> None:
        """Take a model and the folder of a run that is done."""
        self.model, self.work = model, work

    def variant(self, *, scale: bool = False) -> Variant:
        """Give the pruned weights; ``scale`` multiplies each by the share of clients that kept it."""
        return scaled(self.model, self.work) if scale else masked(self.work.prune_mask)

    def perplexities(self, ids: Tensor, **options: Any) -> dict[str, Perplexity]:
        """Measure the unpruned and the pruned model on windows of token ids, int64 (windows, tokens)."""
        return perplexities(self.model, ids, {"dense": dense, "pruned": self.variant()}, **options)

    def save_prune_masks(self, file: str | Path) -> None:
        """Write the prune masks: uint8 (out, in), 1 = removed."""
        metadata = {"model_sha256": self.model.checkpoint.sha256}
        save_prune_masks(self.model, self.work, Path(file), metadata=metadata)

    def save(self, folder: str | Path, *, scale: bool = False) -> None:
        """Write the pruned model; it loads with ``AutoModelForCausalLM.from_pretrained``.

        Raises:
            InputError: the folder exists and is not empty.
        """
        if Path(folder).exists() and (not Path(folder).is_dir() or any(Path(folder).iterdir())):
            raise InputError(f"{folder} exists and is not empty; name a new folder")
        card = f"Federated pruning of `{self.model.checkpoint.folder.name}`; no differential privacy.\n"
        save_model(self.model, self.variant(scale=scale), Path(folder), card=card)


def prune(model: StreamedModel, windows: Windows, method: Method, *, folder: str | Path, **options: Any) -> PrunedModel:
    """Let the owners of ``windows`` prune ``model`` together.

    Args:
        model: the public model.
        windows: each client's calibration windows.
        method: how to prune.
        folder: where totals and prune masks go; a folder that holds finished blocks of the same run is continued,
            and one that holds another run is refused.
        options: as :class:`~fedprllm_secure.federation.Federation`.

    Raises:
        InputError: the method does not fit the model, an activation is not finite, or the folder holds another run.
        protocols.ProtocolError: a session of the protocol failed.
    """
    work = WorkFolder(Path(folder))
    Federation(model, windows, method, work, **options).run()
    return PrunedModel(model, work)
