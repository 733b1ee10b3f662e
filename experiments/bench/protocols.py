"""Every protocol side by side on the same votes, with the field's two reference points and the two limits, in one run.

20 million votes a client. Our protocols run whole sessions through their roles, every byte signed and checked, all
clients submitting; seconds are those of one client's submission and of the server's work per client. Flower's SecAgg+
masks with its own functions from the installed package (`pip install flwr`); TenSEAL encrypts with its tutorial's CKKS
parameters, on fewer votes, as the table says: its cost is linear in them. The limits: no sum of n votes goes below
log2(n + 1) bits, and no mask is made faster than AES-128-CTR and an addition run on this machine.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from rich.console import Console
from rich.table import Table

from fedprllm_secure.thresholds import Thresholds
from protocols import PROTOCOLS, Roster, SessionPlan, Simulation, Step, VectorSpec, generate_signing_key

VOTES = 20_000_000
TUTORIAL_VOTES = 100_000
FLOWER_RANGE, FLOWER_MODULUS = 1 << 22, 1 << 32
CLIENTS = (8, 64)
AES_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Cost:
    """What one row of the table says; None where a peer's function does not exist."""

    name: str
    clients: int
    votes: int
    bits_up: float
    client_seconds: float
    server_seconds: float | None
    opening_seconds: float | None


def bench_protocols() -> None:
    """Run every protocol and peer, and print one table a number of clients, and the limits."""
    for clients in CLIENTS:
        rows = [_own(name, clients) for name in PROTOCOLS]
        rows += [*_flower(clients), _tenseal_tutorial(clients)]
        table = Table(
            "protocol", "votes", "bits up", "client M/s", "server M/s", "opening s", title=f"{clients} clients"
        )
        for row in rows:
            table.add_row(
                row.name,
                f"{row.votes:,}",
                f"{row.bits_up:.2f}",
                f"{row.votes / row.client_seconds / 1e6:.1f}",
                "" if row.server_seconds is None else f"{row.votes / row.server_seconds / 1e6:.1f}",
                "" if row.opening_seconds is None else f"{row.opening_seconds:.3f}",
            )
        table.add_row("limit: log2(n + 1)", "", f"{math.log2(clients + 1):.2f}", "", "", "", style="italic")
        Console().print(table)
    print("bits up: a vote; M/s: million votes a second, of a client making and of the server taking a submission;")
    print("opening: the server's seconds after the last submission, divided by the clients")
    cores = len(os.sched_getaffinity(0))
    print(f"AES-128-CTR and addition, one thread: {_aes_gigabytes_per_second():.2f} GB/s; {cores} cores")


def _own(name: str, clients: int) -> Cost:
    votes = np.random.default_rng(0).integers(0, 2, VOTES, dtype=np.uint8)
    keys = [generate_signing_key() for _ in range(clients)]
    thresholds = Thresholds.choose(name, clients)
    plan = SessionPlan(
        manifest_hash=bytes(32),
        session_number=0,
        roster=Roster.of(keys),
        vectors=(VectorSpec("votes", VOTES, 1),),
        recovery_threshold=thresholds.recovery_threshold,
        minimum_survivors=thresholds.minimum_survivors,
    )
    session = Simulation(PROTOCOLS[name], plan, keys)
    session.open()
    for client in range(clients):
        session.submit(client, {"votes": votes})
    result = session.close()
    if not np.array_equal(result.totals["votes"], clients * votes.astype(np.int64)):
        raise RuntimeError(f"{name} gave a wrong total")
    submit, confirm, reveal = (result.traffic[step] for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL))
    return Cost(
        name=name,
        clients=clients,
        votes=VOTES,
        bits_up=8 * submit.bytes_up[0] / VOTES,
        client_seconds=float(np.median(list(submit.client_seconds.values()))),
        server_seconds=submit.server_seconds / clients,
        opening_seconds=(confirm.server_seconds + reveal.server_seconds) / clients,
    )


def _flower(clients: int) -> list[Cost]:
    """Time a Flower client's masking stage on 32-bit floats, and of it the masks alone; none if it is not installed.

    The calls are those of its SecAgg+ client, in order, with its default ranges.
    """
    try:
        from flwr.common.secure_aggregation.ndarrays_arithmetic import (
            factor_combine,
            parameters_addition,
            parameters_mod,
            parameters_multiply,
            parameters_subtraction,
        )
        from flwr.common.secure_aggregation.quantization import quantize
        from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
    except ImportError:
        print("Flower is not installed (pip install flwr): its rows are left out")
        return []
    votes = [np.random.default_rng(0).integers(0, 2, VOTES).astype(np.float32)]
    shapes: list[tuple[int, ...]] = [(1,), (VOTES,)]
    started = time.perf_counter()
    quantised = factor_combine(4194, quantize(parameters_multiply(votes, 0.001), 8.0, FLOWER_RANGE))
    quantised_at = time.perf_counter()
    masked = parameters_addition(quantised, pseudo_rand_gen(os.urandom(32), FLOWER_MODULUS, shapes))
    for peer in range(clients - 1):
        mask = pseudo_rand_gen(os.urandom(32), FLOWER_MODULUS, shapes)
        masked = (parameters_addition if peer % 2 else parameters_subtraction)(masked, mask)
    sent = [array.tobytes() for array in parameters_mod(masked, FLOWER_MODULUS)]
    ended = time.perf_counter()
    bits = 8 * len(sent[1]) / VOTES
    return [
        Cost("Flower SecAgg+ client", clients, VOTES, bits, ended - started, None, None),
        Cost("... of it, masks alone", clients, VOTES, bits, ended - quantised_at, None, None),
    ]


def _tenseal_tutorial(clients: int) -> Cost:
    """Time TenSEAL's tutorial: CKKS vectors, N = 8192, primes of 60, 40, 40 and 60 bits, one vote a slot."""
    import tenseal

    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    context.global_scale = 2**40
    slots = 4096
    votes = np.random.default_rng(0).integers(0, 2, TUTORIAL_VOTES, dtype=np.int64)
    parts = [votes[start : start + slots].tolist() for start in range(0, len(votes), slots)]
    sent: list[bytes] = []

    def encrypt() -> None:
        sent[:] = [tenseal.ckks_vector(context, part).serialize() for part in parts]

    seconds = _seconds(encrypt)
    size = sum(len(message) for message in sent)
    name = "TenSEAL tutorial CKKS"
    return Cost(name, clients, len(votes), 8 * size / len(votes), seconds, None, None)


def _aes_gigabytes_per_second() -> float:
    """Measure the loop that masking cannot beat: a key stream made in cache and added to words."""
    words = np.zeros(1 << 23, np.uint64)
    zeros, buffer = bytes(AES_CHUNK_BYTES), bytearray(AES_CHUNK_BYTES + 15)  # the cipher asks for a block to spare
    stream, step = np.frombuffer(buffer, np.uint64, AES_CHUNK_BYTES // 8), AES_CHUNK_BYTES // 8

    def run() -> None:
        cipher = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(bytes(16))).encryptor()
        for start in range(0, len(words), step):
            cipher.update_into(zeros, buffer)
            words[start : start + step] += stream

    return words.nbytes / _seconds(run) / 1e9


def _seconds(work: Callable[[], None], runs: int = 3) -> float:
    """Time ``work`` a few times and give the median."""
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return float(np.median(found))
