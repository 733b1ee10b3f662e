"""Rows with named fields (JSON lines, parquet, hub data sets) into documents.

Knows which field holds what; does not know where rows come from. Every row travels with its *place*, the words
that an error message uses for it ("line 3 of reviews.jsonl").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from fedprllm_secure.data.documents import DataError, Document

Row = Mapping[str, object]
PlacedRow = tuple[str, Row]

DEFAULT_TEXT_FIELD = "text"


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields to read.

    Attributes:
        text: field of the text; None leaves the choice to :func:`resolve_fields`.
        client: field that names the client, None to read none.
        label: field that names the class, None to read none.
    """

    text: str | None = None
    client: str | None = None
    label: str | None = None


def resolve_fields(asked: Fields, columns: Mapping[str, bool], *, place: str) -> Fields:
    """Settle which field holds the text and check that every named field is there.

    Args:
        asked: what the user asked for.
        columns: the fields that the source has; True for those that hold strings.
        place: the source, for error messages.

    Returns:
        ``asked`` with a text field: the one asked for, else ``text``, else the only other string field.

    Raises:
        DataError: a named field is missing, or no single field can be the text.
    """
    for option, name in (
        ("--text-field", asked.text),
        ("--client-field", asked.client),
        ("--label-field", asked.label),
    ):
        if name is not None and name not in columns:
            raise DataError(f"{place} has no field {name!r}; give {option} one of {sorted(columns)}")
    if asked.text is not None:
        return asked
    strings = [name for name, is_string in columns.items() if is_string and name not in (asked.client, asked.label)]
    if DEFAULT_TEXT_FIELD in strings:
        return Fields(DEFAULT_TEXT_FIELD, asked.client, asked.label)
    if len(strings) != 1:
        raise DataError(
            f"{place} has no field {DEFAULT_TEXT_FIELD!r} and {len(strings)} other string fields among "
            f"{sorted(columns)}; name the one to read with --text-field"
        )
    return Fields(strings[0], asked.client, asked.label)


def documents_of_rows(rows: Iterable[PlacedRow], asked: Fields) -> Iterator[Document]:
    """Yield a document a row, in order; rows whose text is blank are left out.

    Raises:
        DataError: a field is missing or of the wrong kind; the message names the row.
    """
    for place, row, fields in _with_fields(rows, asked):
        text = row_text(row, fields, place=place)
        if text.strip():
            client = _row_name(row, fields.client, place=place)
            label = _row_name(row, fields.label, place=place)
            try:
                yield Document(text, client=client, label=label)
            except DataError as error:
                raise DataError(f"{place}: {error}") from error


def texts_of_rows(rows: Iterable[PlacedRow], asked: Fields) -> Iterator[str]:
    """Yield the text of every row, in order, blank ones too.

    Raises:
        DataError: the text field is missing or not a string; the message names the row.
    """
    for place, row, fields in _with_fields(rows, asked):
        yield row_text(row, fields, place=place)


def row_text(row: Row, fields: Fields, *, place: str) -> str:
    """Return a row's text, checked to be a string."""
    assert fields.text is not None
    text = _field(row, fields.text, place=place)
    if not isinstance(text, str):
        raise DataError(f"{place}: field {fields.text!r} is {_kind(text)}, not a string; mend it or leave the row out")
    return text


def _with_fields(rows: Iterable[PlacedRow], asked: Fields) -> Iterator[tuple[str, Row, Fields]]:
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    place, row = first
    columns = {name: isinstance(value, str) for name, value in row.items()}
    fields = resolve_fields(asked, columns, place=place)
    for place, row in chain([first], rows):
        yield place, row, fields


def _row_name(row: Row, field: str | None, *, place: str) -> str | None:
    if field is None:
        return None
    value = _field(row, field, place=place)
    if not isinstance(value, str | int):
        raise DataError(f"{place}: field {field!r} is {_kind(value)}, not a string or integer; mend it or leave it out")
    return str(value)


def _field(row: Row, field: str, *, place: str) -> object:
    try:
        return row[field]
    except KeyError:
        raise DataError(f"{place}: no field {field!r}; it has {sorted(row)}") from None


def _kind(value: object) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"
