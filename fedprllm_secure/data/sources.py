"""One door to text: a hub name, a file or a folder becomes a stream of documents.

The built-in demo text is not known here; its owner makes :class:`Document` values itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedprllm_secure.data.documents import DataError, Document, NoSuchSource
from fedprllm_secure.data.files import read_folder, read_jsonl, read_parquet, read_text
from fedprllm_secure.data.hub import CORPORA, LoadDataset, Split, find_corpus, read_corpus
from fedprllm_secure.data.rows import Fields

SUFFIXES = (".txt", ".jsonl", ".parquet")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")


def read_documents(
    source: str | Path,
    *,
    split: Split,
    text_field: str | None = None,
    client_field: str | None = None,
    label_field: str | None = None,
    load_dataset: LoadDataset | None = None,
) -> Iterator[Document]:
    """Open a source of text and stream its documents.

    Args:
        source: ``wikitext2``, ``c4`` or ``ptb``; the path of a ``.txt``, ``.jsonl`` or ``.parquet`` file or of a folder
            of ``.txt`` files, one a client; or a hub data set ``owner/name`` or ``owner/name:config``. A path that
            exists comes before a hub name; write ``./c4`` for a folder that is called like a preset.
        split: ``train`` for text to calibrate on, ``test`` for text to measure perplexity on. A local file has no
            splits: both read all of it. Running text (a ``.txt``, ``wikitext2``, ``ptb``) comes as pages for
            ``train``, so that clients can share it, and as one document for ``test``, so that windows run on.
        text_field: field of the text; by default ``text``, else the only string field.
        client_field: field that names a row's client, for the ``natural`` partition.
        label_field: field that names a row's class, for the ``dirichlet`` partition.
        load_dataset: stands in for :func:`datasets.load_dataset` called without a split: takes ``path`` and any of
            ``name``, ``revision``, ``data_files``, ``streaming``; returns rows by split.

    Returns:
        Documents with text that is not blank, in the source's order, read as they are taken.

    Raises:
        DataError: at once for a source that does not exist; while reading for one that is empty, broken or lacks a
            field.
    """
    fields = Fields(text_field, client_field, label_field)
    text = str(source)
    path = Path(text).expanduser()
    if text and text not in CORPORA and path.exists():
        return _not_empty(_read_path(path, split=split, fields=fields), text)
    if text in CORPORA or (HUB_ID.fullmatch(text) and path.suffix not in SUFFIXES):
        return _not_empty(read_corpus(find_corpus(text), split=split, fields=fields, load_dataset=load_dataset), text)
    raise NoSuchSource(
        f"no file, folder or hub data set {text!r}; give one of {sorted(CORPORA)}, a hub name such as owner/name, a "
        f"file ending in {', '.join(SUFFIXES)}, or a folder of .txt files"
    )


def _read_path(path: Path, *, split: Split, fields: Fields) -> Iterator[Document]:
    if path.is_dir() or path.suffix == ".txt":
        if fields != Fields():
            raise DataError(f"{path} is plain text and has no fields; drop --text-field, --client-field, --label-field")
        return read_folder(path, whole=split == "test") if path.is_dir() else read_text(path, whole=split == "test")
    if path.suffix == ".jsonl":
        return read_jsonl(path, fields=fields)
    if path.suffix == ".parquet":
        return read_parquet(path, fields=fields)
    if path.suffix == ".safetensors":
        raise DataError(f"{path} holds windows that are cut already, not text; give a file ending in {SUFFIXES}")
    raise DataError(f"{path} has the suffix {path.suffix!r}; rename or convert it to one of {', '.join(SUFFIXES)}")


def _not_empty(documents: Iterable[Document], source: str) -> Iterator[Document]:
    is_empty = True
    for document in documents:
        is_empty = False
        yield document
    if is_empty:
        raise DataError(f"{source} holds no text; give a source with at least one document that is not blank")
