"""Bodies that several protocols' messages share: bitmaps, relayed advertisements and relayed confirmations.

Layouts are in the table of `protocols.wire`; decoding is canonical, and whatever is malformed raises `InvalidMessage`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from protocols.merkle import NODE_BYTES, path_length
from protocols.wire import SIGNATURE_BYTES, Frame

_COUNT = struct.Struct("<I")
_CONFIRMATION = struct.Struct(f"<I{SIGNATURE_BYTES}s")


def bitmap_bytes(num_clients: int) -> int:
    """Return the length of a bitmap over the roster."""
    return -(-num_clients // 8)


def encode_bitmap(clients: Iterable[int], num_clients: int) -> bytes:
    """Return the bitmap with the bits of these roster indices set."""
    bits = bytearray(bitmap_bytes(num_clients))
    for index in clients:
        bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def decode_bitmap(data: bytes, num_clients: int, frame: Frame) -> tuple[int, ...]:
    """Return the roster indices of a bitmap, ascending.

    Raises:
        InvalidMessage: If its length is wrong or a bit past the last client is set.
    """
    if len(data) != bitmap_bytes(num_clients):
        raise frame.refusal(f"a bitmap of {len(data)} bytes does not fit {num_clients} clients")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    clients = tuple(np.flatnonzero(bits).tolist())
    if clients and clients[-1] >= num_clients:
        raise frame.refusal("the bitmap names a client past the end of the roster")
    return clients


def encode_advertisements(advertisements: Mapping[int, bytes], num_clients: int) -> bytes:
    """Return the advertisements in roster order, each after its length; an absent one has length 0."""
    entries = (advertisements.get(index, b"") for index in range(num_clients))
    return b"".join(_COUNT.pack(len(entry)) + entry for entry in entries)


def decode_advertisements(data: bytes, num_clients: int, frame: Frame) -> dict[int, bytes]:
    """Return the advertisements by roster index.

    Raises:
        InvalidMessage: If the bytes end early or go on after the last client.
    """
    advertisements = {}
    offset = 0
    for index in range(num_clients):
        if len(data) - offset < _COUNT.size:
            raise frame.refusal("the list of advertisements is cut short", client=index)
        (length,) = _COUNT.unpack_from(data, offset)
        offset += _COUNT.size
        if len(data) - offset < length:
            raise frame.refusal("the list of advertisements is cut short", client=index)
        if length:
            advertisements[index] = data[offset : offset + length]
        offset += length
    if offset != len(data):
        raise frame.refusal("bytes follow the last advertisement")
    return advertisements


def encode_proven_advertisements(root: bytes, proven: Mapping[int, tuple[bytes | None, Sequence[bytes]]]) -> bytes:
    """Return the root, then for each client, ascending, its advertisement after its length, and its path."""
    content = [root]
    for index in sorted(proven):
        advertisement, path = proven[index]
        content += [_COUNT.pack(len(advertisement or b"")), advertisement or b"", *path]
    return b"".join(content)


def decode_proven_advertisements(
    data: bytes, clients: Iterable[int], num_clients: int, frame: Frame
) -> tuple[bytes, dict[int, tuple[bytes | None, list[bytes]]]]:
    """Take the advertisements of these clients, ascending, and their paths apart.

    Returns:
        The root, and by roster index the advertisement, None if absent, and the path, whose length fits the tree.

    Raises:
        InvalidMessage: If the bytes end early or go on after the last client.
    """
    proven: dict[int, tuple[bytes | None, list[bytes]]] = {}
    offset = NODE_BYTES
    for index in clients:
        if len(data) - offset < _COUNT.size:
            raise frame.refusal("the list of advertisements is cut short", client=index)
        (length,) = _COUNT.unpack_from(data, offset)
        start = offset + _COUNT.size
        middle = start + length
        offset = middle + NODE_BYTES * path_length(index, num_clients)
        if len(data) < offset:
            raise frame.refusal("the list of advertisements is cut short", client=index)
        path = [data[node : node + NODE_BYTES] for node in range(middle, offset, NODE_BYTES)]
        proven[index] = (data[start:middle] if length else None, path)
    if offset != len(data):
        raise frame.refusal("bytes follow the last advertisement")
    return data[:NODE_BYTES], proven


def encode_confirmations(bitmap: bytes, signatures: Mapping[int, bytes]) -> bytes:
    """Return the survivor bitmap followed by the signatures of confirm messages, ascending by sender."""
    relayed = b"".join(_CONFIRMATION.pack(index, signatures[index]) for index in sorted(signatures))
    return bitmap + _COUNT.pack(len(signatures)) + relayed


def decode_confirmations(data: bytes, num_clients: int, frame: Frame) -> tuple[bytes, dict[int, bytes], bytes]:
    """Take a reveal request apart.

    Returns:
        The survivor bitmap, the signatures by sender (unverified), and what follows them.

    Raises:
        InvalidMessage: If the bytes end early or the senders are not strictly ascending, as when one is listed twice.
    """
    start = bitmap_bytes(num_clients) + _COUNT.size
    if len(data) < start:
        raise frame.refusal("the reveal request is cut short")
    (count,) = _COUNT.unpack_from(data, start - _COUNT.size)
    end = start + count * _CONFIRMATION.size
    if len(data) < end:
        raise frame.refusal("the reveal request is cut short")
    entries = list(_CONFIRMATION.iter_unpack(data[start:end]))
    senders = [sender for sender, _ in entries]
    if any(later <= earlier for earlier, later in pairwise(senders)):
        raise frame.refusal("the relayed confirmations are not in ascending order of distinct clients")
    return data[: start - _COUNT.size], dict(entries), data[end:]
