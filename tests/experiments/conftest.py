"""A tiny model folder, tiny texts, and one way to run the command line on them."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.cli import main

VOCABULARY, CONTEXT, LENGTH = 300, 64, 16
TEXT = "the server adds votes of clients and no party shows its own text to another while blocks are pruned"
WORDS = TEXT.split(" ")
FLAGS = {
    "--clients": "3",
    "--windows-per-client": "2",
    "--window-length": str(LENGTH),
    "--sparsity": "0.5",
    "--eval-windows": "6",
    "--device": "cpu",
}


def story(seed: int, words: int) -> str:
    """Write a text of some words in lines of ten."""
    draw = random.Random(seed)
    chosen = [draw.choice(WORDS) for _ in range(words)]
    return "\n".join(" ".join(chosen[start : start + 10]) for start in range(0, words, 10)) + "\n"


@dataclass(frozen=True)
class Ran:
    """What a command did: its exit status, stdout and stderr."""

    status: int
    stdout: str
    stderr: str

    @property
    def line(self) -> str:
        """The single line on stderr."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        return lines[0]


def run_main(*arguments: object) -> Ran:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Ran(status, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Inputs:
    """Paths of the tiny inputs."""

    folder: Path

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    @property
    def text(self) -> Path:
        """The clients' text."""
        return self.folder / "private.txt"

    @property
    def eval_text(self) -> Path:
        """The text for perplexity."""
        return self.folder / "evaluation.txt"

    @property
    def public_text(self) -> Path:
        """The public text."""
        return self.folder / "public.txt"

    def arguments(self, out: Path, **changed: object) -> list[str]:
        """Compose ``prune`` flags; a keyword replaces a flag, None drops it, True gives it without a value."""
        flags: dict[str, object] = {
            "--model": self.model,
            "--data": self.text,
            "--eval-data": self.eval_text,
            "--public-data": self.public_text,
            **FLAGS,
            "--json": True,
            "--out": out,
        }
        flags |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
        found = ["prune"]
        for name, value in flags.items():
            if value is not None:
                found += [name] if value is True else [f"{name}={value}"]
        return found


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The tiny model and texts; never written to by a test."""
    found = Inputs(tmp_path_factory.mktemp("inputs"))
    found.text.write_text(story(1, 1200))
    found.eval_text.write_text(story(2, 400))
    found.public_text.write_text(story(3, 800))
    natural = found.folder / "natural"
    natural.mkdir()
    for number in range(4):
        (natural / f"client{number}.txt").write_text(story(10 + number, 200 + 100 * number))
    rows = [{"text": story(20 + n, 40), "who": f"party{n % 3}", "topic": f"topic{n % 2}"} for n in range(24)]
    (found.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ids = torch.randint(2, VOCABULARY, (6, LENGTH), generator=torch.Generator().manual_seed(4))
    save_file({"windows": ids}, found.folder / "windows.safetensors")

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([story(1, 400)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(found.model)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(found.model)
    return found


@pytest.fixture(scope="session")
def cli() -> Callable[..., Ran]:
    """Run the command line in this process, output captured."""
    return run_main


@pytest.fixture(scope="session")
def prune(inputs: Inputs) -> Callable[..., Ran]:
    """Run ``prune`` on the tiny inputs: ``prune(out, flag=value)``."""
    return lambda out, **changed: run_main(*inputs.arguments(out, **changed))
