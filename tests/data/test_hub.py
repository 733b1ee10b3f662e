"""The hub: which address is asked for what, and how rows become text, without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedprllm_secure.data import CORPORA, Corpus, DataError, Document, read_documents
from fedprllm_secure.data.files import PAGE_CHARACTERS
from fedprllm_secure.data.hub import read_corpus
from fedprllm_secure.data.rows import Fields


class RecordedHub:
    """Stands in for ``datasets.load_dataset``: answers with given rows and keeps what it was asked."""

    def __init__(self, **rows_by_split: Iterable[Mapping[str, object]]) -> None:
        """Hold the rows of each split."""
        self.rows_by_split = rows_by_split
        self.asked: tuple[tuple[object, ...], dict[str, object]] | None = None

    def __call__(self, *path: object, **arguments: object) -> Mapping[str, Iterable[Mapping[str, object]]]:
        """Keep the arguments and return the rows."""
        self.asked = (path, arguments)
        return self.rows_by_split


def exploding(rows: Iterable[Mapping[str, object]], error: Exception) -> Iterator[Mapping[str, object]]:
    """Yield rows, then fail as a stream does when the connection breaks."""
    yield from rows
    raise error


@pytest.mark.parametrize(
    ("source", "split", "path", "arguments"),
    [
        ("wikitext2", "train", "Salesforce/wikitext", {"name": "wikitext-2-raw-v1", "streaming": False}),
        ("wikitext2", "test", "Salesforce/wikitext", {"name": "wikitext-2-raw-v1", "streaming": False}),
        (
            "c4",
            "train",
            "allenai/c4",
            {"data_files": {"train": "en/c4-train.00000-of-01024.json.gz"}, "streaming": True},
        ),
        (
            "c4",
            "test",
            "allenai/c4",
            {"data_files": {"validation": "en/c4-validation.00000-of-00008.json.gz"}, "streaming": True},
        ),
        (
            "ptb",
            "train",
            "ptb-text-only/ptb_text_only",
            {"revision": "refs/convert/parquet", "streaming": False},
        ),
        ("fka/prompts", "train", "fka/prompts", {"streaming": True}),
        ("fka/prompts.v1:en-US", "train", "fka/prompts.v1", {"name": "en-US", "streaming": True}),
    ],
)
def test_the_hub_is_asked_for(source: str, split: str, path: str, arguments: dict[str, object]) -> None:
    """Each name asks for exactly its address and never for code to run."""
    field = CORPORA[source].text_field if source in CORPORA else "text"
    rows = [{"text": "another", "sentence": "another", field: "row"}]
    hub = RecordedHub(train=rows, test=rows, validation=rows)

    assert next(read_documents(source, split=split, load_dataset=hub)).text == "row"
    assert hub.asked == ((path,), arguments)


def test_every_preset_names_a_split_for_both_uses() -> None:
    """No preset measures perplexity on what it calibrates on."""
    for corpus in CORPORA.values():
        assert not set(corpus.splits["train"]) & set(corpus.splits["test"])


@pytest.mark.parametrize(
    ("source", "hub_split", "field", "joiner"),
    [("wikitext2", "test", "text", "\n\n"), ("c4", "validation", "text", " "), ("ptb", "test", "sentence", " ")],
)
def test_the_evaluation_text_is_joined_as_in_the_literature(
    source: str, hub_split: str, field: str, joiner: str
) -> None:
    """Blank rows take part, as in the GPTQ and Wanda code; the text is one document."""
    hub = RecordedHub(**{hub_split: [{field: "one"}, {field: ""}, {field: "two"}]})

    assert [Document(f"one{joiner}{joiner}two")] == list(read_documents(source, split="test", load_dataset=hub))


def test_the_c4_evaluation_text_is_its_first_1100_documents() -> None:
    """No document past the 1,100 of the published figures is even taken."""
    hub = RecordedHub(validation=exploding([{"text": "x"}] * 1_100, AssertionError("read too far")))

    (document,) = read_documents("c4", split="test", load_dataset=hub)

    assert document.text == " ".join("x" * 1_100)


def test_running_text_comes_in_pages() -> None:
    """Rows of wikitext2 and ptb are gathered into pages; together they are the joined text."""
    rows = [{"sentence": f"sentence {number}"} for number in range(1_000)]

    found = [document.text for document in read_documents("ptb", split="train", load_dataset=RecordedHub(train=rows))]

    assert " ".join(found) == " ".join(row["sentence"] for row in rows)
    assert all(PAGE_CHARACTERS <= len(text) < 1.2 * PAGE_CHARACTERS for text in found[:-1])


def test_rows_stream() -> None:
    """Documents come while the stream goes on; what is not taken is not read."""
    hub = RecordedHub(train=exploding([{"text": "one"}, {"text": "two"}], AssertionError("read too far")))

    documents = read_documents("c4", split="train", load_dataset=hub)

    assert [next(documents).text, next(documents).text] == ["one", "two"]


def test_a_hub_name_takes_fields_and_the_validation_split() -> None:
    """Any data set works: named fields, and ``validation`` where there is no ``test``."""
    rows = [{"body": "one", "who": "ann", "kind": 0}]
    hub = RecordedHub(train=[], validation=rows)

    found = read_documents(
        "a/b", split="test", text_field="body", client_field="who", label_field="kind", load_dataset=hub
    )

    assert list(found) == [Document("one", client="ann", label="0")]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_the_datasets_library_is_asked_as_it_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_streamed: bool
) -> None:
    """The real ``datasets.load_dataset`` takes our arguments and gives rows by split, here from a local folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split in ("train", "validation"):
        pq.write_table(pa.table({"text": [f"one {split}", f"two {split}"]}), tmp_path / f"{split}.parquet")
    corpus = Corpus(path=str(tmp_path), files={"validation": "validation.parquet"}, is_streamed=is_streamed)
    corpus = replace(corpus, splits={"train": ("train",), "test": ("validation",)})

    found = list(read_corpus(corpus, split="test", fields=Fields()))

    assert found == [Document("one validation"), Document("two validation")]


def test_a_missing_split_is_refused() -> None:
    """Training text is never passed off as evaluation text."""
    with pytest.raises(DataError, match=r"a/b has the splits \['train'\], none of \['test', 'validation'\] for test"):
        read_documents("a/b", split="test", load_dataset=RecordedHub(train=[{"text": "x"}]))


def test_a_missing_field_of_the_hub_is_refused() -> None:
    """The error lists the fields of the first row."""
    with pytest.raises(
        DataError, match=r"row 1 of a/b \(train\) has no field 'x'; give --text-field one of \['text'\]"
    ):
        next(read_documents("a/b", split="train", text_field="x", load_dataset=RecordedHub(train=[{"text": "y"}])))


def test_an_unreachable_hub_is_one_line() -> None:
    """Whatever the client library raises becomes one line that says what would do."""

    def unreachable(*_: object, **__: object) -> Mapping[str, Iterable[Mapping[str, object]]]:
        raise ConnectionError("no\nroute " + "x" * 10_000)

    with pytest.raises(
        DataError, match=r"^cannot read a/b:c from the Hugging Face hub: ConnectionError: no route x+; check the name"
    ) as caught:
        read_documents("a/b:c", split="train", load_dataset=unreachable)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_stream_that_breaks_says_where() -> None:
    """A connection that breaks in the middle names the last row that came."""
    hub = RecordedHub(train=exploding([{"text": "one"}], OSError("reset")))

    with pytest.raises(DataError, match="cannot read a/b from the Hugging Face hub after row 1: OSError: reset"):
        list(read_documents("a/b", split="train", load_dataset=hub))


def test_an_empty_data_set_is_refused() -> None:
    """No rows, or blank rows only, is an error for both uses."""
    for split in ("train", "test"):
        with pytest.raises(DataError, match="wikitext2 holds no text"):
            list(read_documents("wikitext2", split=split, load_dataset=RecordedHub(train=[], test=[{"text": ""}])))
