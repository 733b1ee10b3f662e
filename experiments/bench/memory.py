"""Peak memory of pruning an 800-million-parameter model in float32, against the size of its weights.

A random LLaMA of 18 blocks, hidden 1792, ffn 4864, vocabulary 32,000 untied (3.2 GB) is written to a temporary folder,
pruned by 4 clients x 2 windows of 512 tokens with votes and prune masks saved, and evaluated streamed, in a process of
its own: VmHWM above VmRSS after the imports, mapped pages included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from fedprllm_secure.models.checkpoint import TensorWriter

LIMIT_BYTES = 1_500_000_000
BLOCKS, HIDDEN, FFN, VOCABULARY = 18, 1792, 4864, 32_000

PROGRAM = """
import re, sys, torch
from experiments.cli import main
import experiments.prune_command, experiments.evaluate_command
def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
after_imports = status("VmRSS")
code = main(sys.argv[1:])
print("exit", code)
print("growth", status("VmHWM") - after_imports)
"""


def bench_memory() -> None:
    """Write the model, prune it in a fresh process, and print the peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weight_bytes = _write_random_model(folder / "model")
        generator = torch.Generator().manual_seed(0)
        windows = torch.randint(0, VOCABULARY, (8, 512), generator=generator)
        save_file({"windows": windows}, folder / "windows.safetensors")
        arguments = (
            f"prune --model {folder}/model --data {folder}/windows.safetensors --clients 4 --windows-per-client 2 "
            f"--sparsity 0.5 --eval-data {folder}/windows.safetensors --eval-windows 4 --baselines dense --save-votes "
            f"--out {folder}/out --json"
        )
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments.split()], capture_output=True, text=True, check=False
        )
        if "exit 0" not in done.stdout:
            raise RuntimeError(f"the pruning process failed: {done.stdout[-500:]} {done.stderr[-2000:]}")
        growth = int(done.stdout.rsplit("growth ", 1)[1])
    print(
        f"weights {weight_bytes / 1e9:.2f} GB, peak above imports {growth / 1e9:.2f} GB, limit {LIMIT_BYTES / 1e9} GB"
    )
    print(f"ratio of peak to weights {growth / weight_bytes:.2f}")


def _write_random_model(folder: Path) -> int:
    """Write a random LLaMA tensor by tensor; return its size in bytes."""
    folder.mkdir()
    LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=FFN,
        num_hidden_layers=BLOCKS,
        num_attention_heads=14,
        num_key_value_heads=14,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        dtype="float32",
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for block in range(BLOCKS):
        prefix = f"model.layers.{block}."
        shapes |= {f"{prefix}self_attn.{x}_proj.weight": (HIDDEN, HIDDEN) for x in "qkvo"}
        shapes |= {f"{prefix}mlp.{x}_proj.weight": (FFN, HIDDEN) for x in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (HIDDEN, FFN)
        shapes |= {f"{prefix}{x}_layernorm.weight": (HIDDEN,) for x in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    layout = {name: (shape, torch.float32) for name, shape in shapes.items()}
    writer = TensorWriter(folder / "model.safetensors", layout, metadata={"format": "pt"})
    generator = torch.Generator().manual_seed(0)
    for name, shape in shapes.items():
        writer.write(name, torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) * 0.02)
    writer.close()
    return sum(torch.Size(shape).numel() * 4 for shape in shapes.values())
