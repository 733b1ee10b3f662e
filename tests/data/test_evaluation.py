"""Evaluation windows are the joined text, and its bytes can be counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from fedprllm_secure.data import DataError, Document, covered_bytes, cut_evaluation

BOS, EOS, VOCABULARY = 0, 1, 300


def test_windows_are_consecutive_and_the_rest_is_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    """All whole windows of the text come, in order."""
    text = "Once upon a time there was a small model. " * 5 + "x"
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    ids = cut_evaluation([Document(text)], tokenizer, length=7, limit=None, vocabulary_size=VOCABULARY)

    assert len(tokens) % 7
    assert ids.shape == (len(tokens) // 7, 7)
    assert ids.flatten().tolist() == tokens[: ids.numel()]


def test_a_limit_stops_the_reading(tokenizer: PreTrainedTokenizerFast) -> None:
    """With a limit no more documents are taken than the windows need; documents are parted by end of text."""

    def documents():
        yield Document("a")
        yield Document("b")
        raise AssertionError("read too far")

    ids = cut_evaluation(documents(), tokenizer, length=3, limit=1, vocabulary_size=VOCABULARY)

    assert ids.tolist() == [[tokenizer.vocab["a"], EOS, tokenizer.vocab["b"]]]


def test_the_text_starts_as_the_tokenizer_starts_it(tokenizer_with_bos: PreTrainedTokenizerFast) -> None:
    """One beginning-of-text token stands before the first window and no other, as in the published figures."""
    ids = cut_evaluation([Document("ab" * 4)], tokenizer_with_bos, length=3, limit=2, vocabulary_size=VOCABULARY)

    assert ids.shape == (2, 3)
    assert ids.flatten().tolist() == tokenizer_with_bos("ab" * 4, verbose=False)["input_ids"][:6]
    assert ids.flatten().tolist().count(BOS) == 1
    assert ids[0, 0] == BOS


def test_too_short_a_text_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """Less than one window is an error with both counts."""
    with pytest.raises(
        DataError, match="evaluation text has 2 tokens and a window needs 3; give --eval-data more text"
    ):
        cut_evaluation([Document("ab")], tokenizer, length=3, limit=5, vocabulary_size=VOCABULARY)


def test_too_small_numbers_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """A window of one token predicts nothing, and zero windows measure nothing."""
    with pytest.raises(ValueError, match="length=1 must be at least 2"):
        cut_evaluation([Document("ab")], tokenizer, length=1, limit=5, vocabulary_size=VOCABULARY)
    with pytest.raises(ValueError, match="limit=0 must be at least 1"):
        cut_evaluation([Document("ab")], tokenizer, length=2, limit=0, vocabulary_size=VOCABULARY)


def test_a_token_that_the_model_lacks_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """A tokenizer of another model is caught."""
    with pytest.raises(DataError, match=r"evaluation text, row 0: token id .* vocabulary of 5"):
        cut_evaluation([Document("abcd")], tokenizer, length=2, limit=None, vocabulary_size=5)


@settings(deadline=None, max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=60))
def test_bytes_of_a_covered_text(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    """One window over a whole text covers its UTF-8 bytes, but for those of the first token, which is not predicted."""
    length = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if length < 2:
        return
    ids = cut_evaluation([Document(text)], tokenizer, length=length, limit=None, vocabulary_size=VOCABULARY)

    first = tokenizer.decode(ids[0, :1].tolist())
    assert covered_bytes(ids, tokenizer) == len(text.encode("utf-8")) - len(first.encode("utf-8"))


@pytest.mark.parametrize("length", [2, 3, 5, 10])
def test_the_first_token_of_every_window_is_not_covered(tokenizer: PreTrainedTokenizerFast, length: int) -> None:
    """Of n windows of one-byte tokens, n bytes are not predicted."""
    ids = cut_evaluation([Document("abcdefghij")], tokenizer, length=length, limit=None, vocabulary_size=VOCABULARY)
    windows = 10 // length

    assert ids.shape == (windows, length)
    assert covered_bytes(ids, tokenizer) == windows * (length - 1)


def test_special_tokens_cover_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    """What stands between two documents is no text."""
    ids = cut_evaluation(
        [Document("abcd"), Document("abcd")], tokenizer, length=9, limit=None, vocabulary_size=VOCABULARY
    )

    assert EOS in ids
    assert covered_bytes(ids, tokenizer) == 7
