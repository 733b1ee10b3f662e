"""`additive`: the server adds masked vectors and learns the sum alone; who drops out costs no one else anything.

Pairwise and self masks with dropout recovery: Bonawitz et al. 2017, the variant for a malicious server (Figure 4, with
its round 3). With `neighbours` in the plan, on a sparse random graph: Bell et al. 2020 (SecAgg+).

Adversary.
  Who may be corrupted: the server, which may lie, reorder, drop and show everyone something else, together with at most
    `assumed_colluders` clients that hand it all they have.
  What they learn: the sum over the survivors, of whom at least `minimum_survivors` - `assumed_colluders` did not help
    them, who is there in each step, and the length of messages. No client learns anything of the vectors of others.
  What aborts the session: too few clients left (`TooFewSurvivors`); a message that a client refuses (`InvalidMessage`),
    which costs the client the session: among others an advertisement or a sealed share that is not what it should be;
    secrets that cannot be rebuilt, and sums that are none (`UnusableTotals`).
  What is not promised: that totals are right if a client of the roster lies. It can submit any words and so move every
    total of every vector. Bad shares do not change totals: rebuilt secrets are verified, see
    `protocols.additive.recovery`. A server that shows clients different plans gets no session or noise: the plan digest
    is in every message and every key. A client of the roster, or the server, can always prevent a session's end.
  In a sparse graph this holds against a server that follows the protocol, or also against one that lies, as
    `supported_claim` says: it depends on the degree. Against one that lies it also takes a beacon that nobody chose:
    who draws it as often as it takes can surround a client with its helpers. A process that plays all parties draws
    it itself, and so shows what is computed, not that nobody chose.

Thresholds. Everyone: 2 * recovery_threshold > clients + assumed_colluders, so that no two survivor lists, and for no
client shares of both kinds, can be gathered; minimum_survivors - max(assumed_colluders, 1) >= 2, so that the sum is not
one client's vector to those who know the others (a survivor knows its own; two clients are therefore too few);
recovery_threshold >= 2, so that no share is a secret. Sparse: the conditions of `protocols.additive.degree`, with
clients - minimum_survivors as the number that may leave.

Every secret is drawn for the session and dropped when its step is done, as far as Python lets go of memory.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.additive.client import NAME, AdditiveClient
from protocols.additive.degree import Claim, supports
from protocols.additive.graph import Graph
from protocols.additive.server import AdditiveServer
from protocols.inputs import layout_for
from protocols.packing import Layout
from protocols.session import LARGEST_INT64, SessionPlan, VectorSpec
from protocols.wire import ClientPen

FEWEST_UNKNOWN = 2  # vectors in a sum, beyond those that its reader knows
SMALLEST_THRESHOLD = 2  # with 1, a share is the secret itself


class Additive:
    """The protocol `additive`."""

    name = NAME

    def check(self, plan: SessionPlan) -> None:
        """Refuse a plan whose thresholds or graph protect nobody.

        Raises:
            ValueError: If two survivor lists could be opened, the sum could be one client's vector, a share would be
                the secret, or the graph has too few neighbours for the clients that may collude and leave.
        """
        clients, colluders = len(plan.roster), plan.assumed_colluders
        if plan.minimum_survivors - max(colluders, 1) < FEWEST_UNKNOWN:
            raise ValueError(
                f"minimum_survivors={plan.minimum_survivors} must be at least {max(colluders, 1) + FEWEST_UNKNOWN}: "
                f"with assumed_colluders={colluders} the sum would be one client's vector to another"
            )
        if plan.recovery_threshold < SMALLEST_THRESHOLD:
            raise ValueError(
                f"recovery_threshold={plan.recovery_threshold} must be at least {SMALLEST_THRESHOLD}: with 1 a share "
                "is the secret itself"
            )
        if plan.neighbours == 0 and 2 * plan.recovery_threshold <= clients + colluders:
            raise ValueError(
                f"recovery_threshold={plan.recovery_threshold} must be at least {(clients + colluders) // 2 + 1} for "
                f"{clients} clients and assumed_colluders={colluders}: else two survivor lists could be opened"
            )
        if _promised(plan) is None:
            raise ValueError(
                f"neighbours={plan.neighbours}, recovery_threshold={plan.recovery_threshold} must fit {clients} "
                f"clients, assumed_colluders={colluders}, minimum_survivors={plan.minimum_survivors}: too few "
                "neighbours, or too low or high a threshold, for so many that may collude and leave"
            )

    def claim(self, plan: SessionPlan) -> str:
        """Say what the plan's thresholds and graph support.

        Raises:
            ValueError: As `check`: such a plan supports nothing.
        """
        self.check(plan)
        helpers, lying = plan.assumed_colluders, _promised(plan) is Claim.LYING
        server = "even a lying server" if lying else "a server that follows the protocol"
        if helpers:
            server += f" and {helpers} {'clients that help' if helpers > 1 else 'client that helps'} it"
        if lying and plan.neighbours:
            server += ", if nobody chose the beacon,"
        return (
            f"{server} {'learn' if helpers else 'learns'} only the sum over at least {plan.minimum_survivors} clients"
        )

    def layout(self, plan: SessionPlan, vector: VectorSpec) -> Layout:
        """Return the layout with room for the whole roster's sum."""
        return layout_for(vector, len(plan.roster))

    def largest_bound(self, clients: int) -> int:
        """Return the largest bound whose total over these clients fits a 64-bit integer."""
        return LARGEST_INT64 // clients

    def client(self, plan: SessionPlan, index: int, signing_key: Ed25519PrivateKey) -> AdditiveClient:
        """Return the role of the client at this roster index."""
        self.check(plan)
        return AdditiveClient(plan, ClientPen.of(plan.roster, index, signing_key), Graph(plan), self._layouts(plan))

    def server(self, plan: SessionPlan) -> AdditiveServer:
        """Return the role of the server."""
        self.check(plan)
        return AdditiveServer(plan, Graph(plan), self._layouts(plan))

    def _layouts(self, plan: SessionPlan) -> tuple[Layout, ...]:
        return tuple(self.layout(plan, vector) for vector in plan.vectors)


def _promised(plan: SessionPlan) -> Claim | None:
    """Return what is supported with as many colluders as are assumed and as many lost as may be."""
    return supported_claim(plan, plan.assumed_colluders, len(plan.roster) - plan.minimum_survivors)


def supported_claim(plan: SessionPlan, corrupt: int, dropped: int) -> Claim | None:
    """Return what a server may do, without learning more than the sum or ending the session, at these rates.

    Args:
        plan: The session's plan.
        corrupt: Clients that help the server.
        dropped: Clients that leave.

    Returns:
        The strongest claim, or None if there is none.

    Raises:
        ValueError: If the counts leave nobody.
    """
    clients, threshold = len(plan.roster), plan.recovery_threshold
    if threshold < SMALLEST_THRESHOLD:
        return None
    for claim in (Claim.LYING, Claim.SEMI_HONEST):
        if plan.neighbours:
            if supports(clients, plan.neighbours, threshold, corrupt, dropped, claim):
                return claim
            continue
        enough = clients + corrupt if claim is Claim.LYING else 2 * corrupt
        if 2 * threshold > enough and threshold <= clients - dropped:
            return claim
    return None
