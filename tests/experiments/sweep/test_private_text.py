"""A sweep knows its texts again by digests that tell nobody else anything."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from experiments.sweep import private_text
from experiments.sweep.folder import Entry, Texts
from experiments.sweep.private_text import texts_of
from fedprllm_secure.errors import InputError

TEXT = b"what nobody else may know"


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """A cell with text of three kinds."""
    flags = {name: str(tmp_path / f"{name}.txt") for name in ("data", "public-data", "eval-data")}
    for file in flags.values():
        Path(file).write_bytes(TEXT)
    return Entry(name="cell", flags=flags | {"clients": "3"})


def noted(entry: Entry) -> Texts:
    """Take the digests of a cell that was not begun."""
    found = texts_of([entry], begun={})["cell"]
    assert found is not None
    return found


def test_equal_text_is_known_again(entry: Entry) -> None:
    """And a changed one is named by its flag, whichever it is; so is one that is gone."""
    before = noted(entry)
    assert texts_of([entry], begun={"cell": before}) == {"cell": before}
    assert set(before) == {"key", "data", "public-data", "eval-data"}

    for name in ("data", "public-data", "eval-data"):
        file = Path(entry.flags[name])
        for change in (lambda: file.write_bytes(TEXT + b"!"), file.unlink):  # noqa: B023 - called now
            change()
            with pytest.raises(InputError, match=rf"^--{name} .*{name}.txt is not what .*1 of its .*first: cell"):
                texts_of([entry], begun={"cell": before})
        file.write_bytes(TEXT)


def test_digests_need_the_key(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another key the same text has another digest: nobody without it can test a guess."""
    before = noted(entry)
    assert sha256(TEXT).hexdigest() not in before.values()
    monkeypatch.setattr(private_text, "CACHE", tmp_path / "elsewhere")
    now = noted(entry)

    assert not set(before.values()) & set(now.values())
    Path(entry.flags["data"]).write_bytes(b"another text")
    assert texts_of([entry], begun={"cell": before}) == {"cell": before}  # cannot be told, and is not made to look so


def test_what_was_begun_without_digests_gets_none_later(entry: Entry) -> None:
    """Today's text is not noted for a cell that may be of another."""
    assert texts_of([entry], begun={"cell": None}) == {"cell": None}


def test_text_that_is_no_file_has_no_digest(tmp_path: Path) -> None:
    """A named data set; and of a folder hidden files do not count."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(TEXT)
    entry = Entry(name="cell", flags={"data": str(tmp_path / "texts"), "eval-data": "demo"})
    before = noted(entry)
    (tmp_path / "texts" / ".hidden").write_bytes(b"x")

    assert before["eval-data"] == private_text.NO_FILE
    assert noted(entry) == before
    (tmp_path / "texts" / "b.txt").write_bytes(b"")
    assert noted(entry) != before
