"""Evaluation windows: the joined text in standard non-overlapping windows, for perplexity.

The stream starts with a beginning-of-text token where the tokenizer puts one before any text (LLaMA, OPT, Gemma): once,
as in the GPTQ, SparseGPT and Wanda code, so that a perplexity can be held against a published one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedprllm_secure.data.documents import DataError, Document
from fedprllm_secure.data.tokens import take_tokens
from fedprllm_secure.data.windows import check_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def cut_evaluation(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerBase,
    *,
    length: int,
    limit: int | None,
    vocabulary_size: int,
) -> Tensor:
    """Cut the joined documents into consecutive windows; an incomplete last one is left out.

    Args:
        documents: taken until there are enough tokens.
        tokenizer: the model's tokenizer.
        length: tokens a window, at least 2 (the first token of a window is not predicted).
        limit: most windows to cut, at least 1; None for all.
        vocabulary_size: rows of the model's embedding; every token id must be below.

    Returns:
        int64 (windows, length), at least one window.

    Raises:
        DataError: the text is shorter than one window, or the tokenizer makes an id that the model does not have.
        ValueError: ``length`` or ``limit`` is too small.
    """
    if length < 2:
        raise ValueError(f"length={length} must be at least 2")
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit} must be at least 1")
    tokens = _leading_token(tokenizer)
    tokens += take_tokens(documents, tokenizer, count=None if limit is None else limit * length - len(tokens))
    if len(tokens) < length:
        raise DataError(
            f"the evaluation text has {len(tokens)} tokens and a window needs {length}; "
            "give --eval-data more text or lower --window-length"
        )
    whole = len(tokens) // length * length
    ids = torch.tensor(tokens[:whole], dtype=torch.int64).reshape(-1, length)  # (windows, length)
    check_vocabulary(ids, vocabulary_size, place="the tokenizer's output for the evaluation text")
    return ids


def covered_bytes(ids: Tensor, tokenizer: PreTrainedTokenizerBase) -> int:
    """Count the UTF-8 bytes of the text that the predicted tokens cover: all but the first of each window.

    Args:
        ids: integers (windows, length).
        tokenizer: the tokenizer that made them.

    Returns:
        Bytes of the decoded windows less those of their first tokens, without special tokens. Exact but for a character
        that a window's first or last token cuts in two, which counts as the three bytes of the replacement character.
    """

    def num_bytes(tokens: list[int]) -> int:
        text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return len(text.encode("utf-8"))

    return sum(num_bytes(window) - num_bytes(window[:1]) for window in ids.tolist())


def _leading_token(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    first = list(tokenizer("a")["input_ids"])[:1]
    return first if first == [tokenizer.bos_token_id] else []
