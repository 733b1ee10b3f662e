"""The key that never leaves the machine: drawn once, for this user alone; digests under it tell nobody the content."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from pathlib import Path

import pytest

from experiments.audit import machine_key as module
from experiments.audit.machine_key import KEY_BYTES, STALE_SECONDS, keyed_digest, machine_key
from fedprllm_secure.errors import InputError


def mode(path: Path) -> int:
    """Give permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_drawn_once_for_this_user_alone(tmp_path: Path) -> None:
    """Another folder has another; nothing is left over of drawing it."""
    one, again, other = (machine_key(tmp_path / name) for name in ("a", "a", "b"))

    assert one == again != other
    assert len(one) == KEY_BYTES
    assert mode(tmp_path / "a") == 0o700
    assert mode(tmp_path / "a" / "key") == 0o600
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["key"]


def test_two_processes_that_draw_a_key_at_once_end_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second takes the first one's."""
    first = b"f" * KEY_BYTES
    link = os.link

    def late(own: Path, file: Path) -> None:
        file.write_bytes(first)
        link(own, file)

    monkeypatch.setattr(module.os, "link", late)

    assert machine_key(tmp_path) == first
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_a_key_cut_short_is_refused(tmp_path: Path) -> None:
    """It names nothing, and what to do is said."""
    (tmp_path / "key").write_bytes(b"short")

    with pytest.raises(InputError, match=rf"{tmp_path / 'key'} must hold {KEY_BYTES} bytes, not 5; remove it"):
        machine_key(tmp_path)


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    """Once it is old; a key that is being drawn right now is another process's."""
    machine_key(tmp_path)
    old, new = tmp_path / "key-123", tmp_path / "key-456"
    for file in (old, new):
        file.write_bytes(b"half")
    past = time.time() - 2 * STALE_SECONDS
    os.utime(old, (past, past))
    machine_key(tmp_path)

    assert {each.name for each in tmp_path.iterdir()} == {"key", "key-456"}


@pytest.mark.parametrize("holds", [(), ("key",)])
def test_a_folder_that_is_open_to_others_is_closed(holds: tuple[str, ...], tmp_path: Path) -> None:
    """Where it is empty, or already holds what is kept."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for name in holds:
        (folder / name).write_bytes(b"k" * KEY_BYTES)
    folder.chmod(0o755)
    machine_key(folder)

    assert mode(folder) == 0o700


def test_an_open_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    """Nobody's own folder changes its permissions."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    folder.chmod(0o750)

    with pytest.raises(InputError, match=re.escape(f"{folder} is open to others (mode 750) and holds other")):
        machine_key(folder)
    assert mode(folder) == 0o750


def test_a_digest_is_of_contents_in_order_under_the_key(tmp_path: Path) -> None:
    """Any change shows; the same again does not; without the key it cannot be made."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("private"), other.write_text("text")
    digests = {
        "first": keyed_digest((one, other), tmp_path / "kept"),
        "turned": keyed_digest((other, one), tmp_path / "kept"),
        "alone": keyed_digest((one,), tmp_path / "kept"),
        "elsewhere": keyed_digest((one, other), tmp_path / "elsewhere"),
    }
    other.write_text("texts")
    digests["changed"] = keyed_digest((one, other), tmp_path / "kept")
    other.unlink()
    digests["gone"] = keyed_digest((one, other), tmp_path / "kept")
    other.write_text("text")

    assert len(set(digests.values())) == 6
    assert keyed_digest((one, other), tmp_path / "kept") == digests["first"]
    assert hashlib.sha256(b"privatetext").hexdigest() not in digests.values()


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(InputError, match=f"{tmp_path} cannot be read"):
        keyed_digest((tmp_path,), tmp_path / "kept")


def test_a_place_that_holds_no_key_is_named(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match=r"file/cache cannot hold the key .*make HOME, or --cache, a folder that"):
        machine_key(tmp_path / "file" / "cache")
