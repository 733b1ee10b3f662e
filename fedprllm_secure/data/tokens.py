"""Token ids of documents, only as many as are asked for.

A stream is the documents' tokens in order with one end-of-text token between two documents, where the tokenizer has
one, and nothing else: no other special token is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fedprllm_secure.data.documents import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_PER_TOKEN = 8
# A cut text may tokenise differently near its end; the tokens this far from the cut are kept.
SETTLED_TOKENS = 32


def take_tokens(documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, *, count: int | None) -> list[int]:
    """Tokenise documents until there are ``count`` tokens, and no further.

    Args:
        documents: taken one at a time; none is taken once there are enough tokens.
        tokenizer: any Hugging Face tokenizer.
        count: tokens wanted; None for all.

    Returns:
        The first ``count`` token ids of the stream, fewer if the documents hold no more.
    """
    tokens: list[int] = []
    for document in documents:
        if tokens and tokenizer.eos_token_id is not None:
            tokens.append(tokenizer.eos_token_id)
        tokens += _head_tokens(document.text, tokenizer, count=None if count is None else count - len(tokens))
        if count is not None and len(tokens) >= count:
            break
    return tokens[:count]


def _head_tokens(text: str, tokenizer: PreTrainedTokenizerBase, *, count: int | None) -> list[int]:
    """Return at least the first ``count`` tokens of a text, without tokenising much more of it."""
    if count is None:
        return _encode(text, tokenizer)
    characters = (count + SETTLED_TOKENS) * CHARACTERS_PER_TOKEN
    while characters < len(text):
        tokens = _encode(text[:characters], tokenizer)
        if len(tokens) >= count + SETTLED_TOKENS:
            return tokens[:count]
        characters *= 2
    return _encode(text, tokenizer)


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    # Not verbose: a text longer than the model's context is no mistake here, windows are cut from it.
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
