"""A key that never leaves this machine, for names and digests of private text.

With a plain hash of private text anyone can test a guess of that text, and so they can where the key lies beside it.
This key lies in the cache of kept statistics, which only this user may enter.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fedprllm_secure.errors import InputError

KEY_BYTES = 32
STALE_SECONDS = 60.0  # a key is drawn in far less


def machine_key(cache: Path) -> bytes:
    """Read this machine's key, or draw it; two processes that draw it at once end with the same one.

    Args:
        cache: the folder that holds it; from here on only this user may enter it.

    Raises:
        InputError: the file holds no whole key, the folder is open to others and holds other things, or no key can be
            kept or read there.
    """
    try:
        key = _read_or_draw(cache)
    except OSError as error:
        raise InputError(
            f"{cache} cannot hold the key for digests of private text ({error}); make HOME, or --cache, a folder that "
            "can be written"
        ) from error
    if len(key) != KEY_BYTES:
        raise InputError(f"{cache / 'key'} must hold {KEY_BYTES} bytes, not {len(key)}; remove it")
    return key


def _read_or_draw(cache: Path) -> bytes:
    _close(cache)
    file = cache / "key"
    if not file.exists():
        own = cache / f"key-{secrets.token_hex(8)}"
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(own, file)
        except FileExistsError:
            pass
        finally:
            own.unlink()
    return file.read_bytes()


def _close(cache: Path) -> None:
    """Make the folder, or see to it that nobody else may enter; clear what a process that was killed left."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = cache.stat().st_mode & 0o777
    if mode & 0o077:
        if not (cache / "key").exists() and any(cache.iterdir()):
            raise InputError(
                f"{cache} is open to others (mode {mode:o}) and holds other things; close it, or name a folder of its "
                "own by --cache"
            )
        cache.chmod(0o700)
    for left in cache.glob("key-*"):
        with suppress(FileNotFoundError):  # another process clears too
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()


def keyed_digest(files: Sequence[Path], cache: Path) -> str:
    """Give an HMAC-SHA-256 of the content of files, in hex, under this machine's key.

    Args:
        files: one that is not there counts as none; whoever reads it next says so.
        cache: the folder that holds the key.

    Raises:
        InputError: a file cannot be read, or there is no key to be had (:func:`machine_key`).
    """
    contents = []
    for file in files:
        try:
            with file.open("rb") as opened:
                contents.append(hashlib.file_digest(opened, "sha256").digest())
        except FileNotFoundError:
            contents.append(b"none")
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error})") from error
    return hmac.new(machine_key(cache.expanduser()), b"audited files" + b"".join(contents), hashlib.sha256).hexdigest()
