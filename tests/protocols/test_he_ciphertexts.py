"""Ciphertexts: exact at their worst, checked before the library sees them, and opened only as sums."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from protocols import VectorSpec
from protocols.homomorphic.ciphertexts import Adder, KeyHolder, NotASum, context, seal
from protocols.homomorphic.coefficients import decode_coefficients, encode_coefficients
from protocols.homomorphic.exchange import raw_blocks, scratch_file
from protocols.homomorphic.keys import SessionKey, sample_ternary, transform
from protocols.homomorphic.parameters import Parameters, Scheme, choose, largest_bound, rings

KEY = SessionKey(b"k" * 16, bytes(32))
OTHER = SessionKey(b"o" * 16, bytes(32))
SCHEMES = list(Scheme)
SMALL, LARGE = rings()


@pytest.fixture
def chosen(make_plan):
    """Choose parameters and layout for one vector."""

    def choose_for(scheme, clients, bound=1):
        choice = choose(scheme, make_plan(clients, (VectorSpec("v", 9, bound),)))
        return choice.parameters, choice.layouts[0]

    return choose_for


def total_of(adder, ciphertexts):
    """Return the wire form of a sum."""
    first, *rest = ciphertexts
    total = adder.load(first)
    for ciphertext in rest:
        adder.add(total, ciphertext)
    return adder.sum_to_wire(total)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("clients", "bound", "ring"),
    [(3, 1, SMALL), (8, 1, SMALL), (64, 1, SMALL), (300, 1, SMALL), (8, 2**20, SMALL), (3, 0, LARGE), (64, 0, LARGE)],
)
def test_the_largest_inputs_sum_exactly(chosen, scheme, clients, bound, ring):
    """Every entry of every client at its bound, and at random: each word is right. Bound 0: the largest there is."""
    parameters, layout = chosen(scheme, clients, bound or largest_bound(scheme, clients))
    holder, adder = KeyHolder(parameters, KEY), Adder(parameters)
    degree = parameters.ring.degree
    largest = (layout.radix**layout.lanes - 1) // clients  # all lanes at the bound
    generator = np.random.default_rng(clients)
    mixed = [generator.choice(np.array([0, 1, largest], np.uint64), degree) for _ in range(clients)]
    full = [np.full(degree, largest, np.uint64)] * clients

    assert parameters.ring == ring
    for inputs in (full, mixed):
        opened = holder.open(total_of(adder, [holder.encrypt(words) for words in inputs]))
        assert opened.dtype == np.uint64
        np.testing.assert_array_equal(opened, sum(inputs))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_short_words_are_padded_with_zeros(chosen, scheme):
    """Words beyond those handed in are zero."""
    parameters, _ = chosen(scheme, 4)
    holder = KeyHolder(parameters, KEY)
    opened = holder.open(total_of(Adder(parameters), [holder.encrypt(np.array([5, 7, 9], np.uint64))]))

    assert opened.tolist() == [5, 7, 9] + [0] * 4093


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ciphertexts_have_one_size_and_never_repeat(chosen, scheme):
    """Whatever they hold; the same words twice give unrelated bytes, seed and coefficients."""
    parameters, _ = chosen(scheme, 64)
    holder = KeyHolder(parameters, KEY)
    words = [np.zeros(4096, np.uint64), np.zeros(4096, np.uint64), np.arange(4096, dtype=np.uint64)]
    made = [holder.encrypt(word) for word in words for _ in range(20)]

    assert {len(wire) for wire in made} == {parameters.ring.upload_bytes}
    assert len({wire[:64] for wire in made}) == len({wire[64:] for wire in made}) == len(made)


def inverse_transform(values, prime):
    """Undo `transform`, by evaluating at the inverse points; a check, so nothing shared but the order."""
    degree = len(values)
    powers = transform(np.eye(1, degree, 1, dtype=np.int8)[0], prime)  # x: the points themselves
    points = powers.astype(object)
    inverse = [pow(int(point), -1, prime) for point in points]
    terms = values.astype(object)
    scale = pow(degree, -1, prime)
    result = []
    for _ in range(degree):
        result.append(int(sum(terms.tolist())) * scale % prime)
        terms = terms * inverse % prime
    return [value - prime if value > prime // 2 else value for value in result]


def test_the_noise_is_as_small_as_the_bounds_assume(chosen):
    """Of an encryption of zero, worked out in integers with our own key: at most 21 a coefficient, variance 10.5."""
    parameters, _ = chosen(Scheme.CKKS, 8)
    prime = SMALL.data_primes[0]
    holder, adder = KeyHolder(parameters, KEY), Adder(parameters)
    secret = transform(sample_ternary(KEY.stream_key, 4096), prime).astype(object)
    wire = total_of(adder, [holder.encrypt(np.zeros(1, np.uint64))])
    first, second = decode_coefficients(wire, (prime,), 4096).reshape(2, 4096).astype(object)
    noise = np.array(inverse_transform((first + second * secret) % prime, prime))

    assert np.abs(noise).max() <= 21
    assert 9.5 < noise.var() < 11.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bound", [1, 2**42])
def test_the_key_is_the_librarys(chosen, scheme, bound):
    """What the library encrypts under our key with fresh randomness opens under it, and under no other."""
    parameters, _ = chosen(scheme, 8, bound)
    words = np.arange(100, dtype=np.uint64)
    wire = total_of(Adder(parameters), [KeyHolder(parameters, KEY).encrypt(words)])

    assert KeyHolder(parameters, KEY).open(wire)[:100].tolist() == words.tolist()
    with pytest.raises(NotASum):
        KeyHolder(parameters, OTHER).open(wire)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_sum_over_clients_with_different_keys_does_not_open(chosen, scheme):
    """One ciphertext under another key spoils the sum, and it is noticed."""
    parameters, _ = chosen(scheme, 8)
    words = np.arange(4096, dtype=np.uint64)
    mixed = [KeyHolder(parameters, key).encrypt(words) for key in (KEY, KEY, OTHER)]
    with pytest.raises(NotASum):
        KeyHolder(parameters, KEY).open(total_of(Adder(parameters), mixed))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_sums_do_not_open(chosen, scheme):
    """Coefficients out of the air are a ciphertext, but not one that decrypts to a sum."""
    parameters, _ = chosen(scheme, 8)
    prime = SMALL.data_primes[0]
    holder = KeyHolder(parameters, KEY)
    generator = np.random.default_rng(0)
    for _ in range(20):
        with pytest.raises(NotASum) as caught:
            holder.open(encode_coefficients(generator.integers(0, prime, 8192, dtype=np.uint64)))
        assert str(caught.value) == ""


@pytest.mark.parametrize(("off", "opens"), [(0.2, True), (0.3, False), (0.5, False), (-0.7, False)])
def test_ckks_refuses_what_is_far_from_an_integer(chosen, off, opens):
    """One part of one slot, more than a quarter away, refuses the whole ciphertext."""
    parameters, _ = chosen(Scheme.CKKS, 8)
    wide = Parameters(Scheme.CKKS, parameters.ring, 0, 2**20)  # less noise than the margin, so that `off` decides
    holder, adder = KeyHolder(wide, KEY), Adder(wide)
    slots = np.full(2048, 3 + 4j)
    slots[77] += 1j * off
    plain, secret = seal.Plaintext(), context(wide).secret_key(KEY)
    seal.CKKSEncoder(context(wide).library).encode(slots.tolist(), 2.0**20, plain)
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    with file:
        seal.Encryptor(context(wide).library, secret).encrypt_symmetric(plain).save(file.name)
        wire = total_of(adder, [context(wide).fresh_to_wire(Path(file.name).read_bytes())])
    if opens:
        assert holder.open(wire).tolist() == [3] * 2048 + [4] * 2048
    else:
        with pytest.raises(NotASum):
            holder.open(wire)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ckks_and_bfv_refuse_negative_and_spent(chosen, scheme):
    """A difference instead of a sum: negative integers in `ckks`; in `bfv` scaling until no budget is left."""
    parameters, _ = chosen(scheme, 8)
    holder, adder = KeyHolder(parameters, KEY), Adder(parameters)
    evaluator = seal.Evaluator(context(parameters).library)
    total = adder.load(holder.encrypt(np.ones(4096, np.uint64)))
    if scheme is Scheme.CKKS:
        evaluator.negate_inplace(total)
    else:
        for _ in range(8):
            evaluator.add_inplace(total, total)
    with pytest.raises(NotASum):
        holder.open(adder.sum_to_wire(total))


def test_ckks_refuses_a_word_below_its_own_bound(chosen):
    """Words of several vectors lie in one ciphertext; how far below zero one may be says nothing of the next."""
    parameters, _ = chosen(Scheme.CKKS, 8)
    holder, adder = KeyHolder(parameters, KEY), Adder(parameters)
    wire = adder.sum_to_wire(adder.load(holder.encrypt(np.array([5, -3, 0], np.int64).view(np.uint64))))
    shift = np.zeros(4096, np.uint64)
    shift[0] = shift[2] = 100
    with pytest.raises(NotASum):
        holder.open(wire, shift=shift)
    shift[1] = 3

    assert holder.open(wire, shift=shift)[:3].view(np.int64).tolist() == [5, -3, 0]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_bytes_crash_the_adder(chosen, scheme, count):
    """Cut, lengthened, flipped, spliced and random ciphertexts are refused by ValueError or are ciphertexts."""
    parameters, _ = chosen(scheme, 8)
    holder, adder = KeyHolder(parameters, KEY), Adder(parameters)
    source = random.Random(7)
    good = [holder.encrypt(np.arange(4096, dtype=np.uint64)) for _ in range(3)]
    total, refused = adder.load(good[0]), 0
    for number in range(count):
        data = bytearray(source.choice(good))
        kind = number % 6
        if kind == 0:
            for _ in range(source.randrange(1, 9)):
                data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        elif kind == 1:
            del data[source.randrange(len(data)) :]
        elif kind == 2:
            data += source.randbytes(source.randrange(1, 50_000))
        elif kind == 3:
            data[source.randrange(len(data)) :] = source.choice(good)[source.randrange(len(data)) :]
        elif kind == 4:
            data = bytearray(source.randbytes(len(data)))
        else:
            data = bytearray(source.choice([0, 255]).to_bytes(1, "little") * source.choice([0, 64, len(data)]))
        try:
            adder.check(bytes(data))
        except ValueError:
            refused += 1
            with pytest.raises(ValueError, match=r"a ciphertext of|a coefficient is not"):
                adder.add(total, bytes(data))
        else:
            adder.add(total, bytes(data))

    assert refused > count // 3
    assert len(adder.sum_to_wire(total)) == parameters.ring.sum_bytes


@pytest.mark.parametrize("content", ["zeros", "largest"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_degenerate_coefficients_are_added_like_others(chosen, scheme, content):
    """The least random ciphertexts that pass do not upset the library; run apart, since a crash would take us along."""
    code = f"""
import numpy as np
from protocols.homomorphic.ciphertexts import Adder, KeyHolder, NotASum
from protocols.homomorphic.coefficients import encode_coefficients
from protocols.homomorphic.keys import SessionKey
from protocols.homomorphic.parameters import Parameters, Scheme, plain_modulus, rings
ring, scheme = rings()[0], Scheme({scheme.value!r})
parameters = Parameters(scheme, ring, plain_modulus(ring, 2**40) if scheme is Scheme.BFV else 0, 2**15)
value = 0 if {content!r} == "zeros" else ring.data_primes[0] - 1
first = encode_coefficients(np.full(4096, value, np.uint64))
adder = Adder(parameters)
total = adder.load(bytes(64) + first)
for seed in (bytes(64), b"\\xff" * 64):
    adder.add(total, seed + first)
wire = adder.sum_to_wire(total)
held = total.dyn_array()
print(wire == encode_coefficients(np.array([held[i] for i in range(8192)], np.uint64)))
holder = KeyHolder(parameters, SessionKey(bytes(16), bytes(32)))
both = encode_coefficients(np.full(8192, value, np.uint64))
for content in (wire, both):
    try:
        holder.open(content)
    except NotASum:
        print("refused")
    else:
        print("opened")
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split()[:2] == ["True", "refused"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sums_of_another_length_are_refused(chosen, scheme):
    """Before anything is decrypted."""
    parameters, _ = chosen(scheme, 8)
    holder = KeyHolder(parameters, KEY)
    for length in (0, 1, 61439, 61441, 2 * 61440):
        with pytest.raises(ValueError, match=f"a summed ciphertext of {length} bytes must have 61440"):
            holder.check_sum(bytes(length))
    with pytest.raises(ValueError, match="a coefficient is not below its prime"):
        holder.check_sum(b"\xff" * 61440)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_files_in_memory_a_private_folder_is_used_and_left_empty(chosen, scheme, monkeypatch, tmp_path):
    """The same result; the folder is the user's alone, what was in it is overwritten, and nothing remains."""
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    modes, opened, left = [], set(), []
    true_open, true_close = os.open, os.close

    def watched_open(path, *args, **kwargs):
        descriptor = true_open(path, *args, **kwargs)
        if str(path).endswith("exchange"):
            modes.append(stat.S_IMODE(Path(path).parent.stat().st_mode))
            opened.add(descriptor)
        return descriptor

    def watched_close(descriptor):
        if descriptor in opened:
            opened.remove(descriptor)
            left.append(os.pread(descriptor, 10**6, 0))
        true_close(descriptor)

    monkeypatch.setattr(os, "open", watched_open)
    monkeypatch.setattr(os, "close", watched_close)
    parameters, _ = chosen(scheme, 8)
    holder = KeyHolder(parameters, KEY)
    wire = total_of(Adder(parameters), [holder.encrypt(np.arange(9, dtype=np.uint64))])

    assert holder.open(wire)[:9].tolist() == list(range(9))
    assert set(modes) == {0o700}
    assert len(left) == len(modes) > 2
    assert not any(map(any, left))
    assert list(tmp_path.iterdir()) == []


def test_forms_that_are_not_known_are_refused(chosen):
    """A build that compresses otherwise, or writes another structure, is named instead of guessed at."""
    parameters, _ = chosen(Scheme.BFV, 8)
    made = context(parameters)
    known = made.fresh_for_library(bytes(64), np.arange(4096, dtype=np.uint64))
    other = bytearray(known)
    other[16] ^= 1  # another set of parameters
    generator = bytearray(known)
    generator[-65] ^= 3  # another expansion of seeds
    deflated = bytearray(known[:5] + b"\1" + known[6:16] + zlib.compress(known[16:]))

    assert made.fresh_to_wire(known) == bytes(64) + encode_coefficients(np.arange(4096, dtype=np.uint64))
    with pytest.raises(RuntimeError, match="writes ciphertexts in another form"):
        made.fresh_to_wire(bytes(other))
    with pytest.raises(RuntimeError, match="writes ciphertexts in another form"):
        made.fresh_to_wire(bytes(generator))
    with pytest.raises(RuntimeError, match="writes ciphertexts in another form"):
        made.fresh_to_wire(known + b"\0")
    with pytest.raises(RuntimeError, match="compresses ciphertexts"):
        made.fresh_to_wire(bytes(deflated))


def test_sums_are_read_as_the_library_holds_them(chosen):
    """All at once where the library could not compress them; other forms are named."""
    parameters, _ = chosen(Scheme.CKKS, 8)
    made, adder = context(parameters), Adder(parameters)
    holder = KeyHolder(parameters, SessionKey(b"k" * 16, bytes(32)))
    first, second = (holder.encrypt(np.arange(40, dtype=np.uint64)) for _ in range(2))
    total = adder.load(first)
    adder.add(total, second)
    held = total.dyn_array()
    count = 2 * parameters.ring.degree * len(parameters.ring.data_primes)
    one_by_one = np.fromiter((held[i] for i in range(count)), np.uint64, count)

    assert adder.sum_to_wire(total) == encode_coefficients(one_by_one)
    with scratch_file() as file:
        total.save(file.path)
        assert made.sum_to_wire(file.read()) == encode_coefficients(one_by_one)  # and not one by one
    assert made.sum_to_wire(made.sum_for_library(one_by_one)) == encode_coefficients(one_by_one)
    with pytest.raises(RuntimeError, match="writes ciphertexts in another form"):
        made.sum_to_wire(made.sum_for_library(one_by_one[:-2]))
    with pytest.raises(RuntimeError, match="writes ciphertexts in another form"):
        made.sum_to_wire(made.sum_for_library(one_by_one) + bytes(8))


def test_only_raw_blocks_are_read():
    """A frame as in RFC 8878: magic, descriptor, content size, blocks; kinds other than raw are refused."""
    magic = bytes.fromhex("28b52ffd")
    assert raw_blocks(magic + b"\x20\x03" + b"\x19\0\0abc") == b"abc"
    assert raw_blocks(magic + b"\x60\0\0" + b"\x18\0\0abc" + b"\x11\0\0de") == b"abcde"
    assert raw_blocks(magic + b"\xa0\0\0\0\0" + b"\x19\0\0abc") == b"abc"
    assert raw_blocks(magic + b"\x00\x58" + b"\x19\0\0abc") == b"abc"
    for kind in (b"\x1b\0\0a", b"\x1d\0\0abc"):
        with pytest.raises(RuntimeError, match="this build of TenSEAL compresses ciphertexts"):
            raw_blocks(magic + b"\x20\x03" + kind)


def test_parameters_that_the_library_thinks_unsafe_are_refused():
    """Its own table stands behind ours."""
    ring = type(SMALL)(4096, LARGE.data_primes, ())
    with pytest.raises(RuntimeError, match="the library refuses"):
        context(Parameters(Scheme.CKKS, ring, 0, 2**16))


def test_a_missing_library_is_named():
    """Without TenSEAL the protocols are listed and checked; a role says what to install."""
    code = """
import sys
sys.modules["tenseal"] = None
from protocols import PROTOCOLS, Roster, SessionPlan, VectorSpec
plan = SessionPlan(bytes(32), 0, Roster(tuple(bytes([i]) * 32 for i in (2, 3, 4, 5))), (VectorSpec("v", 9, 1),), 3, 3)
PROTOCOLS["bfv"].check(plan)
PROTOCOLS["ckks"].layout(plan, plan.vectors[0])
try:
    PROTOCOLS["bfv"].server(plan)
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "the protocols 'bfv' and 'ckks' need TenSEAL: pip install 'tenseal>=0.3.16'"


def test_no_repr_holds_a_key(chosen):
    """Nothing that holds the secret prints it."""
    holder = KeyHolder(chosen(Scheme.BFV, 8)[0], KEY)
    shown = repr(holder) + repr(vars(holder)) + repr(KEY)

    assert "kkk" not in shown
    assert KEY.stream_key.hex() not in shown
