"""Train the demo model: ``python -m experiments.demo.train --work DIR --out DIR``.

A LLaMA of 5.4 million parameters on the ``public`` split of :mod:`experiments.demo.corpus`, in bf16 autocast on
the CPU (or on CUDA). Hidden matrices are optimised with Muon (Jordan 2024), embeddings and norms with AdamW, under
one warm-up / constant / linear-decay schedule, so that ``--steps`` may still be changed on resume while the rate is
constant. Batches are a pure function of seed and step; the work folder holds the last checkpoint, and the same
command continues from it. A twentieth of the public modules is held out to watch over-fitting; private and
evaluation text is never read here.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.demo.corpus import Module, load_modules

END_OF_TEXT = "<|endoftext|>"
VOCABULARY_SIZE = 4096
CONTEXT_LENGTH = 512
BATCH_WINDOWS = 16
WARM_UP_STEPS = 60
DECAY_SHARE = 0.41
CHECKPOINT_STEPS = 50
# Words with a leading space, digits in threes, punctuation runs, and a line break with its whole indentation.
SPLIT_PATTERN = r"\n[ \t]*| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|[ \t]+|\s"


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of ``VOCABULARY_SIZE`` entries; every text survives encode and decode unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_LENGTH,
    )


def is_held_out(module: Module) -> bool:
    """Say whether a public module is kept from training to watch over-fitting."""
    return hashlib.sha256(f"fedprllm demo held out|{module.path}".encode()).digest()[0] < 13


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Join texts, each followed by the end-of-text token, into one int64 stream (tokens,)."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    return torch.tensor([token for ids in tokenizer(texts)["input_ids"] for token in (*ids, end)])


def batch_of(stream: Tensor, step: int, *, seed: int) -> Tensor:
    """Cut the batch of a step (BATCH_WINDOWS, CONTEXT_LENGTH): every epoch covers the stream once at a new offset."""
    per_epoch = (len(stream) - CONTEXT_LENGTH) // (CONTEXT_LENGTH * BATCH_WINDOWS)
    epoch, index = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    offset = int(torch.randint(CONTEXT_LENGTH, (), generator=generator))
    order = torch.randperm(per_epoch * BATCH_WINDOWS, generator=generator)
    starts = offset + CONTEXT_LENGTH * order[index * BATCH_WINDOWS : (index + 1) * BATCH_WINDOWS]
    return torch.stack([stream[start : start + CONTEXT_LENGTH] for start in starts.tolist()])


def rate_at(step: int, steps: int) -> float:
    """Give the learning rate of a step as a share of the peak: warm-up, constant, linear to zero."""
    decay_steps = max(1, int(steps * DECAY_SHARE))
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / decay_steps)


def make_model(seed: int) -> LlamaForCausalLM:
    """Build the untrained demo model: 6 blocks, hidden 256, ffn 688, 8 heads over 4 KV heads, tied embeddings."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT_LENGTH,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
        )
    )


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Give hidden matrices to Muon, and embeddings and norms to AdamW."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01),
    ]


@torch.no_grad()
def bits_per_token(model: nn.Module, stream: Tensor, device: torch.device) -> float:
    """Measure cross-entropy on non-overlapping windows of a stream, in bits per predicted token."""
    windows = stream[: len(stream) // CONTEXT_LENGTH * CONTEXT_LENGTH].view(-1, CONTEXT_LENGTH)
    losses = [
        model(input_ids=chunk.to(device), labels=chunk.to(device)).loss.item() for chunk in windows.split(BATCH_WINDOWS)
    ]
    return sum(losses) / len(losses) / math.log(2)


def train(work: Path, *, steps: int, seed: int, device: torch.device, compiled: bool) -> LlamaForCausalLM:
    """Train from scratch or from the work folder's checkpoint, and return the model."""
    work.mkdir(parents=True, exist_ok=True)
    public = [module for module in load_modules() if module.split == "public"]
    training_texts = [module.text for module in public if not is_held_out(module)]
    held_out_texts = [module.text for module in public if is_held_out(module)]
    tokenizer = train_tokenizer(training_texts)
    tokenizer.save_pretrained(work / "tokenizer")
    stream, held_out = token_stream(tokenizer, training_texts), token_stream(tokenizer, held_out_texts)
    tokens_per_byte = len(held_out) / sum(len(text.encode()) for text in held_out_texts)

    model = make_model(seed)
    nn.Module.to(model, device)
    optimizers = make_optimizers(model)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    checkpoint, first = work / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    forward = torch.compile(model) if compiled else model

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns) as progress, (work / "log.tsv").open("a") as log:
        bar = progress.add_task("", total=steps, completed=first, figures="")
        started = time.monotonic()
        for step in range(first, steps):
            windows = batch_of(stream, step, seed=seed).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                loss = forward(input_ids=windows, labels=windows).loss
            loss.backward()
            for optimizer, peak in zip(optimizers, peaks, strict=True):
                optimizer.param_groups[0]["lr"] = peak * rate_at(step, steps)
                optimizer.step()
                optimizer.zero_grad()
            progress.update(bar, advance=1, figures=f"loss {loss.item():.3f}")
            if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
                bits = bits_per_token(model, held_out, device) * tokens_per_byte
                log.write(f"{step + 1}\t{loss.item():.4f}\t{bits:.4f}\t{time.monotonic() - started:.0f}\n")
                log.flush()
                state = {
                    "step": step + 1,
                    "model": model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
    return model


def main() -> None:
    """Train and export the demo model."""
    parser = argparse.ArgumentParser(prog="python -m experiments.demo.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="checkpoint and log; the same folder resumes")
    parser.add_argument("--out", type=Path, required=True, help="where the bf16 model and its tokenizer go")
    parser.add_argument("--steps", type=int, default=600, help=f"of {BATCH_WINDOWS * CONTEXT_LENGTH} tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="torch.compile; needs a C++ compiler on the CPU")
    flags = parser.parse_args()
    model = train(
        flags.work, steps=flags.steps, seed=flags.seed, device=torch.device(flags.device), compiled=flags.compile
    )
    nn.Module.to(model, "cpu", torch.bfloat16)
    model.save_pretrained(flags.out)
    PreTrainedTokenizerFast.from_pretrained(flags.work / "tokenizer").save_pretrained(flags.out)


if __name__ == "__main__":
    main()
