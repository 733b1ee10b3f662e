"""Keys, encryption, sums and decryption: the only file that touches the encryption library, `tenseal.sealapi`.

Fresh ciphertexts are symmetric and seeded (half the size of others), under one key that all clients hold. How bytes
pass to and from the library is in `protocols.homomorphic.exchange`.

The library's parser never sees a structure that another party chose: what travels are bare coefficients, checked in
`protocols.homomorphic.coefficients`, and the structure around them is made here. Nothing that comes in is decompressed;
what the library writes is taken apart only where nothing could be compressed, as in ciphertexts modulo primes of 60
bits.

Objects here are used by one thread at a time, but for contexts, which threads share. The library's functions hold the
interpreter's lock; for several cores see `protocols.homomorphic.workers`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np

from protocols.homomorphic.coefficients import Coefficients, decode_coefficients, encode_coefficients
from protocols.homomorphic.exchange import Compressed, raw_blocks, scratch_file
from protocols.homomorphic.keys import SessionKey, sample_ternary, transform
from protocols.homomorphic.parameters import SEED_BYTES, Parameters, Scheme
from protocols.packing import Words

try:
    import tenseal.sealapi as seal
except ImportError as error:
    raise ImportError("the protocols 'bfv' and 'ckks' need TenSEAL: pip install 'tenseal>=0.3.16'") from error

_HEADER = struct.Struct("<HBBBBHQ")  # magic, header bytes, major and minor version, compression, reserved, whole size
_MAGIC = 0xA15E
_UNCOMPRESSED, _ZSTD = 0, 2
_GENERATOR = b"\x01"  # Blake2xb, which expands seeds
_REFUSALS = (ValueError, RuntimeError, IndexError)  # how the library's C++ exceptions arrive


class NotASum(Exception):
    """A ciphertext does not decrypt to what an honest sum would. Says nothing more: how it fails is a secret."""


class Context:
    """Parameters as the library knows them, and its serialised forms. Holds no secret."""

    def __init__(self, parameters: Parameters) -> None:
        """Set up the library; it checks the security table once more."""
        self.parameters = parameters
        ring = parameters.ring
        bfv = parameters.scheme is Scheme.BFV
        chosen = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV if bfv else seal.SCHEME_TYPE.CKKS)
        chosen.set_poly_modulus_degree(ring.degree)
        chosen.set_coeff_modulus([seal.Modulus(prime) for prime in ring.data_primes + ring.reserved_primes])
        if bfv:
            chosen.set_plain_modulus(seal.Modulus(parameters.plain_modulus))
        self.library: Any = seal.SEALContext(chosen, True, seal.SEC_LEVEL_TYPE.TC128)
        if not self.library.parameters_set():
            raise RuntimeError(f"the library refuses {parameters}: {self.library.parameters_error_message()}")
        with scratch_file() as file:
            chosen.save(file.path)
            _, _, self._major, self._minor, *_ = _HEADER.unpack_from(file.read())
        data = len(ring.data_primes)
        scale = 1.0 if bfv else float(parameters.scale)
        shape = struct.pack("<BQQQdQ", 0 if bfv else 1, 2, ring.degree, data, scale, 1)
        self._shape = struct.pack("<4Q", *self.library.first_parms_id()) + shape
        self._first = self._array_header(data * ring.degree)
        self._seed_header = self._header(_HEADER.size + 1 + SEED_BYTES) + _GENERATOR

    def _header(self, size: int) -> bytes:
        return _HEADER.pack(_MAGIC, _HEADER.size, self._major, self._minor, _UNCOMPRESSED, 0, size)

    def _array_header(self, count: int) -> bytes:
        return self._header(_HEADER.size + 8 + 8 * count) + struct.pack("<Q", count)

    def _whole(self, *parts: bytes) -> bytes:
        return self._header(_HEADER.size + sum(map(len, parts))) + b"".join(parts)

    def secret_key(self, key: SessionKey) -> Any:
        """Return the library's form of the session's secret key."""
        ring = self.parameters.ring
        ternary = sample_ternary(key.stream_key, ring.degree)
        values = np.concatenate([transform(ternary, prime) for prime in ring.data_primes + ring.reserved_primes])
        shape = struct.pack("<4Q", *self.library.key_parms_id()) + struct.pack("<Qd", len(values), 1.0)
        secret = seal.SecretKey()
        with scratch_file() as file:
            file.write(self._whole(shape, self._array_header(len(values)), values.astype("<u8").tobytes()))
            secret.load(self.library, file.path)
        return secret

    def fresh_to_wire(self, serialised: bytes) -> bytes:
        """Return the wire form of a fresh ciphertext that the library has just written.

        Raises:
            RuntimeError: If it is not in the form that this file knows.
        """
        content = _content(serialised)
        seed = content[-SEED_BYTES:]
        return seed + self._coefficients_between(self._shape + self._first, content, self._seed_header + seed, 1)

    def sum_to_wire(self, serialised: bytes) -> bytes:
        """Return the wire form of a sum that the library has just written.

        Raises:
            Compressed: If its coefficients were not random: those of hostile clients need not be.
            RuntimeError: As `fresh_to_wire`.
        """
        ring = self.parameters.ring
        before = self._shape + self._array_header(2 * len(ring.data_primes) * ring.degree)
        return self._coefficients_between(before, _content(serialised), b"", 2)

    def _coefficients_between(self, before: bytes, content: bytes, after: bytes, polynomials: int) -> bytes:
        """Return the wire form of the coefficients that stand between two known parts.

        Raises:
            RuntimeError: If other parts stand there, or another number of coefficients.
        """
        count = polynomials * self.parameters.ring.degree * len(self.parameters.ring.data_primes)
        if len(content) != len(before) + 8 * count + len(after) or not (
            content.startswith(before) and content.endswith(after)
        ):
            raise RuntimeError("this build of TenSEAL writes ciphertexts in another form; install tenseal 0.3.18")
        coefficients = np.frombuffer(content, "<u8", count, len(before)).astype(np.uint64, copy=False)
        return encode_coefficients(coefficients)

    def fresh_for_library(self, seed: bytes, first: Coefficients) -> bytes:
        """Return a fresh ciphertext in the library's form."""
        content = first.astype("<u8", copy=False).tobytes()
        return self._whole(self._shape, self._first, content, self._seed_header, seed)

    def sum_for_library(self, both: Coefficients) -> bytes:
        """Return a summed ciphertext in the library's form."""
        return self._whole(self._shape, self._array_header(len(both)), both.astype("<u8", copy=False).tobytes())

    def load(self, serialised: bytes) -> Any:
        """Return the library's ciphertext.

        Raises:
            ValueError: If the library refuses it.
        """
        ciphertext = seal.Ciphertext()
        with scratch_file() as file:
            file.write(serialised)
            try:
                ciphertext.load(self.library, file.path)
            except _REFUSALS as error:
                raise ValueError(f"the encryption library refuses the ciphertext: {error}") from None
        return ciphertext


def _content(serialised: bytes) -> bytes:
    """Return what the library has just written, without its header.

    Raises:
        Compressed: If it is.
    """
    *_, compression, _, _ = _HEADER.unpack_from(serialised)
    content = serialised[_HEADER.size :]
    if compression == _ZSTD:
        return raw_blocks(content)
    if compression != _UNCOMPRESSED:
        raise Compressed
    return content


@lru_cache(maxsize=8)
def context(parameters: Parameters) -> Context:
    """Return the context of these parameters, made once: clients of a simulation share it."""
    return Context(parameters)


class Adder:
    """Adds ciphertexts without a key."""

    def __init__(self, parameters: Parameters) -> None:
        """Start with these parameters."""
        self._parameters = parameters
        self._context = context(parameters)
        self._evaluator = seal.Evaluator(self._context.library)

    def check(self, wire: bytes) -> None:
        """Refuse bytes that are no fresh ciphertext.

        Raises:
            ValueError: If the length is wrong or a coefficient is not below its prime.
        """
        self._split(wire)

    def _split(self, wire: bytes) -> tuple[bytes, Coefficients]:
        ring = self._parameters.ring
        if len(wire) != ring.upload_bytes:
            raise ValueError(f"a ciphertext of {len(wire)} bytes must have {ring.upload_bytes}")
        return wire[:SEED_BYTES], decode_coefficients(wire[SEED_BYTES:], ring.data_primes, ring.degree)

    def load(self, wire: bytes) -> Any:
        """Return a fresh ciphertext to begin a sum with.

        Raises:
            ValueError: As `check`, or if the library refuses it.
        """
        return self._context.load(self._context.fresh_for_library(*self._split(wire)))

    def add(self, total: Any, wire: bytes) -> None:
        """Add a fresh ciphertext to a sum in place.

        Raises:
            ValueError: As `load`.
        """
        self._evaluator.add_inplace(total, self.load(wire))

    def sum_to_wire(self, total: Any) -> bytes:
        """Return the wire form of a sum."""
        with scratch_file() as file:
            total.save(file.path)
            try:
                return self._context.sum_to_wire(file.read())
            except Compressed:
                pass
        values = total.dyn_array()  # one by one, ten times as long
        count = 2 * self._parameters.ring.degree * len(self._parameters.ring.data_primes)
        return encode_coefficients(np.fromiter((values[i] for i in range(count)), np.uint64, count))


class KeyHolder:
    """Encrypts words, and opens sums, under the session's key. Holds the secret key."""

    def __init__(self, parameters: Parameters, key: SessionKey) -> None:
        """Draw the secret key from the session's stream."""
        self._parameters = parameters
        self._context = context(parameters)
        secret = self._context.secret_key(key)
        library = self._context.library
        self._encryptor = seal.Encryptor(library, secret)
        self._decryptor = seal.Decryptor(library, secret)
        bfv = parameters.scheme is Scheme.BFV
        self._encoder = seal.BatchEncoder(library) if bfv else seal.CKKSEncoder(library)

    def encrypt(self, words: Words) -> bytes:
        """Return the wire form of a fresh ciphertext.

        Args:
            words: uint64 (count,), at most N of them, signed modulo 2**64; the rest are zero.
        """
        plain = seal.Plaintext()
        signed = words.view(np.int64)  # below 2**59 in absolute value, by the layout
        if self._parameters.scheme is Scheme.BFV:
            self._encoder.encode((signed % self._parameters.plain_modulus).tolist(), plain)
        else:
            half = self._parameters.ring.degree // 2
            slots = np.zeros(half, np.complex128)
            slots.real[: len(words)] = signed[:half]
            slots.imag[: max(len(words) - half, 0)] = signed[half:]
            self._encoder.encode(slots.tolist(), float(self._parameters.scale), plain)
        with scratch_file() as file:
            self._encryptor.encrypt_symmetric(plain).save(file.path)
            return self._context.fresh_to_wire(file.read())

    def check_sum(self, wire: bytes) -> None:
        """Refuse bytes that are no summed ciphertext, which needs no key.

        Raises:
            ValueError: If the length is wrong or a coefficient is not below its prime.
        """
        self._coefficients(wire)

    def _coefficients(self, wire: bytes) -> Coefficients:
        ring = self._parameters.ring
        if len(wire) != ring.sum_bytes:
            raise ValueError(f"a summed ciphertext of {len(wire)} bytes must have {ring.sum_bytes}")
        return decode_coefficients(wire, ring.data_primes, ring.degree)

    def open(self, wire: bytes, *, shift: Words | int = 0) -> Words:
        """Return the words of a sum, uint64 (N,), signed modulo 2**64.

        Args:
            wire: A summed ciphertext.
            shift: How far below zero each word may be, `Layout.shift`: of all, or uint64 (N,).

        Raises:
            NotASum: If there is no noise budget left, a part is more than 1/4 from an integer or too low, or
                the library refuses.
        """
        try:
            total = self._context.load(self._context.sum_for_library(self._coefficients(wire)))
        except _REFUSALS:
            raise NotASum from None
        return self.open_loaded(total, shift=shift)

    def open_loaded(self, total: Any, *, shift: Words | int = 0) -> Words:
        """Return the words of a ciphertext of the library, as `open`.

        Raises:
            NotASum: As `open`.
        """
        plain = seal.Plaintext()
        try:
            self._decryptor.decrypt(total, plain)
            if self._parameters.scheme is Scheme.CKKS:
                slots = np.fromiter(self._encoder.decode_complex(plain), np.complex128)  # faster than from a list
                return _nearest_words(slots, shift)
            if self._decryptor.invariant_noise_budget(total) < 1:
                raise NotASum
            residues = np.array(self._encoder.decode_uint64(plain), np.uint64)
            lift = np.uint64(shift)
            return (residues + lift) % np.uint64(self._parameters.plain_modulus) - lift
        except _REFUSALS:
            raise NotASum from None


def _nearest_words(slots: Any, shift: Words | int) -> Words:
    parts = np.concatenate([slots.real, slots.imag])
    nearest = np.rint(parts)
    if not (np.abs(parts - nearest) <= 0.25).all() or (nearest < -np.float64(shift)).any() or nearest.max() >= 2.0**53:
        raise NotASum
    return nearest.astype(np.int64).view(np.uint64)
