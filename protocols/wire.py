"""The bytes that parties exchange: versioned, canonical, length-checked, signed.

Every message is a header of 62 bytes, a body and, from a client, a signature. Integers are little-endian and unsigned.

    offset  bytes  field      content
    0       4      magic      "FPSA"
    4       1      version    1
    5       1      step       1 advertise, 2 share, 3 submit, 4 confirm, 5 reveal
    6       8      protocol   name in a-z and 0-9, padded by zero bytes
    14      4      sender     roster index, or 2**32 - 1 for the server
    18      4      part       position of the message among the sender's messages of this step
    22      32     context    digest of the session plan while there is no session id, then the session id
    54      8      length     bytes of the body
    62      ...    body       below
    ...     64     signature  Ed25519 over "fedprllm/v1/message" || SHA-256(header || body); clients only

The server has no key: what it relays is checked by the signatures of clients within it.

    step       from    parts  context      body
    advertise  client  1      plan digest  plain     nothing
                                           additive  sealing key (32), masking key (32), both X25519, and
                                                     SHA-256("fedprllm/v1/self-mask-seed" || seed) (32)
                                           bfv, ckks sealing key (32), X25519
    share      server  1      plan digest  for each roster index: length (4), advertisement; length 0: none came
                                           sparse    root (32); for the recipient and its neighbours, ascending:
                                                     length (4), advertisement, path to the root (32 a node)
    share      client  1      session id   plain     nothing
                                           additive  a sealed message (82) for each neighbour that advertised,
                                                     ascending: share of the masking key (33), share of the seed (33)
                                           bfv, ckks a sealed message (48) for each other client that advertised,
                                                     ascending: contribution to the session's key (32)
    submit     server  1      session id   bitmap of the clients that shared; then
                                           additive  the sealed message (82) of each neighbour that shared, ascending
                                           bfv, ckks the sealed message (48) of each other client that shared, ascending
    submit     client  c + 1  session id   c chunks of 1 MiB (the last may be shorter) of all vectors end to end: words
                                           of 8 bytes as in `protocols.packing`, or ciphertexts
                                           plain     words for one summand
                                           additive  words for the roster, with masks added modulo 2**64
                                           bfv, ckks ciphertexts as in `protocols.homomorphic.coefficients`
                                           last part: SHA-256 of the SHA-256(header || body) of all chunks (32)
    confirm    server  1      session id   bitmap of the survivors; then
                                           bfv, ckks SHA-256("fedprllm/v1/sum" || summed ciphertexts) (32)
    confirm    client  1      session id   the same body: the signature is the client's consent; then
                                           bfv, ckks check of the session's key (32), as in `protocols.homomorphic.keys`
    reveal     server  1      session id   bitmap of the survivors, count (4), count times sender (4) and signature (64)
                                           of a confirm message, ascending by sender; then
                                           bfv, ckks summed ciphertexts of all vectors, until two clients opened them
    reveal     client  1      session id   plain     nothing
                                           additive  a share (33) for each client of which this one holds any and that
                                                     shared, ascending: of a survivor's seed, of another's masking key
                                           bfv, ckks totals, as in `protocols.homomorphic.totals`, if there was a sum

A number in brackets is a length in bytes. Neighbours are all other clients, or in a sparse graph those of
`protocols.additive.graph`; a client holds shares of its neighbours, and with a complete graph of itself. A share is an
integer below 2**256 + 297; a sealed message is as in `protocols.sealing`; a path is as long as `protocols.merkle` says
for the index.

A bitmap has bit i % 8 of byte i // 8 set for roster index i, and zero bits past the last client. The decoder accepts
exactly what the encoder makes; anything else raises `InvalidMessage` and no other exception.

Sessions that are opened together share their first messages: what one party sends another for advertise, share, and
submit before the vectors, in all of these sessions, travels as one bundle, laid out in `protocols.bundle`.

    step       from    parts  context      layout
    each       either  1      none         "FPSB", version (1), count (4); for each session, ascending by number:
                                           length (4), message; length 0: none
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.errors import InvalidMessage
from protocols.roster import Roster, public_key_bytes
from protocols.session import Step

MAGIC = b"FPSA"
VERSION = 2
SERVER = 2**32 - 1
SIGNATURE_BYTES = 64
SIGNATURE_LABEL = b"fedprllm/v1/message"
HEADER = struct.Struct("<4sBB8sII32sQ")
PROTOCOL_NAME = re.compile(rb"[a-z0-9]{1,8}\0*")
STEPS = frozenset(int(step) for step in Step)


@dataclass(frozen=True, slots=True)
class Frame:
    """What all messages of one step of one session have in common.

    Attributes:
        protocol: Protocol name, 1 to 8 characters of a-z and 0-9.
        step: The step.
        context: Plan digest or session id, 32 bytes.
    """

    protocol: str
    step: Step
    context: bytes

    def refusal(self, reason: str, *, client: int | None = None) -> InvalidMessage:
        """Return the error that names this frame's session and step."""
        return InvalidMessage(reason, session=self.context, step=self.step, client=client)


@dataclass(frozen=True, slots=True)
class Message:
    """A message taken apart.

    Attributes:
        frame: Protocol, step and context.
        sender: Roster index, or `SERVER`.
        part: Position among the sender's messages of the step.
        body: Content, as the module's table says.
        digest: SHA-256(header || body), what the signature covers; made once, since bodies are long.
        signature: 64 bytes from a client, empty from the server.
    """

    frame: Frame
    sender: int
    part: int
    body: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def of(cls, frame: Frame, sender: int, part: int, body: bytes, signature: bytes = b"") -> Message:
        """Return the message with its digest."""
        digest = hashlib.sha256(_header(frame, sender, part, len(body)))
        digest.update(body)
        return cls(frame, sender, part, body, digest.digest(), signature)

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        header = _header(self.frame, self.sender, self.part, len(self.body))
        return b"".join((header, self.body, self.signature))

    def is_signed_by(self, public_key: bytes) -> bool:
        """Return whether the signature is that of this raw public key."""
        return _is_signature(public_key, self.signature, self.digest)


# In a simulation n clients check the same n relayed signatures each. A check is a pure function of public bytes, so one
# process does each once; a deployed client, alone in its process, gains and loses nothing.
@lru_cache(maxsize=65536)
def _is_signature(public_key: bytes, signature: bytes, digest: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, SIGNATURE_LABEL + digest)
    except (InvalidSignature, ValueError):  # ValueError: the 32 bytes are no point of the curve
        return False
    return True


def _header(frame: Frame, sender: int, part: int, length: int) -> bytes:
    name = frame.protocol.encode()
    return HEADER.pack(MAGIC, VERSION, frame.step, name, sender, part, frame.context, length)


@dataclass(frozen=True, slots=True)
class ClientPen:
    """Writes the signed messages of one client.

    Attributes:
        index: Roster index.
        signing_key: Long-term key of that client.
    """

    index: int
    signing_key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, roster: Roster, index: int, signing_key: Ed25519PrivateKey) -> ClientPen:
        """Return the pen of the client at this roster index.

        Raises:
            ValueError: If there is no such client, or the roster lists another key for it.
        """
        if not 0 <= index < len(roster):
            raise ValueError(f"index={index} must be in [0, {len(roster)})")
        if public_key_bytes(signing_key) != roster.public_keys[index]:
            raise ValueError(f"signing_key of index={index} must be the one that the roster lists")
        return cls(index, signing_key)

    def write(self, frame: Frame, body: bytes, *, part: int = 0) -> Message:
        """Return the signed message."""
        unsigned = Message.of(frame, self.index, part, body)
        return replace(unsigned, signature=self.signing_key.sign(SIGNATURE_LABEL + unsigned.digest))


def server_message(frame: Frame, body: bytes) -> bytes:
    """Return the bytes of a message from the server."""
    return Message.of(frame, SERVER, 0, body).encode()


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before a body; attributes as those of `Message`.

    Attributes:
        frame: Protocol, step and context.
        sender: Roster index, or `SERVER`.
        part: Position among the sender's messages of the step.
        length: Bytes of the body.
    """

    frame: Frame
    sender: int
    part: int
    length: int


def read_header(data: bytes) -> Header:
    """Read a message's header; body and signature are neither copied nor looked at, but for their length.

    Raises:
        InvalidMessage: If it is malformed, or announces another length than the message has.
    """
    if len(data) < HEADER.size:
        raise InvalidMessage(f"{len(data)} bytes are too short for a header of {HEADER.size}")
    magic, version, step, name, sender, part, context, length = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise InvalidMessage("the first four bytes are not those of this wire format")
    if version != VERSION:
        raise InvalidMessage(f"version {version} is not version {VERSION}")
    if step not in STEPS:
        raise InvalidMessage(f"step {step} is unknown")
    if PROTOCOL_NAME.fullmatch(name) is None:
        raise InvalidMessage("the protocol name is malformed")
    expected = HEADER.size + length + (0 if sender == SERVER else SIGNATURE_BYTES)
    if len(data) != expected:
        raise InvalidMessage(f"{len(data)} bytes are not the {expected} that the header announces")
    return Header(Frame(name.rstrip(b"\0").decode(), Step(step), bytes(context)), sender, part, length)


def decode(data: bytes) -> Message:
    """Take a message apart; the signature is not verified.

    Raises:
        InvalidMessage: If the bytes are not exactly what `Message.encode` makes.
    """
    return _complete(read_header(data), data)


def _complete(header: Header, data: bytes) -> Message:
    """Copy and hash what belongs to a header."""
    end = HEADER.size + header.length
    body, signature = bytes(data[HEADER.size : end]), bytes(data[end:])
    return Message.of(header.frame, header.sender, header.part, body, signature)


def _header_in_frame(data: bytes, frame: Frame) -> Header:
    header = read_header(data)
    client = None if header.sender == SERVER else header.sender
    if header.frame.protocol != frame.protocol:
        raise frame.refusal(f"protocol {header.frame.protocol} is not {frame.protocol}", client=client)
    if header.frame.step is not frame.step:
        raise frame.refusal(f"a message of step {header.frame.step.name.lower()} came instead", client=client)
    if header.frame.context != frame.context:
        raise frame.refusal("the message belongs to another session or plan", client=client)
    return header


def open_from_client(
    data: bytes,
    frame: Frame,
    roster: Roster,
    *,
    expected: Collection[int] | None = None,
    largest: int | None = None,
) -> Message:
    """Return a client's message after every check that needs no record of earlier ones.

    What the header alone shows to be wrong is refused before the body is copied, hashed or verified.

    Args:
        data: Received bytes.
        frame: What the message must belong to.
        roster: Public keys of the clients.
        expected: The clients that may send it; None: all of the roster.
        largest: Most bytes that its body may have; None: any.

    Raises:
        InvalidMessage: If the bytes are malformed, belong elsewhere, have too long a body, or are not signed by the
            roster's client they name, or if that client is not expected.
    """
    header = _header_in_frame(data, frame)
    if header.sender >= len(roster):
        raise frame.refusal("the sender is not a client of the roster")
    if expected is not None and header.sender not in expected:
        raise frame.refusal("the sender did not do the step before", client=header.sender)
    if largest is not None and header.length > largest:
        reason = f"a body of {header.length} bytes must have at most {largest}"
        raise frame.refusal(reason, client=header.sender)
    message = _complete(header, data)
    if not message.is_signed_by(roster.public_keys[message.sender]):
        raise frame.refusal("the signature does not verify", client=message.sender)
    return message


def open_from_server(data: bytes, frame: Frame) -> bytes:
    """Return the body of a server's message.

    Raises:
        InvalidMessage: If the bytes are malformed, belong elsewhere, or are not the server's only message of the step.
    """
    header = _header_in_frame(data, frame)
    if header.sender != SERVER or header.part != 0:
        raise frame.refusal(f"sender {header.sender}, part {header.part} is not the server's message")
    return _complete(header, data).body
