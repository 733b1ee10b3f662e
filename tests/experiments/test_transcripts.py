"""Transcripts on disk: what is written is read back, from the folder alone, and tells what the server saw."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from experiments.transcripts import RecordedSession, TranscriptWriter, read_transcript
from fedprllm_secure.errors import InputError
from protocols import (
    PROTOCOLS,
    Roster,
    SessionPlan,
    Step,
    TranscriptEntry,
    VectorSpec,
    generate_signing_key,
    run_session,
)
from protocols.replay import replay
from protocols.traffic import Direction
from tests.experiments.conftest import Ran

KEYS = [generate_signing_key() for _ in range(3)]
VOTES = (VectorSpec("votes", 70, 1), VectorSpec("noisy", 3, 2, signed=True, headroom=9))


def plan_of(session_number: int = 0, **changes: Any) -> SessionPlan:
    """Plan a session of three."""
    fields: dict[str, Any] = {"recovery_threshold": 2, "minimum_survivors": 3, "vectors": VOTES} | changes
    return SessionPlan(bytes(range(32)), session_number, Roster.of(KEYS), **fields)


def record(writer: TranscriptWriter, place: int, plan: SessionPlan, protocol: str = "plain") -> list[TranscriptEntry]:
    """Run a session whose messages are written and returned."""
    entries: list[TranscriptEntry] = []

    def add(entry: TranscriptEntry) -> None:
        entries.append(entry)
        writer.add(place, entry)

    vectors = {spec.name: np.ones(spec.length, int) for spec in plan.vectors}
    writer.begin(place, plan)
    run_session(PROTOCOLS[protocol], plan, KEYS, dict.fromkeys(range(3), vectors), transcript=add)
    return entries


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_what_is_written_is_read_back(tmp_path: Path, protocol: str) -> None:
    """Plans and messages of every session, in order, from the folder alone."""
    writer = TranscriptWriter(tmp_path / "transcript", protocol=protocol)
    plans = {place: plan_of(place + 3) for place in (1, 0)}
    written = {place: record(writer, place, plan, protocol) for place, plan in plans.items()}
    found = read_transcript(tmp_path / "transcript")

    assert [session.place for session in found] == [0, 1]
    for session in found:
        assert session.protocol == protocol
        assert session.plan == plans[session.place]
        assert session.plan.digest == plans[session.place].digest
        assert list(session.entries()) == written[session.place]


def test_a_plan_with_a_graph_is_read_back(tmp_path: Path) -> None:
    """Neighbours and beacon too."""
    keys = [generate_signing_key() for _ in range(40)]
    plan = SessionPlan(bytes(32), 7, Roster.of(keys), VOTES, 6, 39, neighbours=10, beacon=bytes(range(32)))
    TranscriptWriter(tmp_path / "transcript", protocol="additive").begin(5, plan)
    (session,) = read_transcript(tmp_path / "transcript")

    assert (session.place, session.protocol, session.plan) == (5, "additive", plan)


def test_a_session_held_again_replaces_the_one_before(tmp_path: Path) -> None:
    """What an interrupted try left does not mix with what comes after it; other sessions stay."""
    folder = tmp_path / "transcript"
    other = record(TranscriptWriter(folder, protocol="plain"), 1, plan_of(1))
    interrupted = TranscriptWriter(folder, protocol="plain")
    interrupted.begin(0, plan_of(0))
    for number in range(60):  # more messages than the whole session has
        interrupted.add(0, TranscriptEntry(Step.ADVERTISE, Direction.RECEIVED, number, b"old"))
    again = record(TranscriptWriter(folder, protocol="plain"), 0, plan_of(2))
    first, second = read_transcript(folder)

    assert first.plan.session_number == 2
    assert list(first.entries()) == again
    assert list(second.entries()) == other


def test_only_the_owner_reads(tmp_path: Path) -> None:
    """All folders of the transcript have mode 0700, whatever the umask lets others have."""
    record(TranscriptWriter(tmp_path / "run" / "transcript", protocol="plain"), 0, plan_of())
    for place in (tmp_path / "run" / "transcript", tmp_path / "run" / "transcript" / "block-0000"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.fixture
def session(tmp_path: Path) -> RecordedSession:
    """A written session."""
    record(TranscriptWriter(tmp_path / "transcript", protocol="plain"), 0, plan_of())
    return read_transcript(tmp_path / "transcript")[0]


def test_a_missing_or_foreign_message_is_an_error(session: RecordedSession) -> None:
    """A gap amid messages, and a file that is no message, are not passed over."""
    files = sorted(file for file in session.folder.iterdir() if file.suffix == ".bin")
    content = files[3].read_bytes()
    files[3].unlink()
    with pytest.raises(InputError, match="lacks message 3; save the transcript again"):
        list(session.entries())
    files[3].write_bytes(content)
    for name in ("notes.txt", "000099-steal-received-client-0.bin", "000099-share-lost-client-0.bin"):
        (session.folder / name).write_text("")
        with pytest.raises(InputError, match=f"{name} is no message of a transcript"):
            list(session.entries())
        (session.folder / name).unlink()
    assert len(list(session.entries())) == len(files)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"schema": 2}, "schema=2 must be 1"),
        ({"protocol": "other"}, "protocol=other must be one of plain, additive, bfv, ckks"),
        ({"session_number": 1}, "digest=[0-9a-f]{64} must be that of the plan"),
        ({"minimum_survivors": 9}, "minimum_survivors=9 must be between 1 and 3 clients"),
        ({"roster": ["00"]}, r"public_keys\[0\] must be 32 bytes"),
        ({"roster": 3}, "not iterable"),
        ({"vectors": [{"name": "votes"}]}, "missing 2 required"),
        ({"beacon": None}, "fromhex"),
        ({"manifest_hash": "xyz"}, "non-hexadecimal"),
    ],
)
def test_a_plan_that_is_none_is_an_error(session: RecordedSession, change: dict[str, Any], pattern: str) -> None:
    """Another schema, another protocol, fields that do not fit, and a plan that was altered."""
    file = session.folder / "plan.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=f"plan.json is no plan of a session .*{pattern}.*save the transcript again"):
        read_transcript(session.folder.parent)


def test_what_is_no_transcript_is_an_error(session: RecordedSession, tmp_path: Path) -> None:
    """No folder, an empty one, a foreign file, and a session without its plan or with half of one."""
    with pytest.raises(InputError, match=r"no transcript at .*missing; run fedprllm prune with --save-transcript"):
        read_transcript(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no session; run fedprllm prune"):
        read_transcript(tmp_path / "empty")
    for name in ("block-1", "other"):
        (session.folder.parent / name).mkdir()
        with pytest.raises(InputError, match=f"{name} is no part of a transcript"):
            read_transcript(session.folder.parent)
        (session.folder.parent / name).rmdir()
    (session.folder / "plan.json").write_text("{")
    with pytest.raises(InputError, match=r"plan\.json is no plan of a session"):
        read_transcript(session.folder.parent)
    (session.folder / "plan.json").unlink()
    with pytest.raises(InputError, match=r"plan\.json is no plan of a session .*No such file"):
        read_transcript(session.folder.parent)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_a_runs_transcript_replays_to_its_votes(prune: Callable[..., Ran], tmp_path: Path, protocol: str) -> None:
    """What the server computes from the bytes on disk are the votes that the run wrote; clients' own under plain."""
    out = tmp_path / "run"
    asked = {"baselines": "", "eval_data": None, "save_votes": True, "save_transcript": True}
    assert prune(out, protocol=protocol, **asked).status == 0
    votes = load_file(out / "votes.safetensors")
    sessions = read_transcript(out / "transcript")
    views = [replay(PROTOCOLS[session.protocol], session.plan, session.entries()) for session in sessions]
    seen = {name: total for view in views for name, total in view.totals.items()}

    assert [session.place for session in sessions] == [0, 1]
    assert set(seen) == set(votes)
    for name, total in votes.items():
        np.testing.assert_array_equal(seen[name], total.numpy().reshape(-1))
    assert [view.shows_vectors for view in views] == [protocol == "plain"] * 2
    if protocol == "plain":
        each = [views[0].vectors(client) for client in range(3)]
        for name in each[0]:
            np.testing.assert_array_equal(sum(vectors[name].astype(int) for vectors in each), seen[name])
