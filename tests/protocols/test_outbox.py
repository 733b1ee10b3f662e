"""Messages stored before they leave: whole steps only, once, and byte for byte on a retry."""

from __future__ import annotations

import os
import stat

import pytest

from protocols import Outbox, RepeatedStep, Step

SESSION = bytes(range(32))
PARTS = [b"first", b"", b"last"]


@pytest.fixture
def outbox(tmp_path):
    """Return an empty outbox in a folder that does not exist yet."""
    return Outbox(tmp_path / "deep" / "outbox")


def test_messages_are_handed_out_after_all_are_stored(tmp_path):
    """Storing happens at the call, before the first message can be sent, and survives the process."""
    Outbox(tmp_path).store(SESSION, Step.SUBMIT, iter(PARTS))

    assert list(Outbox(tmp_path).messages(SESSION, Step.SUBMIT)) == PARTS


def test_a_retry_gets_the_stored_bytes(outbox):
    """Storing the same messages again is harmless."""
    assert list(outbox.store(SESSION, Step.SHARE, [b"only"])) == [b"only"]
    assert list(outbox.store(SESSION, Step.SHARE, [b"only"])) == [b"only"]


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([b"first", b"x", b"last"], "part 1 differs from the stored message"),
        ([*PARTS, b"more"], "part 3 differs from the stored message"),
        ([b"first", b""], "2 messages are fewer than the 3 stored"),
        ([], "0 messages are fewer than the 3 stored"),
    ],
)
def test_other_messages_for_the_same_step_are_refused(outbox, messages, match):
    """What was stored stays; another version of it never leaves."""
    outbox.store(SESSION, Step.SUBMIT, PARTS)
    with pytest.raises(RepeatedStep, match=f"session 00010203, submit: {match}"):
        outbox.store(SESSION, Step.SUBMIT, messages)

    assert list(outbox.messages(SESSION, Step.SUBMIT)) == PARTS


def test_a_crash_while_storing_leaves_nothing(outbox):
    """A step cut short was not sent: it is not there, and may be stored anew."""

    def crash():
        yield b"first"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outbox.store(SESSION, Step.SUBMIT, crash())
    assert list(outbox.messages(SESSION, Step.SUBMIT)) == []
    outbox.store(SESSION, Step.SUBMIT, [b"other"])

    assert list(outbox.messages(SESSION, Step.SUBMIT)) == [b"other"]


def test_every_file_and_folder_is_synced_before_the_step_appears(outbox, monkeypatch):
    """All parts and their folder reach the disk before the rename, the rename before the call returns."""
    events = []
    real_sync, real_rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("sync"), real_sync(fd)))
    monkeypatch.setattr(
        os, "rename", lambda *paths, **options: (events.append("rename"), real_rename(*paths, **options))
    )
    outbox.store(SESSION, Step.SUBMIT, PARTS)

    assert events == ["sync"] * 4 + ["rename"] + ["sync"] * 2


def test_only_the_owner_can_read(outbox, tmp_path):
    """Files have mode 0600, folders 0700."""
    outbox.store(SESSION, Step.SUBMIT, PARTS)
    folder = tmp_path / "deep" / "outbox"
    paths = [folder, *folder.rglob("*")]
    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in paths}

    assert modes == {True: 0o700, False: 0o600}


def test_sessions_and_steps_are_apart_and_can_be_erased(outbox):
    """Erasing one session leaves the others; erasing what is not there does nothing."""
    other = bytes(32)
    outbox.store(SESSION, Step.SHARE, [b"share"])
    outbox.store(SESSION, Step.SUBMIT, [b"submit"])
    outbox.store(other, Step.SHARE, [b"other"])
    outbox.erase(SESSION)
    outbox.erase(SESSION)

    assert list(outbox.messages(SESSION, Step.SHARE)) == []
    assert list(outbox.messages(other, Step.SHARE)) == [b"other"]


def test_parts_keep_their_order(outbox):
    """More parts than ten come back in order."""
    messages = [b"%d" % part for part in range(25)]

    assert list(outbox.store(SESSION, Step.SUBMIT, messages)) == messages


def test_a_session_is_named_by_a_digest(outbox):
    """A name of another length, which could lead elsewhere on the disk, is refused."""
    with pytest.raises(ValueError, match="session=3 bytes must be 32 bytes"):
        outbox.store(b"abc", Step.SUBMIT, PARTS)


def test_a_role_made_again_cannot_send_another_submission(outbox, parties, make_parties):
    """After a restart the stored submission is resent; a new one for the same plan is refused."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    stored = list(outbox.store(parties.plan.digest, Step.SUBMIT, parties.messages(Step.SUBMIT, 0)))
    again = make_parties(4)
    again.inputs[0] = {name: 0 * vector for name, vector in again.inputs[0].items()}
    again.walk(Step.ADVERTISE, Step.SHARE)
    with pytest.raises(RepeatedStep, match="part 0 differs from the stored message"):
        outbox.store(again.plan.digest, Step.SUBMIT, again.messages(Step.SUBMIT, 0))
    for message in outbox.messages(parties.plan.digest, Step.SUBMIT):
        parties.receive(Step.SUBMIT, message)
    parties.do(Step.SUBMIT, 1, 2, 3)
    parties.walk(Step.CONFIRM, Step.REVEAL)

    assert len(stored) > 1
    parties.check_totals()


@pytest.mark.parametrize("other", [PARTS, [b"other"]], ids=["same", "other"])
def test_of_two_that_store_at_once_one_comes_first(outbox, other):
    """A second process that finishes within the first one's step wins; the first sends its bytes or none."""

    def overtaken():
        yield PARTS[0]
        outbox.store(SESSION, Step.SUBMIT, other)
        yield from PARTS[1:]

    if other == PARTS:
        assert list(outbox.store(SESSION, Step.SUBMIT, overtaken())) == PARTS
        folder = outbox._step_folder(SESSION, Step.SUBMIT).parent
        assert [path.name for path in folder.iterdir()] == ["submit"]
    else:
        with pytest.raises(RepeatedStep, match="part 0 differs from the stored message"):
            outbox.store(SESSION, Step.SUBMIT, overtaken())

    assert list(outbox.messages(SESSION, Step.SUBMIT)) == other


def test_other_failures_of_the_disk_are_not_taken_for_a_race(outbox, monkeypatch):
    """A rename that fails where nothing is stored is the caller's to know of."""

    def fail(*paths, **options):
        raise OSError("disk on fire")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="disk on fire"):
        outbox.store(SESSION, Step.SUBMIT, PARTS)

    assert list(outbox.messages(SESSION, Step.SUBMIT)) == []


def test_what_a_crash_left_goes_with_the_session(outbox):
    """A step cut short leaves files, which erasing takes along."""

    def crash():
        yield b"first"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outbox.store(SESSION, Step.SUBMIT, crash())
    folder = outbox._step_folder(SESSION, Step.SUBMIT).parent
    assert list(folder.rglob("0*"))
    outbox.erase(SESSION)

    assert not folder.exists()


def test_a_folder_that_others_can_read_is_closed_to_them(tmp_path):
    """Also one that was there before, whatever its mode."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    Outbox(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
