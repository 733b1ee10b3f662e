"""A client's outgoing messages on disk, stored before they leave and sent again byte for byte.

Sending a second submission made from the same secrets would hand the server the difference of two inputs; so a message
is made once, and what is stored is what is sent, however often. The messages of a step appear together or not at all: a
step that was cut short while it was stored has sent nothing and is not there. Of two processes that store a step at the
same time one comes first; the other gets what that one stored, if its messages are the same, and is refused if not.

Only messages come here, which the server may see. Session secrets never do: a client that restarts has lost them and
has left the session, but can finish sending what is stored.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from protocols.errors import RepeatedStep
from protocols.session import DIGEST_BYTES, Step


class Outbox:
    """The stored messages of one client.

    A session is named by the digest of its plan, which exists before the session id and is the same after a restart: a
    role made again for a plan whose messages were stored cannot store others.
    """

    def __init__(self, folder: Path) -> None:
        """Use this folder, with mode 0700 whether it is made or there already: only its owner reads messages."""
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)

    def store(self, session: bytes, step: Step, messages: Iterable[bytes]) -> Iterator[bytes]:
        """Store all messages of a step durably, then hand them out for sending.

        Args:
            session: Digest of the session's plan.
            step: The step.
            messages: Its messages in order of parts; consumed one at a time.

        Returns:
            The stored messages, read back one at a time.

        Raises:
            RepeatedStep: If other messages are stored for this step; those stay as they are.
        """
        final = self._step_folder(session, step)
        if final.exists():
            self._require_same(session, step, messages)
            return self.messages(session, step)
        final.parent.mkdir(mode=0o700, exist_ok=True)
        # A folder of one's own, that no other process writes to; what a crash leaves of it goes with the session.
        unfinished = Path(tempfile.mkdtemp(prefix=f"{final.name}.", suffix=".unfinished", dir=final.parent))
        for part, message in enumerate(messages):
            _write_durably(_part_file(unfinished, part), message)
        _sync_folder(unfinished)
        try:
            unfinished.rename(final)
        except OSError:  # a folder with files in it is not replaced
            if not final.exists():
                raise
            self._require_same(session, step, _contents(unfinished))
            shutil.rmtree(unfinished)
        _sync_folder(final.parent)
        _sync_folder(self._folder)
        return self.messages(session, step)

    def messages(self, session: bytes, step: Step) -> Iterator[bytes]:
        """Return the stored messages of a step in order of parts, none if the step was not stored whole."""
        folder = self._step_folder(session, step)
        return _contents(folder) if folder.exists() else iter(())

    def erase(self, session: bytes) -> None:
        """Delete the messages of a session whose totals are known to be stored."""
        shutil.rmtree(self._step_folder(session, Step.ADVERTISE).parent, ignore_errors=True)

    def _step_folder(self, session: bytes, step: Step) -> Path:
        if len(session) != DIGEST_BYTES:
            raise ValueError(f"session={len(session)} bytes must be {DIGEST_BYTES} bytes")
        return self._folder / session.hex() / step.name.lower()

    def _require_same(self, session: bytes, step: Step, messages: Iterable[bytes]) -> None:
        folder = self._step_folder(session, step)
        stored = len(list(folder.iterdir()))
        part = -1
        for part, message in enumerate(messages):
            if part >= stored or _part_file(folder, part).read_bytes() != message:
                raise RepeatedStep(f"part {part} differs from the stored message", session=session, step=step)
        if part + 1 != stored:
            raise RepeatedStep(f"{part + 1} messages are fewer than the {stored} stored", session=session, step=step)


def _part_file(folder: Path, part: int) -> Path:
    return folder / f"{part:010d}"


def _contents(folder: Path) -> Iterator[bytes]:
    files = sorted(folder.iterdir())
    return (file.read_bytes() for file in files)


def _write_durably(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
