"""What `additive` costs a client and the server as clients grow in number: complete graph against sparse graphs.

Sessions over 10,000 votes, 5 % of the clients lost at submit, with `additive` as it is deployed at the server and at up
to 20 clients, and `experiments.bench.stand_ins` for the others. Every total is checked. A client's figures are medians
over the real ones, each timed as if alone in its process; what all clients cost together is that times their number.
The server's figures are measured over everybody's messages. Sparse graphs have the fewest neighbours that support the
claim with 5 % colluders and 5 % lost.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from experiments.bench.cost_figure import Curve, check_plot_file, draw_costs
from experiments.bench.stand_ins import AmongStandIns, Cast
from experiments.bench.timed_client import TimedClient
from protocols import (
    PROTOCOLS,
    Claim,
    Roster,
    SessionPlan,
    SessionResult,
    Simulation,
    Step,
    VectorSpec,
    generate_signing_key,
    smallest_graph,
)

VOTES = 10_000
REAL_CLIENTS = 20
SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)
LARGEST_COMPLETE = 1000
ONE_IN = 20  # of the clients helps the server, and one gets lost
EXTRAPOLATED = f"per-client cost of {REAL_CLIENTS} real clients times n"
GRAPHS: dict[str, Claim | None] = {
    "complete graph": None,
    "sparse, server that follows the protocol": Claim.SEMI_HONEST,
    "sparse, lying server": Claim.LYING,
}


@dataclass(frozen=True, slots=True)
class ClientCost:
    """What a session cost.

    Attributes:
        clients: Size of the roster.
        real: How many of them were real.
        neighbours: Of each client.
        threshold: Shares that open a secret.
        bytes_up: Of a client by step, mean over the real ones.
        bytes_down: To a client by step, mean over the real ones.
        setup_seconds: Of a client for making its role, median.
        client_seconds: Of a client by step, medians.
        server_seconds: For the whole session, measured.
    """

    clients: int
    real: int
    neighbours: int
    threshold: int
    bytes_up: dict[Step, float]
    bytes_down: dict[Step, float]
    setup_seconds: float
    client_seconds: dict[Step, float]
    server_seconds: float

    @property
    def client_bytes(self) -> float:
        """Bytes of a client, up and down."""
        return sum(self.bytes_up.values()) + sum(self.bytes_down.values())

    @property
    def seconds(self) -> float:
        """Seconds of a client."""
        return self.setup_seconds + sum(self.client_seconds.values())


def bench_scale(plot: Path | None) -> None:
    """Measure every size of every graph, print tables, and draw the figure if a file is named."""
    if plot is not None:
        check_plot_file(plot)
    costs: dict[str, list[ClientCost]] = {}
    for name, claim in GRAPHS.items():
        costs[name] = []
        for clients in _sizes(claim):
            costs[name].append(measure(clients, claim))
            print(f"measured: {name}, {clients:,} clients", flush=True)
    console = Console()
    for name, found in costs.items():
        console.print(_table(name, found))
    print(f"{VOTES:,} votes a client, one client in {ONE_IN} lost at submit, all totals exact")
    print(f"all clients: {EXTRAPOLATED}; server: measured over the messages of all clients")
    if plot is not None:
        draw_costs([_curve(name, found) for name, found in costs.items()], plot)
        print(f"wrote {plot}")


def _sizes(claim: Claim | None) -> Iterator[int]:
    for clients in SIZES:
        if claim is None and clients <= LARGEST_COMPLETE:
            yield clients
        elif claim is not None:
            few = -(-clients // ONE_IN)
            try:
                smallest_graph(clients, few, few, claim)
            except ValueError:  # so few clients need the complete graph
                continue
            yield clients


def plan_for(roster: Roster, claim: Claim | None, *, votes: int = VOTES) -> SessionPlan:
    """Return the plan of a session in which one client in `ONE_IN` may help the server, and one may leave.

    Args:
        roster: The clients.
        claim: What a sparse graph is to support; None: complete graph.
        votes: Length of the vector.
    """
    clients, few = len(roster), -(-len(roster) // ONE_IN)
    neighbours, threshold = (0, 2 * clients // 3 + 1) if claim is None else smallest_graph(clients, few, few, claim)
    return SessionPlan(
        manifest_hash=bytes(32),
        session_number=0,
        roster=roster,
        vectors=(VectorSpec("votes", votes, 1),),
        recovery_threshold=threshold,
        minimum_survivors=clients - few,
        assumed_colluders=few,
        neighbours=neighbours,
        beacon=b"" if claim is None else bytes(range(32)),
    )


def measure(clients: int, claim: Claim | None, *, votes: int = VOTES, real: int = REAL_CLIENTS) -> ClientCost:
    """Run one session among stand-ins and return what it cost.

    Args:
        clients: Size of the roster.
        claim: As `plan_for`.
        votes: Length of the vector.
        real: How many clients are real, at most; those lost never are.

    Raises:
        RuntimeError: If a total is wrong.
    """
    keys = [generate_signing_key() for _ in range(clients)]
    plan = plan_for(Roster.of(keys), claim, votes=votes)
    drawn = np.random.default_rng(clients).permutation(clients).tolist()
    few = -(-clients // ONE_IN)
    cast = Cast(real=frozenset(drawn[few : few + real]), lost=frozenset(drawn[:few]))
    timed: list[TimedClient] = []

    def make_real(plan: SessionPlan, index: int, key: Ed25519PrivateKey) -> TimedClient:
        timed.append(TimedClient(partial(PROTOCOLS["additive"].client, plan, index, key)))
        return timed[-1]

    session = Simulation(AmongStandIns(cast, make_real), plan, keys, dropouts={Step.SUBMIT: cast.lost})
    result = _checked(session, votes)
    up, down, seconds = {}, {}, {}
    for step, traffic in result.traffic.items():
        up[step] = statistics.mean(traffic.bytes_up.get(client, 0) for client in cast.real)
        down[step] = statistics.mean(traffic.bytes_down.get(client, 0) for client in cast.real)
        seconds[step] = statistics.median(client.seconds[step] for client in timed)
    return ClientCost(
        clients=clients,
        real=len(cast.real),
        neighbours=plan.neighbours or clients - 1,
        threshold=plan.recovery_threshold,
        bytes_up=up,
        bytes_down=down,
        setup_seconds=statistics.median(client.setup_seconds for client in timed),
        client_seconds=seconds,
        server_seconds=sum(traffic.server_seconds for traffic in result.traffic.values()),
    )


def _checked(session: Simulation, votes: int) -> SessionResult:
    generator = np.random.default_rng(0)
    session.open()
    expected = np.zeros(votes, np.int64)
    for client in session.submitters():
        vector = generator.integers(0, 2, votes, dtype=np.uint8)
        session.submit(client, {"votes": vector})
        expected += vector
    result = session.close()
    if not np.array_equal(result.totals["votes"], expected):
        raise RuntimeError(f"a session of {len(session.plan.roster)} clients gave a wrong total")
    return result


def _table(name: str, costs: list[ClientCost]) -> Table:
    """Give a column to each number of clients, so that rows fit a narrow terminal."""
    table = Table("clients", title=name)
    for cost in costs:
        table.add_column(f"{cost.clients:,}", justify="right")

    def add(label: str, values: Iterable[float], form: str = ".1f", *, last: bool = False) -> None:
        table.add_row(label, *(format(value, form) for value in values), end_section=last)

    add("real clients", (cost.real for cost in costs), "d")
    add("neighbours", (cost.neighbours for cost in costs), "d")
    add("recovery threshold", (cost.threshold for cost in costs), "d", last=True)
    for step in Step:
        add(f"{step.name.lower()}, kB up", (cost.bytes_up[step] / 1e3 for cost in costs))
        if step is not Step.ADVERTISE:  # which nothing from the server precedes
            add(f"{step.name.lower()}, kB down", (cost.bytes_down[step] / 1e3 for cost in costs))
    add("a client, kB", (cost.client_bytes / 1e3 for cost in costs), last=True)
    add("set-up, ms", (1e3 * cost.setup_seconds for cost in costs), ".2f")
    for step in Step:
        add(f"{step.name.lower()}, ms", (1e3 * cost.client_seconds[step] for cost in costs), ".2f")
    add("a client, ms", (1e3 * cost.seconds for cost in costs), ".2f")
    add("server a client, ms", (1e3 * cost.server_seconds / cost.clients for cost in costs), ".2f", last=True)
    add("all clients, GB", (cost.clients * cost.client_bytes / 1e9 for cost in costs), ".3f")
    add("all clients, s", (cost.clients * cost.seconds for cost in costs))
    add("server, s", (cost.server_seconds for cost in costs))
    return table


def _curve(name: str, costs: list[ClientCost]) -> Curve:
    return Curve(
        name,
        clients=[cost.clients for cost in costs],
        client_bytes=[cost.client_bytes for cost in costs],
        client_seconds=[cost.seconds for cost in costs],
        server_seconds=[cost.server_seconds / cost.clients for cost in costs],
    )
