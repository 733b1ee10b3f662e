"""A tiny byte-level tokenizer, made here so that no test needs a download."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

STORY = "Once upon a time there was a small model that many clients pruned together. Nobody showed their text."


def make_tokenizer(*, eos: str | None, starts_with_bos: bool) -> PreTrainedTokenizerFast:
    """Train a 300-entry byte-level BPE with or without special tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([STORY], trainer)
    if starts_with_bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token=eos, model_max_length=8)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Has an end-of-text token (id 1), adds no special token, claims a context of 8 tokens."""
    return make_tokenizer(eos="</s>", starts_with_bos=False)


@pytest.fixture(scope="session")
def tokenizer_without_eos() -> PreTrainedTokenizerFast:
    """Has no end-of-text token."""
    return make_tokenizer(eos=None, starts_with_bos=False)


@pytest.fixture(scope="session")
def tokenizer_with_bos() -> PreTrainedTokenizerFast:
    """Puts a beginning-of-text token (id 0) before every text, as LLaMA does."""
    return make_tokenizer(eos="</s>", starts_with_bos=True)
