"""Sessions opened together: one bundle a client and step, and in everything else the sessions that they are alone."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from protocols import Direction, RepeatedStep, Roster, Simulation, Step, TooFewSurvivors
from protocols.bundle import bundle_overhead
from protocols.simulate import open_together
from protocols.wire import decode

CLIENTS = 7  # five are needed
DROPOUTS = (
    {Step.ADVERTISE: frozenset({0}), Step.SUBMIT: frozenset({1})},
    {Step.SHARE: frozenset({2}), Step.CONFIRM: frozenset({3})},
    {Step.SUBMIT: frozenset({6}), Step.REVEAL: frozenset({4})},
)
SURVIVORS = ((2, 3, 4, 5, 6), (0, 1, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5))
OPENING = {
    (Step.ADVERTISE, Direction.RECEIVED),
    (Step.SHARE, Direction.SENT),
    (Step.SHARE, Direction.RECEIVED),
    (Step.SUBMIT, Direction.SENT),
}


@pytest.fixture
def make_sessions(protocol, make_plan, signing_keys):
    """Make sessions of seven clients, one for each mapping of dropouts; their transcripts fill the lists given."""

    def make(dropouts=DROPOUTS, transcripts=None, protocol=protocol):
        return [
            Simulation(
                protocol,
                make_plan(CLIENTS, session_number=number),
                signing_keys[:CLIENTS],
                dropouts=leaving,
                transcript=None if transcripts is None else transcripts[number].append,
            )
            for number, leaving in enumerate(dropouts)
        ]

    return make


def votes(number, client):
    """Return the inputs of a client in a session."""
    return {"votes": np.arange(130) % (client + 2) == 0, "energy": np.full(9, 10 * number + client)}


def submit_all(session):
    """Let everyone that is there submit."""
    for client in session.submitters():
        session.submit(client, votes(session.plan.session_number, client))


def assert_totals(session, result, survivors):
    """Check survivors and totals against NumPy."""
    assert result.survivors == survivors
    for name in ("votes", "energy"):
        expected = sum(votes(session.plan.session_number, client)[name].astype(int) for client in survivors)
        np.testing.assert_array_equal(result.totals[name], expected)


def test_every_session_has_its_own_survivors_and_totals(make_sessions):
    """Whoever leaves a session at whatever step is missed there only; sessions submit and close in any order."""
    sessions = make_sessions()
    open_together(sessions)
    submit_all(sessions[2])
    results = {2: sessions[2].close()}
    for session in sessions[:2]:
        submit_all(session)
    results |= {number: sessions[number].close() for number in (1, 0)}

    for number, session in enumerate(sessions):
        assert_totals(session, results[number], SURVIVORS[number])


def run_all(sessions, transcripts, *, opened_together):
    """Run sessions to the end; return the shape of each one's transcript, and its traffic."""
    if opened_together:
        open_together(sessions)
    shapes, traffic = [], []
    for session, transcript in zip(sessions, transcripts, strict=True):
        if not opened_together:
            session.open()
        submit_all(session)
        traffic.append(session.close().traffic)
        shapes.append([(entry.step, entry.direction, entry.client, len(entry.message)) for entry in transcript])
    return shapes, traffic


def test_a_session_opened_with_others_exchanges_what_it_would_alone(make_sessions):
    """The transcript has the very messages, in the same order and of the same lengths."""
    alone, together = ([[], [], []] for _ in range(2))
    shapes, _ = run_all(make_sessions(transcripts=alone), alone, opened_together=False)
    shapes_together, traffic = run_all(make_sessions(transcripts=together), together, opened_together=True)

    assert shapes_together == shapes
    for one in traffic:
        for step in Step:
            assert set(one[step].client_seconds) == set(one[step].bytes_up)


def overheads(shapes, traffic):
    """Return, by step, direction and client, the bytes counted beyond the messages, and the sessions that have them."""
    found = {}
    for number, (shape, steps) in enumerate(zip(shapes, traffic, strict=True)):
        for step in Step:
            for direction, counts in (
                (Direction.RECEIVED, steps[step].bytes_up),
                (Direction.SENT, steps[step].bytes_down),
            ):
                for client, counted in counts.items():
                    own = sum(num_bytes for *key, num_bytes in shape if key == [step, direction, client])
                    if counted != own:
                        found.setdefault((step, direction, client), []).append((number, counted - own))
    return found


def test_one_bundle_a_client_and_step(make_sessions):
    """Beyond the messages, each client is charged for one bundle, in the first session that the bundle has one of."""
    transcripts = [[], [], []]
    found = overheads(*run_all(make_sessions(transcripts=transcripts), transcripts, opened_together=True))
    expected = {(*place, client): [(0, bundle_overhead(3))] for place in OPENING for client in range(CLIENTS)}
    for place in OPENING:  # client 0 leaves session 0 before advertise, and takes part in session 1
        expected[(*place, 0)] = [(1, bundle_overhead(3))]

    assert found == expected


def test_a_client_in_no_session_sends_nothing(make_sessions):
    """There is no bundle without a message."""
    absent = {Step.ADVERTISE: frozenset({3})}
    sessions = make_sessions([absent, absent])
    open_together(sessions)

    for session in sessions:
        for step in Step:
            assert 3 not in session.traffic[step].bytes_up
            assert 3 not in session.traffic[step].bytes_down


def test_a_session_opened_alone_needs_no_bundle(make_sessions):
    """One session's messages travel bare."""
    transcripts = [[]]
    found = overheads(*run_all(make_sessions(DROPOUTS[:1], transcripts), transcripts, opened_together=True))

    assert found == {}


def test_sessions_share_neither_keys_nor_ids(make_sessions):
    """Every client advertises other keys in every session, and no two sessions have one id."""
    transcripts = [[], [], []]
    open_together(make_sessions(({}, {}, {}), transcripts))
    sent = [
        decode(entry.message) for entries in transcripts for entry in entries if entry.direction is Direction.RECEIVED
    ]
    advertised = [message for message in sent if message.frame.step is Step.ADVERTISE]
    keys = [message.body[start : start + 32] for message in advertised for start in range(0, len(message.body), 32)]
    ids = {message.frame.context for message in sent if message.frame.step is Step.SHARE}

    assert len({message.encode() for message in advertised}) == len(advertised) == 3 * CLIENTS
    assert len(set(keys)) == len(keys)
    assert len(ids) == 3


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE], ids=str)
@pytest.mark.parametrize("leavers", [{1, 2, 5}, set(range(CLIENTS))], ids=["three", "all"])
def test_a_session_that_fails_leaves_the_others_open(make_sessions, step, leavers):
    """Too few clients end their session, by name, with nothing more sent in it; the others have their totals."""
    transcripts = [[], [], []]
    left = CLIENTS - len(leavers)
    sessions = make_sessions(({}, {step: frozenset(leavers)}, {}), transcripts)
    with pytest.raises(TooFewSurvivors, match=f"{step.name.lower()}: {left} of 7 clients are left, 5 ") as caught:
        open_together(sessions)

    assert [session.failure for session in sessions] == [None, caught.value, None]
    assert all(entry.step <= step for entry in transcripts[1])
    assert sessions[1].submitters() == ()
    with pytest.raises(TooFewSurvivors, match=f"{left} of 7 clients are left"):
        sessions[1].close()
    for session in (sessions[0], sessions[2]):
        submit_all(session)
        assert_totals(session, session.close(), tuple(range(CLIENTS)))


def test_of_several_failures_the_first_session_is_named(make_sessions):
    """Sessions fail at different steps; what is raised does not depend on which failed first."""
    sessions = make_sessions(({}, {Step.SHARE: frozenset({0, 1, 2})}, {Step.ADVERTISE: frozenset({0, 1, 2, 3})}))
    with pytest.raises(TooFewSurvivors, match="share: 4 of 7 clients are left"):
        open_together(sessions)

    assert "advertise: 3 of 7 clients are left" in str(sessions[2].failure)


@pytest.mark.parametrize("step", [Step.SUBMIT, Step.CONFIRM, Step.REVEAL], ids=str)
def test_a_session_that_fails_later_fails_alone(make_sessions, step):
    """After opening, what ends one session does not touch another; a failed session fails again the same way."""
    sessions = make_sessions(({step: frozenset({1, 2, 5})}, {}))
    open_together(sessions)
    submit_all(sessions[0])
    for _ in range(2):
        with pytest.raises(TooFewSurvivors, match="4 of 7 clients are left, 5 are needed") as caught:
            sessions[0].close()
        assert caught.value is sessions[0].failure
    submit_all(sessions[1])
    assert_totals(sessions[1], sessions[1].close(), tuple(range(CLIENTS)))


def test_a_closed_session_holds_no_roles(make_sessions, protocol):
    """With the totals all roles go, also those of clients that left with their secrets; other sessions keep theirs."""
    made = {number: [] for number in range(3)}

    class Watched:
        """The protocol, with an eye on its roles."""

        def client(self, plan, index, key):
            return self.watch(plan, protocol.client(plan, index, key))

        def server(self, plan):
            return self.watch(plan, protocol.server(plan))

        def watch(self, plan, role):
            made[plan.session_number].append(weakref.ref(role))
            return role

    sessions = make_sessions(protocol=Watched())
    open_together(sessions)
    submit_all(sessions[0])
    sessions[0].close()
    gc.collect()

    assert [role() for role in made[0]] == [None] * (CLIENTS + 1)
    assert None not in [role() for role in made[1]]
    with pytest.raises(RepeatedStep, match="the session was closed before"):
        sessions[0].close()
    with pytest.raises(RepeatedStep, match="the session was closed before"):
        sessions[0].open()


def test_a_session_is_opened_once(make_sessions):
    """Opening again is refused, alone or with others."""
    sessions = make_sessions()
    open_together(sessions[:2])
    for again in (sessions[:1], sessions):
        with pytest.raises(RepeatedStep, match="this step was done before"):
            open_together(again)


def test_sessions_that_do_not_belong_together_are_refused(make_sessions, protocol, make_plan, signing_keys):
    """A bundle is of one client of one roster, and has an order that both ends know."""
    sessions = make_sessions()
    others = Roster.of(signing_keys[1 : CLIENTS + 1])
    foreign = Simulation(protocol, make_plan(CLIENTS, session_number=9, roster=others), signing_keys[1 : CLIENTS + 1])
    with pytest.raises(ValueError, match=r"sessions=\(\) must have at least one session"):
        open_together([])
    with pytest.raises(ValueError, match="sessions=2 sessions must have one roster"):
        open_together([sessions[0], foreign])
    for order in ((1, 0), (0, 0)):
        with pytest.raises(ValueError, match=r"sessions=\[\d, 0\] must be in ascending order of distinct session"):
            open_together([sessions[number] for number in order])
    open_together(sessions)
