"""Parameters under which a homomorphic sum is both secure and exact, chosen from public counts alone.

Security. A ternary secret and centred binomial noise of standard deviation 3.24 over Z[X]/(X^N + 1) give 128 bits
against classical attacks if the whole modulus has at most the bits of the table of the HomomorphicEncryption.org
standard (Albrecht et al. 2018, Table 1): 109 at N = 4096, 218 at N = 8192. Candidates are one prime of 60 bits at
N = 4096, and two at N = 8192 (beside a third that the library reserves for keys that we do not make, and that counts
too).

Exactness. SEAL's noise is a difference of two sums of 21 bits: at most 21 and of variance 10.5 a coefficient. With n
summands, modulus q and words below C = radix**lanes:

* `bfv`, a word a slot, modulo the plaintext modulus t >= C: encoding rounds each coefficient by at most 1/2, so sums
  are right for certain if n * 21.5 < q / (2 t). Beyond that, ten standard deviations of the noise stay below q / (4 t),
  so that a sum made as agreed keeps a bit of noise budget (but for a chance of 2**-75 a coefficient) and a key holder
  may refuse whatever has none. t is the smallest prime = 1 mod 2 N above the largest word. (The library's own choice of
  a prime of so many bits is the largest one, which breaks the bound where the smallest does not.)
* `ckks`, two words a slot (real and imaginary part): the modulus of a slot's error has standard deviation
  sqrt(N n (10.5 + 1/12)) / scale, the twelfth from rounding when encoded; eight of those, eleven of either part, and
  C * 2**-50 for the double-precision transforms must stay below 1/4. A coefficient reaches sqrt(2) * C * scale when
  both parts of all slots are largest, and with the noise must stay below q / 2. C is at most 2**47.

Signed words are taken modulo t by `bfv` and as they are by `ckks`; their sums span radix**lanes values too, so the same
bounds hold for them.

One set of parameters serves all vectors of a session: the one with the fewest ciphertext bits an entry, summed over
vectors. Knows no encryption library.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from protocols.homomorphic.run_of_words import RunOfWords
from protocols.packing import Layout
from protocols.session import SessionPlan, VectorSpec

PRIME_BITS = 60
SECURITY_BITS = {4096: 109, 8192: 218}  # N: largest bits of the whole modulus
CANDIDATES = ((4096, 1, 0), (8192, 2, 1))  # N, primes that carry data, reserved primes
LARGEST_NOISE = 21
NOISE_VARIANCE = 10.5
LARGEST_PLAIN_MODULUS = 2**59  # the library needs it coprime to q, so below all primes of 60 bits
LARGEST_CKKS_WORD = 2**47
SEED_BYTES = 64


class Scheme(enum.Enum):
    """The two schemes, by the names of their protocols."""

    BFV = "bfv"
    CKKS = "ckks"


@dataclass(frozen=True, slots=True)
class Ring:
    """A candidate: the ring and the primes of its modulus.

    Attributes:
        degree: N, a power of two.
        data_primes: Primes whose product q is the modulus of ciphertexts.
        reserved_primes: Primes that belong to the key's modulus only.
    """

    degree: int
    data_primes: tuple[int, ...]
    reserved_primes: tuple[int, ...]

    @property
    def modulus(self) -> int:
        """The ciphertext modulus q."""
        return math.prod(self.data_primes)

    @property
    def upload_bytes(self) -> int:
        """Bytes of a fresh ciphertext: a seed and one polynomial."""
        return SEED_BYTES + self.sum_bytes // 2

    @property
    def sum_bytes(self) -> int:
        """Bytes of a summed ciphertext: two polynomials, 60 bits a coefficient and prime."""
        return 2 * self.degree * len(self.data_primes) * PRIME_BITS // 8


@dataclass(frozen=True, slots=True)
class Parameters:
    """All that ciphertexts of a session have in common.

    Attributes:
        scheme: `bfv` or `ckks`.
        ring: Degree and primes; a ciphertext holds `ring.degree` words.
        plain_modulus: t of `bfv`, 0 in `ckks`.
        scale: Scale of `ckks`, 0 in `bfv`.
    """

    scheme: Scheme
    ring: Ring
    plain_modulus: int
    scale: int


@lru_cache(maxsize=1)
def rings() -> tuple[Ring, ...]:
    """Return the candidates: the largest primes of 60 bits that are 1 mod 2 N, all within the table."""
    made = []
    for degree, data, reserved in CANDIDATES:
        candidates = primes_one_modulo(2 * degree, start=2**PRIME_BITS - 1, step=-1)
        primes = tuple(next(candidates) for _ in range(data + reserved))
        if sum(prime.bit_length() for prime in primes) > SECURITY_BITS[degree]:
            raise AssertionError(f"degree={degree} is not secure with {len(primes)} primes")
        made.append(Ring(degree, primes[:data], primes[data:]))
    return tuple(made)


def is_exact(scheme: Scheme, ring: Ring, clients: int, largest_sum: int) -> bool:
    """Return whether sums of words over these clients, each at most `largest_sum`, come out exactly."""
    if scheme is Scheme.BFV:
        modulus = plain_modulus(ring, largest_sum)
        bound = 2 * LARGEST_NOISE + 1  # twice 21.5
        deviations = 10 * math.sqrt(clients * (NOISE_VARIANCE + 1 / 12))
        return (
            modulus < LARGEST_PLAIN_MODULUS
            and clients * bound * modulus < ring.modulus
            and 4 * math.ceil(deviations) * modulus < ring.modulus
        )
    if largest_sum >= LARGEST_CKKS_WORD:
        return False
    coefficient = math.isqrt(2 * (largest_sum * ckks_scale(ring, clients, largest_sum)) ** 2) + 1
    return 2 * (coefficient + clients * (LARGEST_NOISE + 1)) < ring.modulus


@lru_cache(maxsize=1024)
def plain_modulus(ring: Ring, largest_sum: int) -> int:
    """Return the smallest prime = 1 mod 2 N above `largest_sum`."""
    return next(primes_one_modulo(2 * ring.degree, start=largest_sum + 1, step=1))


def ckks_scale(ring: Ring, clients: int, largest_sum: int) -> int:
    """Return the smallest scale at which eight deviations of the error stay below a quarter."""
    deviation = math.sqrt(ring.degree * clients * (NOISE_VARIANCE + 1 / 12))
    return math.ceil(8 * deviation / (0.25 - largest_sum * 2.0**-50))


def densest_layout(scheme: Scheme, ring: Ring, clients: int, shape: Shape) -> Layout | None:
    """Return the layout with most lanes that is exact, or None if not even one lane is."""
    reach = clients * shape.bound + shape.headroom
    radix = 2 * reach + 1 if shape.signed else reach + 1
    lanes = 0
    while radix ** (lanes + 1) <= LARGEST_PLAIN_MODULUS and is_exact(scheme, ring, clients, radix ** (lanes + 1) - 1):
        lanes += 1
    return Layout(radix, lanes, reach if shape.signed else 0) if lanes else None


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a vector decides its layout; attributes as those of `protocols.session.VectorSpec`."""

    length: int
    bound: int
    signed: bool = False
    headroom: int = 0

    @classmethod
    def of(cls, vector: VectorSpec) -> Shape:
        """Return the shape of a vector."""
        return cls(vector.length, vector.bound, vector.signed, vector.headroom)


@dataclass(frozen=True, slots=True)
class Choice:
    """Parameters and the layout of each vector of a plan, in its order."""

    parameters: Parameters
    layouts: tuple[Layout, ...]

    def run(self, plan: SessionPlan) -> RunOfWords:
        """Return how the words of the plan's vectors fill ciphertexts."""
        return RunOfWords.of(plan, self.layouts, self.parameters.ring.degree)


def choose(scheme: Scheme, plan: SessionPlan) -> Choice:
    """Return the parameters of a session.

    Args:
        scheme: `bfv` or `ckks`.
        plan: Its roster's size and vectors decide.

    Raises:
        ValueError: If no candidate is exact for a vector, naming it, the largest bound that is, and what would do.
    """
    shapes = tuple(map(Shape.of, plan.vectors))
    choice = _choose(scheme, len(plan.roster), shapes)
    if choice is None:
        worst = max(plan.vectors, key=lambda vector: vector.reach(len(plan.roster)))
        largest = largest_bound(scheme, len(plan.roster), signed=worst.signed, headroom=worst.headroom)
        raise ValueError(
            f"bound={worst.bound} of {worst.name!r} must be at most {largest}: beyond that no parameters of "
            f"{scheme.value} sum {len(plan.roster)} clients exactly; a smaller bound, fewer clients or the protocol "
            "'additive' would do"
        )
    return choice


@lru_cache(maxsize=256)
def _choose(scheme: Scheme, clients: int, shapes: tuple[Shape, ...]) -> Choice | None:
    best: tuple[int, Choice] | None = None
    for ring in rings():
        found = [densest_layout(scheme, ring, clients, shape) for shape in shapes]
        layouts = tuple(layout for layout in found if layout is not None)
        if len(layouts) < len(found):
            continue
        parameters = _parameters(scheme, ring, clients, max(layout.radix**layout.lanes for layout in layouts) - 1)
        words = sum(layout.words(shape.length) for layout, shape in zip(layouts, shapes, strict=True))
        upload = -(-words // ring.degree) * ring.upload_bytes
        if best is None or upload < best[0]:
            best = (upload, Choice(parameters, layouts))
    return None if best is None else best[1]


def _parameters(scheme: Scheme, ring: Ring, clients: int, largest_sum: int) -> Parameters:
    if scheme is Scheme.BFV:
        return Parameters(scheme, ring, plain_modulus(ring, largest_sum), 0)
    return Parameters(scheme, ring, 0, ckks_scale(ring, clients, largest_sum))


def largest_bound(scheme: Scheme, clients: int, *, signed: bool = False, headroom: int = 0) -> int:
    """Return the largest bound whose sum over these clients is exact under some candidate; 0 if none is."""
    low, high = 0, LARGEST_PLAIN_MODULUS  # the bound is at least low, below high
    while high - low > 1:
        middle = (low + high) // 2
        shape = Shape(1, middle, signed, headroom)
        if any(densest_layout(scheme, ring, clients, shape) is not None for ring in rings()):
            low = middle
        else:
            high = middle
    return low


def primes_one_modulo(modulus: int, *, start: int, step: int) -> Iterator[int]:
    """Yield the primes = 1 mod `modulus` from `start` on, upwards (step 1) or downwards (step -1), below 2**64."""
    candidate = start - (start - 1) % modulus
    if step > 0 and candidate < start:
        candidate += modulus
    while candidate > 1:
        if is_prime(candidate):
            yield candidate
        candidate += step * modulus


def is_prime(number: int) -> bool:
    """Return whether a number below 2**64 is prime: Miller-Rabin on the first twelve primes, which is proven enough."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if number < 2 or any(number % base == 0 for base in bases):
        return number in bases
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(number, pow(base, odd, number), twos) for base in bases)


def _passes(number: int, power: int, twos: int) -> bool:
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
