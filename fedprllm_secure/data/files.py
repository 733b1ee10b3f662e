"""Documents from files: ``.txt``, ``.jsonl``, ``.parquet`` and folders of ``.txt``.

Files are read as they are consumed: nothing below holds more than a page of a training text in memory. Knows
nothing of the hub, tokens or partitions.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fedprllm_secure.data.documents import DataError, Document
from fedprllm_secure.data.rows import Fields, PlacedRow, documents_of_rows, resolve_fields

PAGE_CHARACTERS = 2_000
LONGEST_PARAGRAPH = 8 * PAGE_CHARACTERS
PARQUET_BATCH_ROWS = 256


def read_text(path: Path, *, whole: bool, client: str | None = None) -> Iterator[Document]:
    """Read a UTF-8 text file as pages, or as one document.

    A plain text does not say where a document ends: a blank line may part stories or paragraphs. So paragraphs stay
    together until they fill a page of ``PAGE_CHARACTERS``, and pages end at blank lines only (a paragraph longer
    than ``LONGEST_PARAGRAPH`` ends at the next line break). The pages put together are the file.

    Args:
        path: the file.
        whole: one document with all the text, as perplexity is measured on, instead of pages.
        client: whom the text belongs to.

    Raises:
        DataError: the file cannot be read or is not UTF-8.
    """
    lines = (line for _, line in decoded_lines(path))
    texts = ["".join(lines)] if whole else pages(_paragraphs(lines), joiner="")
    for text in texts:
        if text.strip():
            yield Document(text, client=client)


def read_folder(folder: Path, *, whole: bool) -> Iterator[Document]:
    """Read every ``.txt`` directly in a folder, in name order; a file's stem is its client.

    Raises:
        DataError: the folder has no ``.txt`` file, or one cannot be read.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".txt" and path.is_file())
    if not paths:
        raise DataError(f"{folder} has no .txt file; put one file per client there, or name a single file")
    return (document for path in paths for document in read_text(path, whole=whole, client=path.stem))


def read_jsonl(path: Path, *, fields: Fields) -> Iterator[Document]:
    """Read a document from each line of a JSON lines file; blank lines and blank texts are left out.

    Raises:
        DataError: the file cannot be read, a line is not a JSON object, or a field is wrong; names the line.
    """
    return documents_of_rows(_json_rows(path), fields)


def read_parquet(path: Path, *, fields: Fields) -> Iterator[Document]:
    """Read a document from each row of a parquet file, only the columns needed; blank texts are left out.

    Raises:
        DataError: the file is not a parquet file, or a field is wrong; names the row.
    """
    try:
        with pq.ParquetFile(path) as file:
            columns = {field.name: _is_string(field.type) for field in file.schema_arrow}
            fields = resolve_fields(fields, columns, place=str(path))
            yield from documents_of_rows(_parquet_rows(file, fields, path), fields)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataError(f"cannot read {path} as parquet: {_one_line(error)}; write or copy the file again") from error


def pages(pieces: Iterable[str], *, joiner: str) -> Iterator[str]:
    """Join consecutive pieces of a running text into pages of at least ``PAGE_CHARACTERS``; the last may be shorter."""
    page: list[str] = []
    characters = 0
    for piece in pieces:
        page.append(piece)
        characters += len(piece)
        if characters >= PAGE_CHARACTERS:
            yield joiner.join(page)
            page, characters = [], 0
    if page:
        yield joiner.join(page)


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield each line's number, from 1, and its text with ``\n`` as its end; a byte order mark is dropped.

    Raises:
        DataError: the file cannot be read, or is not UTF-8 (names the byte).
    """
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    offset, line = len(codecs.BOM_UTF8), line[len(codecs.BOM_UTF8) :]
                yield number, line.decode("utf-8").replace("\r\n", "\n")
                offset += len(line)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 at byte {offset + error.start}; convert it, for example with iconv -t UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    characters = 0
    is_after_blank = False
    for line in lines:
        # The blank lines stay with the paragraph before them, so a page starts with text.
        if paragraph and line.strip() and (is_after_blank or characters >= LONGEST_PARAGRAPH):
            yield "".join(paragraph)
            paragraph, characters = [], 0
        paragraph.append(line)
        characters += len(line)
        is_after_blank = not line.strip()
    if paragraph:
        yield "".join(paragraph)


def _json_rows(path: Path) -> Iterator[PlacedRow]:
    for number, line in decoded_lines(path):
        if not line.strip():
            continue
        place = f"line {number} of {path}"
        try:
            row = json.loads(line.rstrip("\n"))
        except json.JSONDecodeError as error:
            raise DataError(f"{place} is not JSON: {error.msg} at column {error.colno}; mend or drop it") from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets too deep
            raise DataError(f"{place} is JSON past the parser's limits: {error}; mend or drop it") from error
        if not isinstance(row, dict):
            raise DataError(f"{place} is a JSON {type(row).__name__}, not an object; write one {{...}} a line")
        yield place, row


def _parquet_rows(file: pq.ParquetFile, fields: Fields, path: Path) -> Iterator[PlacedRow]:
    columns = sorted({name for name in (fields.text, fields.client, fields.label) if name is not None})
    number = 0
    for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=columns):
        for row in batch.to_pylist():
            number += 1
            yield f"row {number} of {path}", row


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
