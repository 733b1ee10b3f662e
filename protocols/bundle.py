"""One message for several sessions: what a party sends another in one step of each session that they open together.

    offset  bytes  field     content
    0       4      magic     "FPSB"
    4       1      version   1
    5       4      sessions  how many sessions are opened together
    9       ...    messages  for each session, ascending by session number: length (4), message as in `protocols.wire`;
                             length 0: none, as when the sender left that session or the session ended

Integers are little-endian and unsigned. Both ends know the sessions from their plans, so a place in the bundle is a
session: none can come twice, be left out or change places without its message landing in another session. There it is
refused, for each message names its plan or session and is signed or checked as if it had come alone. The bundle itself
is not signed and says nothing that the messages in it do not say; whoever carries it could as well cut it open and
deliver the messages one by one. A refused message therefore costs its own session only: a receiver gives each message
to its session, goes on with the others, and treats a resent bundle as the resent messages in it.

The decoder accepts exactly what the encoder makes; anything else raises `InvalidMessage` and no other exception. No
length that it reads makes it take memory beyond the bytes that came. Knows no plan, no step and no key.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from protocols.errors import InvalidMessage

MAGIC = b"FPSB"
VERSION = 1
MAXIMUM_BYTES = 2**29  # a transport can refuse more before it reads it; a bundle for a thousand clients is far below
HEADER = struct.Struct("<4sBI")
LENGTH = struct.Struct("<I")


def bundle_overhead(num_sessions: int) -> int:
    """Return the bytes of a bundle beyond the messages in it."""
    return HEADER.size + LENGTH.size * num_sessions


def encode_bundle(messages: Sequence[bytes]) -> bytes:
    """Return the bundle.

    Args:
        messages: One for each session, ascending by session number; empty where the sender has none.

    Raises:
        ValueError: If the bundle would be longer than `MAXIMUM_BYTES`.
    """
    num_bytes = bundle_overhead(len(messages)) + sum(map(len, messages))
    if num_bytes > MAXIMUM_BYTES:
        raise ValueError(
            f"messages={num_bytes} bytes as a bundle must be at most {MAXIMUM_BYTES}: open fewer sessions together"
        )
    content = [HEADER.pack(MAGIC, VERSION, len(messages))]
    for message in messages:
        content += (LENGTH.pack(len(message)), message)
    return b"".join(content)


def decode_bundle(data: bytes, num_sessions: int) -> tuple[bytes, ...]:
    """Take a bundle apart; the messages in it are not looked at.

    Args:
        data: Received bytes.
        num_sessions: How many sessions the receiver opens together.

    Returns:
        One message for each session, ascending by session number; empty where the sender has none.

    Raises:
        InvalidMessage: If the bytes are not exactly what `encode_bundle` makes for that many sessions.
    """
    if len(data) > MAXIMUM_BYTES:
        raise InvalidMessage(f"a bundle of {len(data)} bytes is longer than {MAXIMUM_BYTES}")
    if len(data) < HEADER.size:
        raise InvalidMessage(f"{len(data)} bytes are too short for a bundle's header of {HEADER.size}")
    magic, version, count = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise InvalidMessage("the first four bytes are not those of a bundle")
    if version != VERSION:
        raise InvalidMessage(f"bundle version {version} is not version {VERSION}")
    if count != num_sessions:
        raise InvalidMessage(f"a bundle for {count} sessions is not for the {num_sessions} opened together")
    messages, offset = [], HEADER.size
    for place in range(num_sessions):
        if len(data) - offset < LENGTH.size:
            raise InvalidMessage(f"the bundle is cut short at place {place}")
        (length,) = LENGTH.unpack_from(data, offset)
        offset += LENGTH.size
        if len(data) - offset < length:
            raise InvalidMessage(f"the bundle is cut short at place {place}")
        messages.append(bytes(data[offset : offset + length]))
        offset += length
    if offset != len(data):
        raise InvalidMessage("bytes follow the last message of the bundle")
    return tuple(messages)
