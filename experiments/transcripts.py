"""Transcripts on disk: every message that the server received or sent, and the plan that makes sense of them.

    transcript/block-0000/plan.json                               what the parties agreed on, all of it public
    transcript/block-0000/000017-submit-received-client-2.bin     a message: number, step, direction, other end

A folder is one session: a block's, or block 0's for a session over all blocks. Folders have mode 0700: under the
protocol ``plain``, messages hold clients' vectors. Knows nothing of what messages say.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedprllm_secure.errors import InputError
from protocols import PROTOCOLS, Direction, Roster, SessionPlan, Step, TranscriptEntry, VectorSpec

SCHEMA = 1
PLAN = "plan.json"
SESSION_NAME = re.compile(r"block-(\d{4,})")
MESSAGE_NAME = re.compile(r"(\d{6,})-([a-z]+)-(received|sent)-client-(\d+)\.bin")
COUNTS = ("session_number", "recovery_threshold", "minimum_survivors", "assumed_colluders", "neighbours")


class TranscriptWriter:
    """Writes the sessions of a run, each message as it passes; a :class:`~fedprllm_secure.sessions.Transcript`."""

    def __init__(self, folder: Path, *, protocol: str) -> None:
        """Write to this folder, which is made when the first session begins.

        Args:
            folder: ``DIR/transcript``.
            protocol: the name of the protocol of all sessions.
        """
        self._folder, self._protocol = folder, protocol
        self._counts: dict[int, int] = {}

    def begin(self, place: int, plan: SessionPlan) -> None:
        """Begin a session; what an interrupted try at this place left belongs to no finished session, and goes."""
        session = self._session(place)
        shutil.rmtree(session, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        session.mkdir(mode=0o700)
        self._counts[place] = 0
        (session / PLAN).write_text(json.dumps(_written(plan, self._protocol), indent=2) + "\n")

    def add(self, place: int, entry: TranscriptEntry) -> None:
        """Write a message."""
        number = self._counts[place]
        self._counts[place] = number + 1
        name = f"{number:06d}-{entry.step.name.lower()}-{entry.direction.value}-client-{entry.client}.bin"
        (self._session(place) / name).write_bytes(entry.message)

    def _session(self, place: int) -> Path:
        return self._folder / f"block-{place:04d}"


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A session of a transcript.

    Attributes:
        place: the block, or 0 for a session over all blocks.
        protocol: the protocol's name.
        plan: what its parties agreed on.
        folder: where its messages are.
    """

    place: int
    protocol: str
    plan: SessionPlan
    folder: Path

    def entries(self) -> Iterator[TranscriptEntry]:
        """Read its messages in order, one at a time.

        Raises:
            InputError: a file is none of a transcript, or a message is missing amid others.
        """
        found = sorted(_message_files(self.folder))
        for expected, (number, file) in enumerate(found):
            if number != expected:
                raise InputError(f"{self.folder} lacks message {expected}; save the transcript again")
            yield _read_entry(file)


def read_transcript(folder: Path) -> list[RecordedSession]:
    """Open the sessions of a transcript, in order of places; no message is read yet.

    Args:
        folder: ``DIR/transcript`` of a run.

    Raises:
        InputError: there is no transcript, or a plan cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"no transcript at {folder}; run fedprllm prune with --save-transcript")
    sessions = []
    for place in sorted(folder.iterdir()):
        found = SESSION_NAME.fullmatch(place.name)
        if found is None or not place.is_dir():
            raise InputError(f"{place} is no part of a transcript; name a folder that fedprllm prune wrote")
        protocol, plan = _read_plan(place / PLAN)
        sessions.append(RecordedSession(int(found[1]), protocol, plan, place))
    if not sessions:
        raise InputError(f"{folder} holds no session; run fedprllm prune with --save-transcript")
    return sorted(sessions, key=lambda session: session.place)


def _written(plan: SessionPlan, protocol: str) -> dict[str, Any]:
    """Turn a plan into what JSON can say."""
    return {
        "schema": SCHEMA,
        "protocol": protocol,
        "manifest_hash": plan.manifest_hash.hex(),
        "roster": [key.hex() for key in plan.roster.public_keys],
        "vectors": [asdict(vector) for vector in plan.vectors],
        **{name: getattr(plan, name) for name in COUNTS},
        "beacon": plan.beacon.hex(),
        "digest": plan.digest.hex(),
    }


def _read_plan(file: Path) -> tuple[str, SessionPlan]:
    """Read a plan, and the name of its protocol.

    Raises:
        InputError: the file is missing, malformed, of another schema, or holds another plan than its digest says.
    """
    try:
        written = json.loads(file.read_text())
        if written["schema"] != SCHEMA:
            raise ValueError(f"schema={written['schema']} must be {SCHEMA}")
        if written["protocol"] not in PROTOCOLS:
            raise ValueError(f"protocol={written['protocol']} must be one of {', '.join(PROTOCOLS)}")
        plan = SessionPlan(
            manifest_hash=bytes.fromhex(written["manifest_hash"]),
            roster=Roster(tuple(bytes.fromhex(key) for key in written["roster"])),
            vectors=tuple(VectorSpec(**vector) for vector in written["vectors"]),
            beacon=bytes.fromhex(written["beacon"]),
            **{name: int(written[name]) for name in COUNTS},
        )
        if plan.digest.hex() != written["digest"]:
            raise ValueError(f"digest={written['digest']} must be that of the plan, {plan.digest.hex()}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no plan of a session ({error}); save the transcript again") from error
    return str(written["protocol"]), plan


def _message_files(folder: Path) -> Iterator[tuple[int, Path]]:
    for file in folder.iterdir():
        if file.name == PLAN:
            continue
        found = MESSAGE_NAME.fullmatch(file.name)
        if found is None or found[2].upper() not in Step.__members__:
            raise InputError(f"{file} is no message of a transcript; name a folder that fedprllm prune wrote")
        yield int(found[1]), file


def _read_entry(file: Path) -> TranscriptEntry:
    found = MESSAGE_NAME.fullmatch(file.name)
    assert found is not None  # as _message_files has seen
    return TranscriptEntry(Step[found[2].upper()], Direction(found[3]), int(found[4]), file.read_bytes())
