"""Sums of integer vectors over several clients, by protocols that differ in what the server learns.

`PROTOCOLS` names the protocols; all have the shape of `protocols.roles` and run in `Simulation` or over a network.

    roster = Roster.of(keys)
    votes = VectorSpec("votes", length=1000, bound=1)
    plan = SessionPlan(manifest_hash, 0, roster, (votes,), recovery_threshold=1, minimum_survivors=1)
    result = run_session(PROTOCOLS["plain"], plan, keys, {0: {"votes": first}, 1: {"votes": second}})

`protocols.replay` computes from a recorded session what its server saw.

Knows nothing of models, layers, files of results or command lines, and imports neither torch nor an encryption library
that is not needed for the protocol in use.
"""

from protocols.additive.degree import Claim, smallest_graph
from protocols.additive.protocol import Additive, supported_claim
from protocols.errors import (
    InvalidMessage,
    ProtocolError,
    RepeatedMessage,
    RepeatedStep,
    TooFewSurvivors,
    UnsafeRequest,
    UnusableTotals,
)
from protocols.homomorphic.parameters import Scheme
from protocols.homomorphic.protocol import Homomorphic
from protocols.outbox import Outbox
from protocols.packing import Integers, Layout, PackedVector, pack, unpack
from protocols.plain import Plain
from protocols.roles import ClientRole, SecureAggregation, ServerRole
from protocols.roster import Roster, generate_signing_key, public_key_bytes
from protocols.session import SessionPlan, Step, VectorSpec
from protocols.simulate import SessionResult, Simulation, open_together, run_session
from protocols.traffic import Direction, StepTraffic, TranscriptEntry

PROTOCOLS: dict[str, SecureAggregation] = {
    "plain": Plain(),
    "additive": Additive(),
    "bfv": Homomorphic(Scheme.BFV),
    "ckks": Homomorphic(Scheme.CKKS),
}

__all__ = [
    "PROTOCOLS",
    "Claim",
    "ClientRole",
    "Direction",
    "Integers",
    "InvalidMessage",
    "Layout",
    "Outbox",
    "PackedVector",
    "ProtocolError",
    "RepeatedMessage",
    "RepeatedStep",
    "Roster",
    "SecureAggregation",
    "ServerRole",
    "SessionPlan",
    "SessionResult",
    "Simulation",
    "Step",
    "StepTraffic",
    "TooFewSurvivors",
    "TranscriptEntry",
    "UnsafeRequest",
    "UnusableTotals",
    "VectorSpec",
    "generate_signing_key",
    "open_together",
    "pack",
    "public_key_bytes",
    "run_session",
    "smallest_graph",
    "supported_claim",
    "unpack",
]
