"""Every protocol side by side on the same votes, with the field's two reference points and the two limits, in one run.

20 million votes a client. Our protocols run whole sessions through their roles, every byte signed and checked, all
clients submitting; seconds are those of one client's submission and of the server's work per client. Flower's SecAgg+
masks with its own functions from the installed package (`pip install flwr`); TenSEAL encrypts with its tutorial's CKKS
parameters, on fewer votes, as the table says: its cost is linear in them. The limits: no sum of n votes goes below
log2(n + 1) bits, and no mask is made faster than AES-128-CTR and an addition run on this machine. What the server of
`additive` pays for clients that get lost, which comes on top of the tables, has one of its own.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.bench.unmasking import aes_and_add_rate, measure_unmasking
from fedprllm_secure.thresholds import Thresholds
from protocols import PROTOCOLS, Roster, SessionPlan, Simulation, Step, VectorSpec, generate_signing_key

VOTES = 20_000_000
TUTORIAL_VOTES = 100_000
FLOWER_RANGE, FLOWER_MODULUS = 1 << 22, 1 << 32
CLIENTS = (8, 64)
LOST_IN = 10  # one client in so many is lost at submit, where any is


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
    """Run every protocol and peer, and print one table a number of clients, the limits, and what lost clients cost."""
    openings: dict[tuple[int, int], float] = {}
    for clients in CLIENTS:
        own = {name: _own(name, clients) for name in PROTOCOLS}
        openings[clients, 0] = _opening(own["additive"])
        Console().print(_table(clients, [*own.values(), *_flower(clients), _tenseal_tutorial(clients)]))
    print("bits up: a vote; M/s: million votes a second, of a client making and of the server taking a submission;")
    print("opening: the server's seconds after the last submission, divided by the clients")
    threads = len(os.sched_getaffinity(0))
    for count in sorted({1, threads}):
        rate = np.median([aes_and_add_rate(count) for _ in range(5)]) / 1e9
        print(f"AES-128-CTR and addition, all in cache, threads: {count} of {threads}, {rate:.2f} GB/s")
    for clients in CLIENTS:
        lost = -(-clients // LOST_IN)
        openings[clients, lost] = _opening(_own("additive", clients, lost=lost))
    Console().print(_unmasking_table(openings, threads))
    print("unmask: the server's call that takes all masks off the sum, alone; of AES: of the limit in as many threads,")
    print("measured in turn with it; opening: all that the server does in confirm and reveal, unpacking included, once")


def _table(clients: int, rows: list[Cost]) -> Table:
    table = Table("protocol", "votes", "bits up", "client M/s", "server M/s", "opening s", title=f"{clients} clients")
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
    return table


def _opening(cost: Cost) -> float:
    assert cost.opening_seconds is not None  # of our own protocols it is always measured
    return cost.clients * cost.opening_seconds


def _unmasking_table(openings: Mapping[tuple[int, int], float], threads: int) -> Table:
    """Give a row to each number of clients and of lost ones, by which the seconds of whole openings are given."""
    table = Table("clients", "lost", "key streams", "GB", "unmask s", "unmask GB/s", "of AES", "opening s")
    table.title = f"additive: taking masks off {VOTES:,} votes, threads: {threads}"
    for (clients, lost), opening in openings.items():
        plan = _plan("additive", Roster.of([generate_signing_key() for _ in range(clients)]))
        found = measure_unmasking(plan, lost, threads=threads)
        table.add_row(
            str(clients),
            str(lost),
            str(found.streams),
            f"{found.stream_bytes / 1e9:.2f}",
            f"{found.seconds:.3f}",
            f"{found.rate / 1e9:.2f}",
            f"{found.share:.0%}",
            f"{opening:.3f}",
        )
    return table


def _plan(name: str, roster: Roster) -> SessionPlan:
    thresholds = Thresholds.choose(name, len(roster))
    return SessionPlan(
        manifest_hash=bytes(32),
        session_number=0,
        roster=roster,
        vectors=(VectorSpec("votes", VOTES, 1),),
        recovery_threshold=thresholds.recovery_threshold,
        minimum_survivors=thresholds.minimum_survivors,
    )


def _own(name: str, clients: int, *, lost: int = 0) -> Cost:
    """Run one of our protocols with the last clients lost at submit, and check its totals."""
    votes = np.random.default_rng(0).integers(0, 2, VOTES, dtype=np.uint8)
    keys = [generate_signing_key() for _ in range(clients)]
    leavers = frozenset(range(clients - lost, clients))
    session = Simulation(PROTOCOLS[name], _plan(name, Roster.of(keys)), keys, dropouts={Step.SUBMIT: leavers})
    session.open()
    for client in session.submitters():
        session.submit(client, {"votes": votes})
    result = session.close()
    if not np.array_equal(result.totals["votes"], (clients - lost) * votes.astype(np.int64)):
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


def _seconds(work: Callable[[], None], runs: int = 3) -> float:
    """Time ``work`` a few times and give the median."""
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return float(np.median(found))
