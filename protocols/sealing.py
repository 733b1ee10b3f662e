"""What one client hands to another through the server, sealed for that other alone.

    sealed message = ChaCha20-Poly1305(key = share row of `protocols.derivation`, nonce = 0,
                                       AD = "fedprllm/v1/sealed" || session id || sender || receiver, content)

with sender and receiver as roster indices in four little-endian bytes; 16 bytes longer than the content. The key
belongs to one sender, one receiver and one session and seals one message, so the nonce may be constant; a `Sealer`
refuses to seal a second one. ChaCha20-Poly1305 is that of RFC 8439.

Corrupted: the server, which carries the messages, and any clients but the two ends. They learn the length. A message
that was altered, moved to other clients or to another session, or made under another plan does not open.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocols.derivation import KeyTable, agree
from protocols.wire import Frame

LABEL = b"fedprllm/v1/sealed"
TAG_BYTES = 16
_NONCE = bytes(12)
_ENDS = struct.Struct("<II")


class Sealer:
    """One client's end of all sealed messages of a session.

    Holds secrets: the private key, and what was agreed under each public key, so that sealing for a client and opening
    what that client sealed cost one X25519 operation. `forget` drops them.
    """

    def __init__(self, private_key: X25519PrivateKey, table: KeyTable, index: int) -> None:
        """Start with nothing sealed.

        Args:
            private_key: Fresh sealing key of this client and session.
            table: Keys of the session.
            index: Roster index of this client.
        """
        self._private_key: X25519PrivateKey | None = private_key
        self._table = table
        self._index = index
        self._agreed: dict[bytes, bytes] = {}  # by public key
        self._sealed: set[int] = set()

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Sealer(client {self._index})"

    def seal(self, receiver: int, public_key: bytes, content: bytes, frame: Frame) -> bytes:
        """Return the one message of this session for `receiver`.

        Args:
            receiver: Roster index of the other client.
            public_key: Its advertised sealing key, 32 raw bytes.
            content: What to seal.
            frame: Step at which the public key was received.

        Raises:
            InvalidMessage: If the public key is of small order.
            ValueError: If a message for this receiver was sealed before, or the receiver is this client.
        """
        if receiver == self._index or receiver in self._sealed:
            raise ValueError(f"receiver={receiver} must be another client, for whom nothing was sealed before")
        key = self._table.share(self._agree(receiver, public_key, frame), self._index, receiver)
        self._sealed.add(receiver)
        return ChaCha20Poly1305(key).encrypt(_NONCE, content, self._bound(self._index, receiver))

    def open(self, sender: int, public_key: bytes, sealed: bytes, frame: Frame) -> bytes:
        """Return what `sender` sealed for this client. Keeps nothing of a message that is refused.

        Args:
            sender: Roster index of the other client.
            public_key: Its advertised sealing key, 32 raw bytes.
            sealed: Received bytes.
            frame: Step at which they were received.

        Raises:
            InvalidMessage: If the public key is of small order, or the bytes are not what that client sealed for this
                one in this session.
        """
        key = self._table.share(self._agree(sender, public_key, frame), sender, self._index)
        try:
            return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, self._bound(sender, self._index))
        except InvalidTag:
            raise frame.refusal("what the client sealed does not open", client=sender) from None

    def forget(self) -> None:
        """Drop all secrets; nothing more can be sealed or opened."""
        self._private_key = None
        self._agreed.clear()

    def _agree(self, client: int, public_key: bytes, frame: Frame) -> bytes:
        if self._private_key is None:
            raise ValueError("the secrets of this sealer were dropped")
        if public_key not in self._agreed:
            self._agreed[public_key] = agree(self._private_key, public_key, frame=frame, client=client)
        return self._agreed[public_key]

    def _bound(self, sender: int, receiver: int) -> bytes:
        return LABEL + self._table.session + _ENDS.pack(sender, receiver)
