"""The file of a ledger: JSON that its owner alone may read, sealed under a key that lies beside it.

``FILE`` appears by rename and is on disk before a write returns; ``FILE.key`` holds 32 bytes of the operating system's
generator, ``FILE.lock`` keeps a second process out. The key seals the file, so that damage and hand-editing are
noticed, and turns windows into HMACs, so that the file alone tells no one whether a text is in a data set. The key
never leaves this machine and is never printed; a copy of ``FILE`` without it may be shown to others.

What a seal cannot see: an older copy of the file put back in its place. Knows nothing of budgets or releases.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from fedprllm_secure.durable import publish, write_durably
from fedprllm_secure.errors import InputError

VERSION = 1
KEY_BYTES = 32
PATIENCE_SECONDS = 10.0
PRIVATE = 0o600


class LedgerFile:
    """One ledger on disk.

    Attributes:
        path: the file itself, links followed.
    """

    def __init__(self, path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Name the file; nothing is touched yet.

        Args:
            path: the ledger.
            patience_seconds: how long to wait for another process that is at work on it.
        """
        self.path = path.expanduser().resolve()
        self._key_file = self._beside("key")
        self._new_key_file = self._beside("key.new")
        self._lock = FileLock(self._beside("lock"), timeout=patience_seconds, mode=PRIVATE)

    @property
    def exists(self) -> bool:
        """Whether anything of the ledger is there."""
        return self.path.exists() or self._key_file.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out for the length of a ``with``; may be nested.

        Raises:
            InputError: another process does not let go, or others may write in the folder.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Who may write in the folder may put another ledger in this one's place, whatever the file's own mode.
        _refuse_mode(self.path.parent, 0o022, "others may write there; chmod 700 it, or name a file in another folder")
        try:
            self._lock.acquire()
        except Timeout as error:
            raise InputError(f"{self.path}: another process is at work on it; try again when it is done") from error
        try:
            yield
        finally:
            self._lock.release()

    def read(self) -> dict[str, Any] | None:
        """Read what was written last; None where no ledger was ever begun. To be called under the lock.

        Raises:
            InputError: the file or its key is missing, open to others, damaged, edited or of another version.
        """
        if not self.path.exists():
            if self._key_file.exists():
                raise InputError(
                    f"{self.path} is gone and its key is still there: what was spent would be forgotten; put the file "
                    "back from a copy"
                )
            return None
        content = self._parsed()
        version = content.pop("version", None)
        if version != VERSION:
            raise InputError(f"{self.path} is a ledger of version {version}, not {VERSION}; use the release it is of")
        seal = content.pop("seal", "")
        if not hmac.compare_digest(str(seal).encode(errors="replace"), self._seal(content).encode()):
            raise InputError(
                f"{self.path} was edited, damaged or moved here without its key; put back the file and its key as they "
                "were, for nothing is taken off a ledger"
            )
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Replace the content; on disk when this returns, and whole at every moment. To be called under the lock.

        Args:
            content: what JSON can hold; no infinities.
        """
        begins = not self.path.exists()
        if begins:
            # The key has its name only when the ledger has its own: a key alone means that the ledger was removed.
            write_durably(self._new_key_file, os.urandom(KEY_BYTES), mode=PRIVATE)
        sealed = {"version": VERSION, **content, "seal": self._seal(content)}
        write_durably(self.path, (json.dumps(sealed, indent=1, allow_nan=False) + "\n").encode(), mode=PRIVATE)
        if begins:
            publish(self._new_key_file, self._key_file)

    def begin(self, content: dict[str, Any]) -> None:
        """Begin the ledger with this content, if it is not there. To be called under the lock."""
        if self.read() is None:
            self.write(content)

    def window_digests(self, windows: Tensor) -> list[str]:
        """Name windows by HMAC-SHA256 under the key, in order; the ledger must have been begun.

        The same token ids have the same name whatever their integer type, and a window is never a prefix of another:
        its length comes first.

        Args:
            windows: integers (windows, tokens).

        Raises:
            ValueError: they are no integers or of another number of dimensions.
        """
        dtype = windows.dtype
        if windows.ndim != 2 or dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
            raise ValueError(f"windows is {dtype} {tuple(windows.shape)}; it must be integers (windows, tokens)")
        rows = windows.cpu().contiguous().numpy().astype("<i8", copy=False)
        key, length = self._key(), np.array([rows.shape[1]], "<i8").tobytes()
        return [_keyed(key, "window", length + row.tobytes()) for row in rows]

    def identity_digest(self, identity: bytes) -> str:
        """Name what identifies a message by an HMAC: a plain digest would tell whether a guessed text led to it."""
        return _keyed(self._key(), "identity", identity)

    def _parsed(self) -> dict[str, Any]:
        _refuse_mode(self.path, 0o077, "others may read it; chmod 600 it")
        try:
            content = json.loads(self.path.read_bytes())
        except ValueError as error:  # of JSON as of UTF-8
            raise InputError(f"{self.path} is no ledger or was cut short ({error}); put it back from a copy") from error
        if not isinstance(content, dict):
            raise InputError(f"{self.path} is no ledger; name another file")
        return content

    def _seal(self, content: dict[str, Any]) -> str:
        return _keyed(self._key(), "ledger", json.dumps(content, sort_keys=True, separators=(",", ":")).encode())

    def _key(self) -> bytes:
        if not self._key_file.exists() and self._new_key_file.exists():
            if not self.path.exists():
                return self._new_key_file.read_bytes()  # about to seal the first content
            publish(self._new_key_file, self._key_file)  # killed between the two names
        if not self._key_file.exists():
            raise InputError(f"{self._key_file} is missing, without which {self.path} cannot be read; put it back")
        _refuse_mode(self._key_file, 0o077, "others may read it; chmod 600 it")
        key = self._key_file.read_bytes()
        if len(key) != KEY_BYTES:
            raise InputError(f"{self._key_file} has {len(key)} bytes, not {KEY_BYTES}; put it back from a copy")
        return key

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{ending}")


def _keyed(key: bytes, purpose: str, message: bytes) -> str:
    return hmac.new(key, f"fedprllm/v1/{purpose}/".encode() + message, hashlib.sha256).hexdigest()


def _refuse_mode(path: Path, forbidden: int, what: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & forbidden:
        raise InputError(f"{path} has mode {mode:03o}: {what}")
