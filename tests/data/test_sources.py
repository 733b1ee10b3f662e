"""Files, folders and names of sources become documents, or one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedprllm_secure.data import DataError, Document, read_documents
from fedprllm_secure.data.files import LONGEST_PARAGRAPH, PAGE_CHARACTERS


def write_jsonl(path: Path, *rows: object) -> Path:
    """Write one JSON value a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(source: str | Path, **options: str) -> list[str]:
    """Read all texts of a source as training text."""
    return [document.text for document in read_documents(source, split="train", **options)]


def test_a_text_file_is_parted_at_blank_lines_into_pages(tmp_path: Path) -> None:
    """Pages end at blank lines, hold a page or more (but the last), and together are the file."""
    paragraph = "word " * 150 + "\nnext line\n\n"
    path = tmp_path / "book.txt"
    path.write_text(paragraph * 9 + "the end", encoding="utf-8")

    found = texts(path)

    assert "".join(found) == paragraph * 9 + "the end"
    assert found == [paragraph * 3] * 3 + ["the end"]
    assert len(found[0]) >= PAGE_CHARACTERS


def test_a_text_without_blank_lines_is_parted_at_line_ends(tmp_path: Path) -> None:
    """A paragraph that never ends is cut at a line end, so that a long file streams."""
    path = tmp_path / "lines.txt"
    path.write_text("a line of some length\n" * 2_000, encoding="utf-8")

    found = texts(path)

    assert len(found) == 3
    assert "".join(found) == "a line of some length\n" * 2_000
    assert all(LONGEST_PARAGRAPH <= len(text) < LONGEST_PARAGRAPH + 22 for text in found[:-1])


def test_a_text_file_to_evaluate_on_is_one_document(tmp_path: Path) -> None:
    """The evaluation text keeps its blank lines and runs on."""
    path = tmp_path / "book.txt"
    path.write_text(("word " * 500 + "\n\n") * 5, encoding="utf-8")

    assert [Document(("word " * 500 + "\n\n") * 5)] == list(read_documents(path, split="test"))


def test_windows_line_ends_and_byte_order_mark_vanish(tmp_path: Path) -> None:
    r"""A file saved on Windows reads as one with plain \n."""
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")

    assert texts(path) == ["one\ntwo\n"]


def test_a_text_file_streams(tmp_path: Path) -> None:
    """The first page comes before a broken byte far behind it is read."""
    path = tmp_path / "broken.txt"
    path.write_bytes(b"good text\n\n" * 1_000 + b"\xff")

    documents = read_documents(path, split="train")

    assert next(documents).text.startswith("good text")
    with pytest.raises(DataError, match=r"not UTF-8 at byte 11000; convert"):
        list(documents)


def test_a_byte_offset_counts_the_byte_order_mark(tmp_path: Path) -> None:
    """The offset in the error is the one that a hex editor shows."""
    path = tmp_path / "broken.txt"
    path.write_bytes(b"\xef\xbb\xbfab\ncd\xff")

    with pytest.raises(DataError, match="at byte 8;"):
        texts(path)


def test_a_folder_gives_a_client_a_file(tmp_path: Path) -> None:
    """Files come in name order, each document with its file's stem as client; other files are ignored."""
    for name in ("zoe.txt", "kim.txt", "adam.txt", "lea.txt", "bob.txt", "notes.md"):
        (tmp_path / name).write_text(f"text of {name}", encoding="utf-8")

    for split in ("train", "test"):
        assert list(read_documents(tmp_path, split=split)) == [
            Document(f"text of {name}.txt", client=name) for name in ("adam", "bob", "kim", "lea", "zoe")
        ]


def test_a_folder_without_text_files_is_refused(tmp_path: Path) -> None:
    """A folder of something else says what it needs."""
    with pytest.raises(DataError, match=r"has no \.txt file; put one file per client"):
        read_documents(tmp_path, split="train")


def test_jsonl_rows_carry_client_and_label(tmp_path: Path) -> None:
    """Fields are read by name, integers become words, blank lines and texts are left out."""
    rows = [
        {"text": "one", "who": "ann", "stars": 5},
        {"text": " \n", "who": "bob", "stars": 1},
        {"text": "two", "who": 7, "stars": 4},
    ]
    path = write_jsonl(tmp_path / "reviews.jsonl", *rows)
    path.write_text("\n" + path.read_text(encoding="utf-8"), encoding="utf-8")

    found = list(read_documents(path, split="train", client_field="who", label_field="stars"))

    assert found == [Document("one", client="ann", label="5"), Document("two", client="7", label="4")]


def test_parquet_rows_carry_client_and_label(tmp_path: Path) -> None:
    """Parquet reads as JSON lines do, across row batches, for every kind of string column."""
    path = tmp_path / "reviews.parquet"
    words = [f"text {number}" for number in range(600)]
    column = pa.array(words, pa.large_string()).dictionary_encode()
    pq.write_table(pa.table({"body": column, "who": [1, 2] * 300, "size": [0.5] * 600}), path, row_group_size=100)

    found = list(read_documents(path, split="train", client_field="who"))

    assert [document.text for document in found] == words
    assert [document.client for document in found] == ["1", "2"] * 300


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_text_field_defaults(tmp_path: Path, suffix: str) -> None:
    """``text`` wins, else the only string field that is not the client or label, else the one that is named."""

    def read(row: dict[str, object], **options: str) -> list[str]:
        path = tmp_path / f"rows{suffix}"
        if suffix == ".jsonl":
            write_jsonl(path, row)
        else:
            pq.write_table(pa.Table.from_pylist([row]), path)
        return texts(path, **options)

    assert read({"title": "no", "text": "yes"}) == ["yes"]
    assert read({"number": 3, "body": "yes"}) == ["yes"]
    assert read({"who": "no", "body": "yes"}, client_field="who") == ["yes"]
    assert read({"text": "no", "body": "yes"}, text_field="body") == ["yes"]
    with pytest.raises(DataError, match=r"no field 'text' and 2 other string fields among \['body', 'title'\]; name"):
        read({"title": "a", "body": "b"})
    with pytest.raises(DataError, match=r"and 0 other string fields among \['number'\]"):
        read({"number": 3})
    with pytest.raises(DataError, match=r"has no field 'corpse'; give --text-field one of \['body', 'title'\]"):
        read({"title": "a", "body": "b"}, text_field="corpse")
    with pytest.raises(DataError, match=r"has no field 'who'; give --client-field one of"):
        read({"text": "a"}, client_field="who")
    with pytest.raises(DataError, match=r"has no field 'kind'; give --label-field one of"):
        read({"text": "a"}, label_field="kind")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut', r"line 2 of .*rows\.jsonl is not JSON: Unterminated string starting at at column 10; mend"),
        ('["text"]', r"line 2 of .*rows\.jsonl is a JSON list, not an object"),
        ('{"body": "b", "who": "ann"}', r"line 2 of .*: no field 'text'; it has \['body', 'who'\]"),
        ('{"text": 5, "who": "ann"}', r"line 2 of .*: field 'text' is of type int, not a string"),
        ('{"text": null, "who": "ann"}', r"line 2 of .*: field 'text' is null, not a string"),
        ('{"text": "b", "who": null}', r"line 2 of .*: field 'who' is null, not a string or integer"),
        ('{"text": "b", "who": [1]}', r"line 2 of .*: field 'who' is of type list"),
        ('{"text": "b"}', r"line 2 of .*: no field 'who'"),
        ('{"text": "\\ud800", "who": "ann"}', r"line 2 of .*: a document holds a lone surrogate at character 0"),
        ("[" * 100_000, r"line 2 of .* is JSON past the parser's limits: .*; mend"),
        ('{"text": "b", "who": ' + "9" * 5_000 + "}", r"line 2 of .* is JSON past the parser's limits: .*digits"),
    ],
    ids=[
        "cut",
        "list",
        "no-text",
        "number",
        "null",
        "null-client",
        "list-client",
        "no-client",
        "surrogate",
        "deep",
        "digits",
    ],
)
def test_a_bad_jsonl_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """Whatever is wrong with a line, the error says which line it is."""
    path = write_jsonl(tmp_path / "rows.jsonl", {"text": "fine", "who": "ann"})
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")

    with pytest.raises(DataError, match=message):
        texts(path, client_field="who")


def test_a_null_text_in_parquet_is_named(tmp_path: Path) -> None:
    """A missing value names its row."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["fine", None]}), path)

    with pytest.raises(DataError, match=r"row 2 of .*rows\.parquet: field 'text' is null"):
        texts(path)


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    """A truncated file and a text that is not UTF-8 say that the file must be written again."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["fine"] * 1_000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cannot read .*rows\.parquet as parquet: .*; write or copy"):
        texts(path)

    broken = pa.StringArray.from_buffers(1, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"text": broken}), path)
    with pytest.raises(DataError, match=r"as parquet: .*invalid start byte"):
        texts(path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "folder"])
def test_a_source_without_text_is_refused(tmp_path: Path, name: str) -> None:
    """An empty file, or one with blank text only, is an error and not zero documents."""
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "ann.txt").write_text("\n\n", encoding="utf-8")
    else:
        path.write_text("\n \n", encoding="utf-8")

    for split in ("train", "test"):
        with pytest.raises(DataError, match="holds no text; give a source with at least one document"):
            list(read_documents(path, split=split))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", r"no file, folder or hub data set '.*missing\.txt'; give one of \['c4', 'ptb', 'wikitext2'\]"),
        ("table.csv", r"has the suffix '\.csv'; rename or convert it to one of \.txt, \.jsonl, \.parquet"),
        ("cut.safetensors", r"cut\.safetensors holds windows that are cut already, not text"),
    ],
)
def test_an_unusable_path_is_refused_at_once(tmp_path: Path, name: str, message: str) -> None:
    """The error comes with the call, before anything is read."""
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"x")

    with pytest.raises(DataError, match=message):
        read_documents(tmp_path / name, split="train")


@pytest.mark.parametrize("source", ["demo", "folder/missing.jsonl", "a/b/c", "owner/name:", ""])
def test_a_name_that_is_nothing_is_refused(source: str) -> None:
    """Neither a path nor the shape of a hub name: all kinds of source are listed."""
    with pytest.raises(DataError, match="no file, folder or hub data set"):
        read_documents(source, split="train", load_dataset=lambda *_, **__: pytest.fail("the hub was asked"))


def test_plain_text_has_no_fields(tmp_path: Path) -> None:
    """A field for a .txt is a mistake, not ignored."""
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")

    for source in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(DataError, match="is plain text and has no fields; drop --text-field"):
            read_documents(source, split="train", client_field="who")


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A file that goes away between the call and the reading is reported as a path to check."""
    path = tmp_path / "a.txt"
    path.write_text("text", encoding="utf-8")
    documents = read_documents(path, split="train")
    path.unlink()

    with pytest.raises(DataError, match=r"cannot read .*a\.txt: No such file or directory; check the path"):
        next(documents)


def test_a_document_checks_itself() -> None:
    """Empty text is no document."""
    with pytest.raises(DataError, match="a document's text is empty"):
        Document("")
