"""How fast this machine prunes: one small block of random weights, pruned once, phase by phase."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from fedprllm_secure.data import Windows
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.checkpoint import WEIGHTS
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.work import WorkFolder

CLIENTS, VOCABULARY, RUNS = 2, 256, 2
MOST_WEIGHTS, MOST_TOKENS = 4_000_000, 256
HEAD, MULTIPLE = 32, 32
WEIGHTS_OF_SQUARE = 12  # of a LLaMA block with hidden size h and an FFN of 8/3 h: 4 h^2 + 3 * 8/3 h^2


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRates:
    """Seconds of one block, measured.

    Attributes:
        weights: prunable weights of the block that was measured.
        rows: windows that passed through it.
        tokens: tokens a window.
        parties: parties that decided alone.
        seconds: by phase, as a run's ``result.json`` names them.
    """

    weights: int
    rows: int
    tokens: int
    parties: int
    seconds: dict[str, float]

    def per_token_and_weight(self, phase: str) -> float:
        """Give the seconds of a phase that passes windows through weights."""
        return self.seconds.get(phase, 0.0) / (self.rows * self.tokens * self.weights)

    def per_weight(self, phase: str) -> float:
        """Give the seconds of a phase that looks at each weight once, for one party."""
        return self.seconds.get(phase, 0.0) / (self.weights * (self.parties if phase == "decide" else 1))


def measure_block(method: Method, *, block_weights: int, length: int, device: torch.device) -> BlockRates:
    """Prune one block by a method, in plain sums and without noise, and take the faster of two runs.

    Args:
        method: how to prune.
        block_weights: prunable weights of a block of the model that is planned for; the block measured is a LLaMA
            block about as large, but of at most four million.
        length: tokens a window; at most 256 are used.
        device: where blocks are computed.
    """
    tokens = min(length, MOST_TOKENS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_block(folder / "model", min(block_weights, MOST_WEIGHTS), tokens)
        ids = torch.randint(0, VOCABULARY, (CLIENTS, tokens))
        windows = Windows(ids, num_clients=CLIENTS, per_client=1, length=tokens)
        simple = replace(method, protocol="plain", privacy=None, clip=None)
        tries = [_measured(folder / "model", folder / f"work{run}", windows, simple, device) for run in range(RUNS)]
    return min(tries, key=lambda rates: sum(rates.seconds.values()))


def _measured(model_folder: Path, work: Path, windows: Windows, method: Method, device: torch.device) -> BlockRates:
    model = StreamedModel(model_folder, device=device)
    federation = Federation(model, windows, method, WorkFolder(work))
    federation.run()
    seconds = dict(federation.work.record(0).seconds)
    return BlockRates(
        weights=sum(parameter.numel() for parameter in model.block_module(0).parameters() if parameter.ndim == 2),
        rows=len(federation.parties.ids),
        tokens=windows.length,
        parties=len(federation.parties.streams),
        seconds={phase: value for phase, value in seconds.items() if phase not in ("pruning", "protocol")},
    )


def _write_block(folder: Path, weights: int, tokens: int) -> None:
    hidden = max(MULTIPLE, round((weights / WEIGHTS_OF_SQUARE) ** 0.5 / MULTIPLE) * MULTIPLE)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3 // MULTIPLE * MULTIPLE,
        num_hidden_layers=1,
        num_attention_heads=hidden // HEAD,
        num_key_value_heads=hidden // HEAD,
        vocab_size=VOCABULARY,
        max_position_embeddings=max(tokens, MULTIPLE),
    )
    config.save_pretrained(folder)
    save_file(dict(LlamaForCausalLM(config).state_dict()), folder / WEIGHTS)
