"""Documents from data sets on the Hugging Face hub, by one table of addresses.

The table follows the field's conventions, so that perplexities can be held against published ones: the evaluation
text of ``wikitext2``, ``ptb`` and ``c4`` is joined as the GPTQ, SparseGPT and Wanda code joins it. Data sets that
need a loading script are refused by ``datasets`` itself; no code from the hub is ever run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from fedprllm_secure.data.documents import DataError, Document
from fedprllm_secure.data.files import pages
from fedprllm_secure.data.rows import Fields, PlacedRow, Row, documents_of_rows, texts_of_rows

Split = Literal["train", "test"]
LoadDataset = Callable[..., Mapping[str, Iterable[Row]]]

LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where a data set is and how its rows make text.

    Attributes:
        path: address on the hub, ``owner/name``.
        name: configuration, None for the only or default one.
        revision: branch or commit, None for the default branch.
        text_field: field of the text, None to find it.
        splits: the hub's split names to take for ``train`` and for ``test``, first found first.
        files: the file to read for each of the hub's splits, empty for all files.
        is_streamed: read rows over the network as they are needed; else download once and keep in the cache.
        is_running_text: rows are consecutive lines of one text, not documents of their own.
        joiner: stands between rows where rows are joined.
        is_test_joined: the evaluation text is one document of joined rows; else each row is a document.
        test_rows: rows of the evaluation text, the first ones; None for all.
    """

    path: str
    name: str | None = None
    revision: str | None = None
    text_field: str | None = None
    splits: Mapping[Split, tuple[str, ...]] = field(
        default_factory=lambda: {"train": ("train",), "test": ("test", "validation")}
    )
    files: Mapping[str, str] = field(default_factory=dict)
    is_streamed: bool = True
    is_running_text: bool = False
    joiner: str = ""
    is_test_joined: bool = False
    test_rows: int | None = None


CORPORA: Mapping[str, Corpus] = {
    "wikitext2": Corpus(
        path="Salesforce/wikitext",
        name="wikitext-2-raw-v1",
        text_field="text",
        splits={"train": ("train",), "test": ("test",)},
        is_streamed=False,
        is_running_text=True,
        joiner="\n\n",
        is_test_joined=True,
    ),
    # A shard is 0.3 GB and holds 356,317 documents: streamed, a run reads the first few megabytes of it.
    "c4": Corpus(
        path="allenai/c4",
        text_field="text",
        splits={"train": ("train",), "test": ("validation",)},
        files={
            "train": "en/c4-train.00000-of-01024.json.gz",
            "validation": "en/c4-validation.00000-of-00008.json.gz",
        },
        joiner=" ",
        is_test_joined=True,
        test_rows=1_100,
    ),
    # The main branch is a loading script; the hub's own parquet copy of it lives on this branch.
    "ptb": Corpus(
        path="ptb-text-only/ptb_text_only",
        revision="refs/convert/parquet",
        text_field="sentence",
        splits={"train": ("train",), "test": ("test",)},
        is_streamed=False,
        is_running_text=True,
        joiner=" ",
        is_test_joined=True,
    ),
}


def find_corpus(source: str) -> Corpus:
    """Look a preset name up, or read ``owner/name`` or ``owner/name:config`` as a corpus whose rows are documents."""
    if source in CORPORA:
        return CORPORA[source]
    path, _, name = source.partition(":")
    return Corpus(path=path, name=name or None)


def read_corpus(
    corpus: Corpus, *, split: Split, fields: Fields, load_dataset: LoadDataset | None = None
) -> Iterator[Document]:
    """Read a corpus: training documents, or its evaluation text.

    Args:
        corpus: where it is.
        split: ``train`` yields documents, or pages of a running text; ``test`` yields the evaluation text as one
            document where the corpus defines one, else a document a row.
        fields: the fields to read.
        load_dataset: stands in for :func:`datasets.load_dataset` called without a split.

    Raises:
        DataError: the hub cannot be reached or refuses, the split does not exist, or a row is wrong.
    """
    rows = _open_rows(corpus, split=split, load_dataset=load_dataset or _hub_loader())
    fields = Fields(fields.text or corpus.text_field, fields.client, fields.label)
    if split == "test" and corpus.is_test_joined:
        text = corpus.joiner.join(texts_of_rows(islice(rows, corpus.test_rows), fields))
        return iter([Document(text)] if text.strip() else [])
    if corpus.is_running_text:
        page_texts = pages(texts_of_rows(rows, fields), joiner=corpus.joiner)
        return (Document(text) for text in page_texts if text.strip())
    return documents_of_rows(rows, fields)


def _hub_loader() -> LoadDataset:
    # Importing datasets takes seconds, which local files need not pay.
    import datasets

    load: LoadDataset = datasets.load_dataset
    return load


def _open_rows(corpus: Corpus, *, split: Split, load_dataset: LoadDataset) -> Iterator[PlacedRow]:
    wanted = corpus.splits[split]
    arguments: dict[str, Any] = {"name": corpus.name, "revision": corpus.revision}
    if corpus.files:
        arguments["data_files"] = {name: corpus.files[name] for name in wanted}
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        by_split = load_dataset(corpus.path, **given, streaming=corpus.is_streamed)
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise _hub_error(corpus, error) from error
    found = next((name for name in wanted if name in by_split), None)
    if found is None:
        raise DataError(
            f"{corpus.path} has the splits {sorted(by_split)}, none of {list(wanted)} for {split} text; "
            "save the rows to use as a .jsonl or .parquet file and give its path"
        )
    return _placed_rows(by_split[found], corpus, found)


def _placed_rows(rows: Iterable[Row], corpus: Corpus, hub_split: str) -> Iterator[PlacedRow]:
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            yield f"row {number} of {corpus.path} ({hub_split})", row
    except Exception as error:  # a stream can break at any row, with the same dozen types
        raise _hub_error(corpus, error, after=number) from error


def _hub_error(corpus: Corpus, error: Exception, *, after: int = 0) -> DataError:
    reason = " ".join(str(error).split())[:LONGEST_REASON]
    address = corpus.path + (f":{corpus.name}" if corpus.name else "")
    position = f" after row {after}" if after else ""
    return DataError(
        f"cannot read {address} from the Hugging Face hub{position}: {type(error).__name__}: {reason}; check the name "
        "(no local file has it either) and the network, or give the path of a .txt, .jsonl or .parquet file"
    )
