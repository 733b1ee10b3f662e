"""Keys, plans and whole sessions for the protocol tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import PROTOCOLS, Roster, SecureAggregation, SessionPlan, Step, VectorSpec

VECTORS = (VectorSpec("votes", 130, 1), VectorSpec("energy", 9, 1000))


def insecure_signing_key(index: int) -> Ed25519PrivateKey:
    """Return the same key at every run, so that known answers can be written down."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"test key %d" % index).digest())


@pytest.fixture(scope="session")
def signing_keys() -> list[Ed25519PrivateKey]:
    """Keys of up to 300 clients."""
    return [insecure_signing_key(index) for index in range(300)]


@pytest.fixture(scope="session")
def make_plan(signing_keys: list[Ed25519PrivateKey]) -> Callable[..., SessionPlan]:
    """Make a plan that every protocol accepts, unless told otherwise."""

    def make(num_clients: int = 4, vectors: tuple[VectorSpec, ...] = VECTORS, **changes: object) -> SessionPlan:
        needed = 2 * num_clients // 3 + 1
        fields = {
            "manifest_hash": bytes(range(32)),
            "session_number": 0,
            "roster": Roster.of(signing_keys[:num_clients]),
            "vectors": vectors,
            "recovery_threshold": needed,
            "minimum_survivors": needed,
        }
        return SessionPlan(**(fields | changes))

    return make


@pytest.fixture(params=sorted(PROTOCOLS), scope="session")
def protocol(request: pytest.FixtureRequest) -> SecureAggregation:
    """Every protocol in turn."""
    return PROTOCOLS[request.param]


def random_inputs(plan: SessionPlan, seed: int = 0) -> dict[int, dict[str, np.ndarray]]:
    """Return vectors for every client that reach 0 and the bound."""
    generator = np.random.default_rng(seed)
    return {
        client: {
            vector.name: generator.choice([0, vector.bound // 2, vector.bound], vector.length)
            for vector in plan.vectors
        }
        for client in range(len(plan.roster))
    }


@dataclass
class Parties:
    """All roles of a session, moved through the steps by hand."""

    protocol: SecureAggregation
    plan: SessionPlan
    keys: list[Ed25519PrivateKey]

    def __post_init__(self) -> None:
        self.everyone = range(len(self.plan.roster))
        self.clients = [self.protocol.client(self.plan, index, self.keys[index]) for index in self.everyone]
        self.server = self.protocol.server(self.plan)
        self.inputs = random_inputs(self.plan)
        self.made: dict[tuple[Step, int], list[bytes]] = {}

    def ask(self, step: Step, client: int) -> bytes:
        """Return what the server tells a client so that it can do this step."""
        makers = {
            Step.SHARE: self.server.roster_message,
            Step.SUBMIT: self.server.inbox,
            Step.CONFIRM: self.server.survivor_list,
            Step.REVEAL: self.server.reveal_request,
        }
        return makers[step](client)

    def answer(self, step: Step, client: int, request: bytes = b"") -> list[bytes]:
        """Return the messages with which a client does this step."""
        role = self.clients[client]
        if step is Step.ADVERTISE:
            return [role.advertise()]
        if step is Step.SUBMIT:
            return list(role.submit(request, self.inputs[client]))
        return [{Step.SHARE: role.share, Step.CONFIRM: role.confirm, Step.REVEAL: role.reveal}[step](request)]

    def receive(self, step: Step, message: bytes) -> None:
        """Give a message to the server."""
        receivers = {
            Step.ADVERTISE: self.server.receive_advertisement,
            Step.SHARE: self.server.receive_share,
            Step.SUBMIT: self.server.receive_submission,
            Step.CONFIRM: self.server.receive_confirmation,
            Step.REVEAL: self.server.receive_reveal,
        }
        receivers[step](message)

    def messages(self, step: Step, client: int) -> list[bytes]:
        """Let a client do a step; its messages have yet to be given to the server."""
        messages = self.answer(step, client, b"" if step is Step.ADVERTISE else self.ask(step, client))
        self.made[step, client] = messages
        return messages

    def do(self, step: Step, *clients: int) -> None:
        """Let these clients, or all, do a step."""
        for client in clients or self.everyone:
            for message in self.messages(step, client):
                self.receive(step, message)

    def walk(self, first: Step, last: Step) -> None:
        """Let everyone do the steps from first up to and including last."""
        for step in range(first, last + 1):
            self.do(Step(step))

    def check_totals(self, *survivors: int) -> None:
        """Check that the totals are those of these clients, or of all."""
        chosen = survivors or tuple(self.everyone)
        totals = self.server.totals()

        assert self.server.survivors() == chosen
        for vector in self.plan.vectors:
            expected = sum(self.inputs[client][vector.name] for client in chosen)
            np.testing.assert_array_equal(totals[vector.name], expected)


@pytest.fixture
def parties(
    protocol: SecureAggregation, make_plan: Callable[..., SessionPlan], signing_keys: list[Ed25519PrivateKey]
) -> Parties:
    """Four clients and a server of every protocol; three are needed."""
    return Parties(protocol, make_plan(), signing_keys)


@pytest.fixture
def make_parties(
    protocol: SecureAggregation, make_plan: Callable[..., SessionPlan], signing_keys: list[Ed25519PrivateKey]
) -> Callable[..., Parties]:
    """Make parties with a changed plan."""
    return lambda *args, **changes: Parties(protocol, make_plan(*args, **changes), signing_keys)
