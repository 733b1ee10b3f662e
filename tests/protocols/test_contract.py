"""What every protocol must do: the sum, whoever leaves when, and nothing but the sum's steps in their order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protocols import (
    PackedVector,
    RepeatedStep,
    Step,
    TooFewSurvivors,
    VectorSpec,
    pack,
    run_session,
)
from protocols.bodies import decode_confirmations
from protocols.wire import decode

BORDERS = [1, 2, 9, 10, 11, 19, 20, 21, 63, 64, 65, 127, 128, 129, 1000]
BOUNDS = [1, 2, 3, 255, 256, 2**20, 2**32]
DTYPES = [np.int64, np.uint64, np.int32, np.uint8, np.bool_]
SUBSETS = [frozenset(s) for size in range(5) for s in itertools.combinations(range(4), size)]


def sums(plan, inputs, clients):
    """Return the totals that NumPy computes."""
    return {v.name: sum(inputs[c][v.name].astype(np.int64) for c in clients) for v in plan.vectors}


def assert_totals(plan, totals, expected):
    """Check names, values and dtypes."""
    assert list(totals) == [vector.name for vector in plan.vectors]
    for vector in plan.vectors:
        assert totals[vector.name].dtype == plan.total_dtype(vector)
        np.testing.assert_array_equal(totals[vector.name], expected[vector.name])


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    num_clients=st.integers(3, 12),
    vectors=st.lists(st.tuples(st.sampled_from(BORDERS), st.sampled_from(BOUNDS)), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
@example(num_clients=12, vectors=[(65, 1), (64, 2**32)], seed=0)
def test_totals_equal_the_numpy_sum(protocol, make_plan, signing_keys, num_clients, vectors, seed):
    """Totals are the sum, for lengths across word borders and entries from 0 to the bound, in any dtype that fits."""
    specs = tuple(VectorSpec(f"v{i}", length, bound) for i, (length, bound) in enumerate(vectors))
    plan = make_plan(num_clients, specs)
    generator = np.random.default_rng(seed)

    def draw(spec):
        fitting = [d for d in DTYPES if spec.bound <= (1 if d is np.bool_ else np.iinfo(d).max)]
        values = generator.integers(0, spec.bound, spec.length, endpoint=True)
        ends = generator.random(spec.length) < 0.5
        values[ends] = generator.choice([0, spec.bound], int(ends.sum()))
        return values.astype(fitting[generator.integers(len(fitting))])

    inputs = {client: {spec.name: draw(spec) for spec in specs} for client in range(num_clients)}
    result = run_session(protocol, plan, signing_keys[:num_clients], inputs)

    assert result.survivors == tuple(range(num_clients))
    assert_totals(plan, result.totals, sums(plan, inputs, range(num_clients)))


@pytest.mark.parametrize("num_clients", [130, pytest.param(300, marks=pytest.mark.slow)])
def test_votes_do_not_wrap_with_many_clients(protocol, make_plan, signing_keys, num_clients):
    """More than 127 votes on one weight are counted as they are."""
    plan = make_plan(num_clients, (VectorSpec("votes", 70, 1),))
    inputs = {client: {"votes": np.ones(70, np.int8)} for client in range(num_clients)}
    result = run_session(protocol, plan, signing_keys[:num_clients], inputs)

    assert_totals(plan, result.totals, {"votes": np.full(70, num_clients)})


def test_totals_are_wide_enough_for_the_largest_sum(protocol, make_plan, signing_keys):
    """Totals are int32 up to 2**31 - 1 and int64 above."""
    specs = (VectorSpec("narrow", 3, (2**31 - 1) // 4), VectorSpec("wide", 3, 2**31 // 4))
    plan = make_plan(4, specs)
    inputs = {client: {spec.name: np.full(3, spec.bound) for spec in specs} for client in range(4)}
    result = run_session(protocol, plan, signing_keys[:4], inputs)

    assert {name: str(total.dtype) for name, total in result.totals.items()} == {"narrow": "int32", "wide": "int64"}
    assert_totals(plan, result.totals, sums(plan, inputs, range(4)))


def test_vectors_of_several_chunks_are_summed(make_parties):
    """A vector longer than a chunk, followed by a short one, arrives whole in messages of little more than 1 MiB."""
    specs = (VectorSpec("long", 2**18 + 5, 2**40), VectorSpec("votes", 3, 1))
    parties = make_parties(3, specs)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    for client in parties.everyone:
        messages = parties.messages(Step.SUBMIT, client)
        for message in messages:
            parties.receive(Step.SUBMIT, message)
        assert len(messages) > 2
        assert max(map(len, messages)) <= 2**20 + 200
    parties.walk(Step.CONFIRM, Step.REVEAL)

    parties.check_totals()


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("leavers", SUBSETS, ids=str)
def test_every_dropout_set_gives_the_survivors_sum_or_none(protocol, make_plan, signing_keys, step, leavers):
    """With enough clients left the totals are exact, with too few there are none, whatever step they leave at."""
    plan = make_plan(4)
    inputs = {c: {v.name: np.full(v.length, min(c + 1, v.bound)) for v in plan.vectors} for c in range(4)}
    stayers = tuple(client for client in range(4) if client not in leavers)
    if len(stayers) < 3:
        with pytest.raises(TooFewSurvivors, match="clients are left"):
            run_session(protocol, plan, signing_keys[:4], inputs, dropouts={step: leavers})
        return
    survivors = stayers if step <= Step.SUBMIT else tuple(range(4))
    result = run_session(protocol, plan, signing_keys[:4], inputs, dropouts={step: leavers})

    assert result.survivors == survivors
    assert_totals(plan, result.totals, sums(plan, inputs, survivors))


def test_dropouts_at_several_steps_add_up(protocol, make_plan, signing_keys):
    """Clients may leave at different steps of one session."""
    plan = make_plan(9, recovery_threshold=6, minimum_survivors=7)
    inputs = {c: {v.name: np.full(v.length, 1) for v in plan.vectors} for c in range(9)}
    dropouts = {Step.SHARE: frozenset({8}), Step.SUBMIT: frozenset({0}), Step.REVEAL: frozenset({3})}
    result = run_session(protocol, plan, signing_keys[:9], inputs, dropouts=dropouts)

    assert result.survivors == (1, 2, 3, 4, 5, 6, 7)
    assert_totals(plan, result.totals, sums(plan, inputs, range(1, 8)))


def test_order_of_arrival_is_irrelevant(parties):
    """Clients may do each step in any order, and the chunks of several clients may mingle."""
    for step in (Step.ADVERTISE, Step.SHARE):
        parties.do(step, 2, 0, 3, 1)
    queues = {client: parties.messages(Step.SUBMIT, client) for client in (3, 1, 0, 2)}
    while any(queues.values()):
        for queue in queues.values():
            if queue:
                parties.receive(Step.SUBMIT, queue.pop(0))
    for step in (Step.CONFIRM, Step.REVEAL):
        parties.do(step, 1, 3, 2, 0)

    parties.check_totals()


def test_a_partial_submitter_is_never_added(make_parties):
    """A client that vanishes before its closing message leaves no trace, though every chunk arrived."""
    parties = make_parties(4, (VectorSpec("long", 2**18 + 5, 2**40), VectorSpec("votes", 3, 1)))
    parties.walk(Step.ADVERTISE, Step.SHARE)
    for message in parties.messages(Step.SUBMIT, 1)[:-1]:
        parties.receive(Step.SUBMIT, message)
    for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 2, 3)

    parties.check_totals(0, 2, 3)


def test_packed_vectors_are_taken_as_they_are(parties):
    """A caller may hand in words that it packed in the protocol's layout."""
    plain_inputs = parties.inputs[1]
    packed = {}
    for spec in parties.plan.vectors:
        layout = parties.protocol.layout(parties.plan, spec)
        packed[spec.name] = PackedVector(pack(plain_inputs[spec.name], layout), layout, spec.length)
    parties.inputs[1] = packed
    parties.walk(Step.ADVERTISE, Step.REVEAL)
    parties.inputs[1] = plain_inputs

    parties.check_totals()


@pytest.mark.parametrize("step", Step)
def test_a_client_does_each_step_once(parties, step):
    """The same step again, with the very same request, is refused, and the session goes on."""
    if step > Step.ADVERTISE:
        parties.walk(Step.ADVERTISE, Step(step - 1))
    request = b"" if step is Step.ADVERTISE else parties.ask(step, 0)
    first = parties.answer(step, 0, request)
    with pytest.raises(RepeatedStep, match="this step was done before"):
        parties.answer(step, 0, request)
    for message in first:
        parties.receive(step, message)
    parties.do(step, 1, 2, 3)
    if step < Step.REVEAL:
        parties.walk(Step(step + 1), Step.REVEAL)

    parties.check_totals()


@pytest.mark.parametrize("step", list(Step)[1:])
def test_a_client_does_the_steps_in_order(parties, step):
    """A step before its predecessor is refused."""
    with pytest.raises(RepeatedStep, match="the steps before this one are not done"):
        parties.answer(step, 0, b"")


def test_an_unfinished_submission_is_not_repeated_and_not_confirmed(parties):
    """Once submit was called, it is not begun again; confirm waits for its last message."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    inbox = parties.ask(Step.SUBMIT, 0)
    messages = parties.clients[0].submit(inbox, parties.inputs[0])
    next(messages)
    with pytest.raises(RepeatedStep, match="this step was done before"):
        parties.clients[0].submit(inbox, parties.inputs[0])
    with pytest.raises(RepeatedStep, match="the steps before this one are not done"):
        parties.clients[0].confirm(b"")


@pytest.mark.parametrize("step", list(Step)[2:])
def test_the_server_closes_steps_in_order(parties, step):
    """The server makes no message for a step whose predecessors are open."""
    with pytest.raises(RepeatedStep, match="only the open step can be closed"):
        parties.ask(step, 0)


def test_the_server_has_no_results_before_the_end(parties):
    """Totals and survivors come only after their step."""
    with pytest.raises(RepeatedStep, match="the step is not closed yet"):
        parties.server.survivors()
    with pytest.raises(RepeatedStep, match="only the open step can be closed"):
        parties.server.totals()


@pytest.mark.parametrize("step", list(Step)[1:])
def test_the_server_addresses_only_clients_that_are_there(parties, step):
    """A client that left is not sent the messages of later steps."""
    before = Step(step - 1)
    if before > Step.ADVERTISE:
        parties.walk(Step.ADVERTISE, Step(before - 1))
    parties.do(before, 0, 1, 2)
    with pytest.raises(ValueError, match=f"recipient=3 must be a client that did {before.name.lower()}"):
        parties.ask(step, 3)


def test_too_few_survivors_leave_the_step_open(parties):
    """After TooFewSurvivors a late client may still save the session."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    parties.do(Step.SUBMIT, 0, 1)
    with pytest.raises(TooFewSurvivors, match="2 of 4 clients are left, 3 are needed"):
        parties.ask(Step.CONFIRM, 0)
    parties.do(Step.SUBMIT, 3)
    for step in (Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 1, 3)

    parties.check_totals(0, 1, 3)


@pytest.mark.parametrize(
    ("name", "vector", "match"),
    [
        ("votes", np.full(130, 2), r"'votes': values must be in \[0, 1\]"),
        ("votes", np.full(130, -1), r"'votes': values must be in \[0, 1\]"),
        ("votes", np.zeros(130), "'votes': values with dtype float64 must be integers or bool"),
        ("votes", np.zeros((13, 10), int), "'votes': values with shape"),
        ("votes", np.zeros(129, int), "'votes': length=129 must be 130"),
        ("other", np.zeros(130, int), "must be those of the plan"),
        (7, np.zeros(130, int), "must be those of the plan"),
        ("votes", np.full(130, 3, np.uint8).view(bool), "'votes': values with dtype bool must be bytes 0 or 1"),
        ("votes", [0] * 130, "'votes': a list must be an array or a packed vector"),
        ("votes", None, "'votes': a NoneType must be an array or a packed vector"),
    ],
    ids=["above", "below", "float", "shape", "length", "name", "number", "bool", "list", "none"],
)
def test_bad_vectors_are_refused_before_anything_leaves(parties, name, vector, match):
    """A vector that breaks the plan is an error of the caller; the client may still submit a right one."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    inbox = parties.ask(Step.SUBMIT, 0)
    with pytest.raises(ValueError, match=match):
        parties.clients[0].submit(inbox, parties.inputs[0] | {name: vector})
    parties.walk(Step.SUBMIT, Step.REVEAL)

    parties.check_totals()


@pytest.mark.parametrize("signed", [False, True])
def test_entries_that_change_after_the_check_never_leave_out_of_range(make_parties, signed):
    """Packing happens when messages are asked for: what a caller wrote into its array by then is checked again."""
    parties = make_parties(4, (VectorSpec("v", 130, 1, signed),))
    parties.inputs = {client: {"v": np.zeros(130, np.int64)} for client in range(4)}
    parties.walk(Step.ADVERTISE, Step.SHARE)
    messages = parties.clients[0].submit(parties.ask(Step.SUBMIT, 0), parties.inputs[0])
    parties.inputs[0]["v"][77] = 3
    with pytest.raises(ValueError, match=r"'v': values must be in \[-?\d, 1\]"):
        list(messages)
    for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, 1, 2, 3)

    parties.check_totals(1, 2, 3)


def test_the_step_is_done_with_the_closing_message(parties):
    """Whoever has been handed the last message may confirm, without asking for one more."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    messages = parties.clients[0].submit(parties.ask(Step.SUBMIT, 0), parties.inputs[0])
    for _ in range(parties.server._buffers.parts):
        parties.receive(Step.SUBMIT, next(messages))
    parties.do(Step.SUBMIT, 1, 2, 3)
    parties.walk(Step.CONFIRM, Step.REVEAL)

    parties.check_totals()


def test_a_reveal_request_relays_as_many_confirmations_as_it_takes(parties):
    """Four confirmed, three are needed: a client is sent, and verifies, three."""
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    request = decode(parties.ask(Step.REVEAL, 0))
    _, signatures, _ = decode_confirmations(request.body, 4, request.frame)

    assert len(signatures) == parties.plan.recovery_threshold == 3
    parties.do(Step.REVEAL)
    parties.check_totals()


@pytest.mark.parametrize("step", list(Step)[:-1])
def test_nobody_is_present_in_an_open_step(parties, step):
    """Not even a client that has done it: that it may be addressed shows once the step is closed."""
    parties.walk(Step.ADVERTISE, step)
    attendance = parties.server._attendance
    for client in (0, 9):
        with pytest.raises(RepeatedStep, match="the step is not closed yet"):
            attendance.require_present(step, client)
    parties.ask(Step(step + 1), 0)
    attendance.require_present(step, 0)
    with pytest.raises(ValueError, match="recipient=9 must be a client that did"):
        attendance.require_present(step, 9)


def test_a_vector_packed_otherwise_is_refused(parties):
    """Words in another layout than the protocol's are not mistaken for its own."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    spec = parties.plan.vectors[0]
    layout = type(parties.protocol.layout(parties.plan, spec))(radix=7, lanes=3)
    vectors = parties.inputs[0] | {spec.name: PackedVector(pack(np.zeros(130, int), layout), layout, 130)}
    with pytest.raises(ValueError, match=r"'votes': layout=Layout.* must be Layout"):
        parties.clients[0].submit(parties.ask(Step.SUBMIT, 0), vectors)


def test_a_client_needs_its_own_key_and_index(protocol, make_plan, signing_keys):
    """The key must be the one that the roster lists at the index."""
    plan = make_plan(4)
    with pytest.raises(ValueError, match="signing_key of index=1 must be the one that the roster lists"):
        protocol.client(plan, 1, signing_keys[0])
    for index in (-1, 4):
        with pytest.raises(ValueError, match=rf"index={index} must be in \[0, 4\)"):
            protocol.client(plan, index, signing_keys[0])


def test_no_repr_holds_key_bytes(parties):
    """Neither roles nor what they hold print a secret, at any depth of repr."""
    parties.walk(Step.ADVERTISE, Step.REVEAL)
    secrets = [key.private_bytes_raw() for key in parties.keys[:4]]
    objects = [parties.protocol, parties.plan, parties.server, *parties.clients]
    shown = "".join(repr(thing) + repr(vars(thing) if hasattr(thing, "__dict__") else "") for thing in objects)

    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
