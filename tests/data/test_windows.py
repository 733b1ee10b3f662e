"""Windows are the first tokens of each client's stream, cut without loss, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from fedprllm_secure.data import DataError, Document, Windows, cut_further, cut_windows, read_windows, windows_shape
from fedprllm_secure.data.tokens import take_tokens

EOS = 1
VOCABULARY = 300
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), min_size=1, max_size=6)


def stream(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Join the tokens of whole texts, the plain way."""
    tokens: list[int] = []
    for text in texts:
        tokens += ([EOS] if tokens else []) + tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return tokens


def exploding(document: Document, times: int) -> Iterator[Document]:
    """Yield a document so many times; taking one more fails."""
    for _ in range(times):
        yield document
    raise AssertionError("read too far")


@settings(deadline=None, max_examples=60)
@given(parts=st.lists(TEXTS, min_size=1, max_size=4), length=st.integers(1, 7))
def test_windows_rebuild_the_stream(tokenizer: PreTrainedTokenizerFast, parts: list[list[str]], length: int) -> None:
    """Each client's windows, put together, are the head of its own stream."""
    streams = [stream(texts, tokenizer) for texts in parts]
    per_client = min(len(tokens) for tokens in streams) // length
    documents = [[Document(text) for text in texts] for texts in parts]
    if per_client == 0:
        with pytest.raises(DataError, match="tokens and needs"):
            cut_windows(documents, tokenizer, length=length, per_client=1, vocabulary_size=VOCABULARY)
        return

    windows = cut_windows(documents, tokenizer, length=length, per_client=per_client, vocabulary_size=VOCABULARY)

    for client, tokens in enumerate(streams):
        assert windows.of(client).flatten().tolist() == tokens[: per_client * length]


@settings(deadline=None, max_examples=60)
@given(parts=st.lists(TEXTS, min_size=1, max_size=3), length=st.integers(1, 7), after=st.integers(1, 3))
def test_further_windows_follow_the_first_ones(
    tokenizer: PreTrainedTokenizerFast, parts: list[list[str]], length: int, after: int
) -> None:
    """Each client's next windows, as many as there are but no more than asked for, go on where the first ones end."""
    documents = [[Document(text) for text in texts] for texts in parts]
    further = cut_further(documents, tokenizer, length=length, after=after, most=2, vocabulary_size=VOCABULARY)

    assert len(further) == len(parts)
    for texts, windows in zip(parts, further, strict=True):
        rest = stream(texts, tokenizer)[after * length :]
        assert windows.dtype == torch.int64
        assert windows.shape == (min(2, len(rest) // length), length)
        assert windows.flatten().tolist() == rest[: windows.numel()]


def test_further_windows_are_checked(tokenizer: PreTrainedTokenizerFast) -> None:
    """A token that the model lacks, and counts below one, are refused."""
    documents = [[Document("Once upon a time " * 9)]]
    with pytest.raises(DataError, match=r"the tokenizer's output, row \d+: token id \d+ is outside"):
        cut_further(documents, tokenizer, length=2, after=1, most=9, vocabulary_size=3)
    with pytest.raises(ValueError, match="most=0 must be at least 1"):
        cut_further(documents, tokenizer, length=2, after=1, most=0, vocabulary_size=VOCABULARY)


@settings(deadline=None, max_examples=40)
@given(
    words=st.lists(st.sampled_from(["time ", "\n", "  ", "Üx", "together", "!"]), max_size=600),
    count=st.integers(0, 90),
)
def test_the_head_of_a_long_text_is_its_own(tokenizer: PreTrainedTokenizerFast, words: list[str], count: int) -> None:
    """Tokenising a long text only as far as needed gives the tokens of the whole text."""
    text = "".join(words) * 4 + "x"

    assert take_tokens([Document(text)], tokenizer, count=count) == stream([text], tokenizer)[:count]


def test_documents_are_taken_only_as_needed(tokenizer: PreTrainedTokenizerFast) -> None:
    """A corpus without end is read no further than the windows reach."""
    document = Document("Once upon a time")
    per_document = len(stream([document.text], tokenizer)) + 1

    windows = cut_windows(
        [exploding(document, 3), exploding(document, 3)],
        tokenizer,
        length=per_document,
        per_client=2,
        vocabulary_size=VOCABULARY,
    )

    assert windows.ids.shape == (4, per_document)
    assert windows.of(0)[:, -1].tolist() == [EOS, EOS]


def test_a_long_text_is_tokenised_only_as_needed(tokenizer: PreTrainedTokenizerFast) -> None:
    """A text of many megabytes costs what its head costs."""
    seen: list[int] = []

    def counting(text: str, **options: bool) -> dict[str, list[int]]:
        seen.append(len(text))
        return {"input_ids": tokenizer(text, **options)["input_ids"]}

    counting.eos_token_id = EOS  # type: ignore[attr-defined]
    cut_windows([[Document("time " * 1_000_000)]], counting, length=8, per_client=4, vocabulary_size=VOCABULARY)  # type: ignore[arg-type]

    assert sum(seen) < 10_000


def test_a_token_that_the_cut_went_through_is_not_used() -> None:
    """With tokens as long as words, the word that a cut leaves half is never taken, wherever the cut falls."""

    def lengths_of_words(text: str, **_: bool) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in text.split()]}

    lengths_of_words.eos_token_id = EOS  # type: ignore[attr-defined]
    document = Document(" ".join(["x" * 99] * 200))

    for count in range(1, 60):
        assert take_tokens([document], lengths_of_words, count=count) == [99] * count  # type: ignore[arg-type]


def test_no_warning_about_the_context(tokenizer: PreTrainedTokenizerFast) -> None:
    """Text longer than the model's context is normal here and warned about nowhere."""
    cut_windows([[Document("Once upon a time " * 9)]], tokenizer, length=9, per_client=2, vocabulary_size=VOCABULARY)

    # Where transformers notes that it has warned.
    assert not tokenizer.deprecation_warnings


def test_a_tokenizer_without_end_of_text_joins_plainly(tokenizer_without_eos: PreTrainedTokenizerFast) -> None:
    """Nothing stands between documents where there is no end-of-text token."""
    windows = cut_windows(
        [[Document("a"), Document("b")]], tokenizer_without_eos, length=2, per_client=1, vocabulary_size=VOCABULARY
    )

    assert windows.ids.tolist() == [[tokenizer_without_eos.vocab["a"], tokenizer_without_eos.vocab["b"]]]


def test_windows_have_no_beginning_of_text(tokenizer_with_bos: PreTrainedTokenizerFast) -> None:
    """The token that the tokenizer puts before a text does not enter a calibration window."""
    windows = cut_windows(
        [[Document("a"), Document("b")]], tokenizer_with_bos, length=3, per_client=1, vocabulary_size=VOCABULARY
    )

    assert windows.ids.tolist() == [[tokenizer_with_bos.vocab["a"], EOS, tokenizer_with_bos.vocab["b"]]]


def test_too_little_text_names_the_client(tokenizer: PreTrainedTokenizerFast) -> None:
    """The error counts what there is, what is needed and says which options would do."""
    parts = [[Document("a" * 30)], [Document("a"), Document("b")]]

    with pytest.raises(
        DataError,
        match=r"client 1 has 3 tokens and needs 8 \(2 windows of 4\); lower --windows-per-client, --window-length or "
        "--clients",
    ):
        cut_windows(parts, tokenizer, length=4, per_client=2, vocabulary_size=VOCABULARY)


def test_a_token_that_the_model_lacks_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """A tokenizer of another model is caught before the embedding fails."""
    tokens = stream(["Once upon a time"], tokenizer)
    parts = [[Document("Once upon a time")]]
    options = {"length": len(tokens), "per_client": 1}

    cut_windows(parts, tokenizer, vocabulary_size=max(tokens) + 1, **options)
    with pytest.raises(DataError, match=rf"tokenizer's output, row 0: token id {max(tokens)} is outside the model's"):
        cut_windows(parts, tokenizer, vocabulary_size=max(tokens), **options)


@pytest.mark.parametrize(
    ("clients", "per_client", "length", "name"),
    [(0, 1, 1, "num_clients"), (1, 0, 1, "per_client"), (1, 1, 0, "length")],
)
def test_counts_below_one_are_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, clients: int, per_client: int, length: int, name: str
) -> None:
    """A count of zero is named, wherever windows are made."""
    options = {"length": length, "per_client": per_client}
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        cut_windows([[Document("text")]] * clients, tokenizer, vocabulary_size=VOCABULARY, **options)
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        read_windows(tmp_path / "w.safetensors", num_clients=clients, vocabulary_size=VOCABULARY, **options)
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        Windows(torch.zeros(clients * per_client, length, dtype=torch.int64), num_clients=clients, **options)


def test_windows_check_themselves() -> None:
    """Shape, type and sign of the token ids are checked."""
    ids = torch.arange(12).reshape(4, 3)

    with pytest.raises(ValueError, match=r"ids is torch.int64 \(4, 3\); it must be torch.int64 \(2, 3\)"):
        Windows(ids, num_clients=2, per_client=1, length=3)
    with pytest.raises(ValueError, match=r"ids is torch.int32 \(4, 3\); it must be torch.int64 \(4, 3\)"):
        Windows(ids.int(), num_clients=2, per_client=2, length=3)
    with pytest.raises(ValueError, match="ids has the negative entry -1"):
        Windows(ids - 1, num_clients=2, per_client=2, length=3)


def test_a_client_owns_consecutive_rows() -> None:
    """Client c owns rows c*M to (c+1)*M-1; there is no client past the last."""
    windows = Windows(torch.arange(12).reshape(4, 3), num_clients=2, per_client=2, length=3)

    assert windows.of(1).tolist() == [[6, 7, 8], [9, 10, 11]]
    for client in (-1, 2):
        with pytest.raises(IndexError, match=rf"client={client} must be in \[0, 2\)"):
            windows.of(client)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.uint16])
def test_cut_windows_are_read_back(tmp_path: Path, dtype: torch.dtype) -> None:
    """A file of any integer type reads as int64, and its shape is known without reading it."""
    path = tmp_path / "w.safetensors"
    save_file({"windows": torch.arange(12).reshape(4, 3).to(dtype)}, path)

    assert windows_shape(path) == (4, 3)
    windows = read_windows(path, num_clients=2, per_client=2, length=3, vocabulary_size=12)
    assert windows.ids.dtype == torch.int64
    assert windows.of(1).tolist() == [[6, 7, 8], [9, 10, 11]]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"ids": torch.zeros(4, 3, dtype=torch.int64)}, r"has the tensors \['ids'\]; save the windows as 'windows'"),
        ({"windows": torch.zeros(4, 3)}, r"holds windows of type F32 and shape \(4, 3\); save integers"),
        (
            {"windows": torch.zeros(12, dtype=torch.int64)},
            r"type I64 and shape \(12,\); save integers \(rows, length\)",
        ),
        (
            {"windows": torch.zeros(4, 5, dtype=torch.int64)},
            r"shape \(4, 5\), not \(4, 3\) for 2 clients x 2 windows of 3; give --window-length 5 and --clients times "
            "--windows-per-client equal to 4",
        ),
        (
            {"windows": torch.tensor([[0, 1, 2]] * 3 + [[0, 12, 1]])},
            r"row 3: token id 12 is outside .* vocabulary of 12",
        ),
        ({"windows": torch.tensor([[0, 1, 2]] * 2 + [[0, -1, 1]] * 2)}, r"row 2: token id -1 is outside"),
    ],
    ids=["key", "floats", "flat", "shape", "above", "negative"],
)
def test_a_file_of_other_windows_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    """The error says what the file holds and what would do."""
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)

    with pytest.raises(DataError, match=message):
        read_windows(path, num_clients=2, per_client=2, length=3, vocabulary_size=12)


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    """Half a file, or none, is not read as windows."""
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataError, match=r"no file of windows at .*w\.safetensors; check the path"):
        windows_shape(path)

    save_file({"windows": torch.zeros(40, 30, dtype=torch.int64)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    for read in (
        lambda: windows_shape(path),
        lambda: read_windows(path, num_clients=4, per_client=10, length=30, vocabulary_size=9),
    ):
        with pytest.raises(DataError, match=r"cannot read windows from .*w\.safetensors: .*; write or copy"):
            read()
