"""Signed entries and noise: the packed layout, sums under every protocol, and what happens past the headroom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protocols import PROTOCOLS, PackedVector, ProtocolError, Step, VectorSpec, pack, run_session
from protocols.packing import Layout, accumulate, check_words, pack_unchecked, unpack

MANY = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def slow_words(values, layout):
    """Return the words by the definition, modulo 2**64."""
    values, lanes = [int(value) for value in values], layout.lanes
    return [
        sum(value * layout.radix**lane for lane, value in enumerate(values[start : start + lanes])) % 2**64
        for start in range(0, len(values), lanes)
    ]


@st.composite
def signed_vectors(draw):
    """Draw a layout of signed entries and entries that reach both ends."""
    reach = draw(st.one_of(st.sampled_from([1, 2, 4, 127, 128, 2**31, 2**62, 2**63 - 1]), st.integers(1, 2**63 - 1)))
    layout = Layout.for_sum(1, reach, signed=True)
    length = draw(st.sampled_from([1, 2, 39, 40, 41, 127, 128]))
    entry = st.one_of(st.sampled_from([-reach, 0, reach]), st.integers(-reach, reach))
    return layout, np.array(draw(st.lists(entry, min_size=length, max_size=length)), np.int64)


@MANY
@given(signed_vectors())
def test_signed_packing_agrees_with_big_integers(case):
    """Words are the positional notation of the definition, modulo 2**64, and unpacking gives the entries back."""
    layout, values = case
    words = pack(values, layout)
    totals = np.full(len(values), 7, np.int64) if layout.offset < 2**62 else np.zeros(len(values), np.int64)
    expected = values + totals
    accumulate(totals, words, layout)

    assert words.tolist() == slow_words(values, layout)
    assert unpack(words, layout, len(values)).tolist() == values.tolist()
    assert totals.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_every_signed_dtype_packs_alike(dtype):
    """One-byte entries, which are merged where they have no sign, among them."""
    layout = Layout.for_sum(8, 1, signed=True)
    values = np.random.default_rng(0).integers(-1, 1, 1001, endpoint=True).astype(dtype)

    assert pack(values, layout, bound=1).tolist() == slow_words(values, layout)


@pytest.mark.parametrize(
    ("summands", "bound", "headroom", "layout"),
    [
        (8, 1, 0, Layout(17, 15, 8)),
        (64, 1, 0, Layout(129, 9, 64)),
        (8, 1, 492, Layout(1001, 6, 500)),
        (1, 2**63 - 1, 0, Layout(2**64 - 1, 1, 2**63 - 1)),
    ],
)
def test_known_signed_layouts(summands, bound, headroom, layout):
    """The radix holds the sum and its noise on both sides of zero."""
    assert Layout.for_sum(summands, bound, signed=True, headroom=headroom) == layout


def test_known_signed_words():
    """Words written down once: minus one is the word below zero, and splitting adds 8 to each of 15 lanes."""
    layout = Layout.for_sum(8, 1, signed=True)

    assert pack(np.array([-1]), layout).tolist() == [2**64 - 1]
    assert pack(np.array([1, -1]), layout).tolist() == [2**64 - 16]
    assert layout.shift() == 8 * (17**15 - 1) // 16
    assert layout.shift(2) == 8 + 8 * 17
    assert Layout.for_sum(8, 1).shift() == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"summands": 1, "bound": 1, "headroom": 3}, "headroom=3 must be at least 0, and 0 for entries without sign"),
        ({"summands": 1, "bound": 1, "signed": True, "headroom": -1}, "headroom=-1 must be at least 0"),
        (
            {"summands": 2, "bound": 2**62, "signed": True, "headroom": 10},
            f"bound={2**62} must be at most {(2**63 - 1 - 10) // 2} for 2 summands a word",
        ),
        ({"summands": 1, "bound": 1, "signed": True, "headroom": 2**64}, "bound=1 must be at most 0"),
    ],
)
def test_signed_sums_that_overflow_are_refused(arguments, match):
    """A total that does not fit a single lane is refused when the layout is chosen."""
    with pytest.raises(ValueError, match=match):
        Layout.for_sum(**arguments)


def test_offset_belongs_to_the_radix():
    """Half of the radix, or none."""
    with pytest.raises(ValueError, match="offset=3 must be 0 or half of radix=9 less one"):
        Layout(9, 2, 3)


@pytest.mark.parametrize(
    ("values", "length", "match"),
    [
        ([3], 3, None),
        ([1, 1, 1], 2, "the lanes past the last entry must be zero"),
        ([1, 1, -1], 2, "the lanes past the last entry must be zero"),
        ([0, 0, 5], 3, r"words must be below 9\*\*3"),
        ([0, 0, -5], 3, r"words must be below 9\*\*3"),
    ],
)
def test_signed_words_out_of_range_are_refused(values, length, match):
    """Too high, too low, or with something past the end."""
    layout = Layout(9, 3, 4)
    words = pack_unchecked(np.array(values), layout)
    if match is None:
        check_words(words, layout, length)
        return
    for use in (lambda: check_words(words, layout, length), lambda: PackedVector(words, layout, length)):
        with pytest.raises(ValueError, match=match):
            use()


@pytest.mark.parametrize("entry", [2, -2])
def test_signed_entries_past_the_bound_are_refused(entry):
    """Nothing is clipped; the range in the message is that of signed entries."""
    with pytest.raises(ValueError, match=r"values must be in \[-1, 1\]"):
        pack(np.array([0, entry]), Layout.for_sum(8, 1, signed=True), bound=1)


@settings(MANY, max_examples=12)
@given(
    num_clients=st.integers(3, 9),
    vectors=st.lists(
        st.tuples(
            st.sampled_from([1, 15, 16, 40, 200]), st.sampled_from([1, 3, 2**20]), st.sampled_from([0, 9, 2**16])
        ),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 2**32 - 1),
)
@example(num_clients=9, vectors=[(16, 2**20, 2**16), (200, 1, 0)], seed=1)
def test_signed_totals_equal_the_numpy_sum(protocol, make_plan, signing_keys, num_clients, vectors, seed):
    """Under every protocol, beside a vector without sign, up to the very ends of the range."""
    signed = [VectorSpec(f"v{i}", length, bound, True, room) for i, (length, bound, room) in enumerate(vectors)]
    plan = make_plan(num_clients, (*signed, VectorSpec("votes", 130, 1)))
    generator = np.random.default_rng(seed)

    def draw(spec):
        lowest = -spec.bound if spec.signed else 0
        drawn = generator.integers(lowest, spec.bound, spec.length, endpoint=True)
        return np.where(generator.random(spec.length) < 0.5, drawn, generator.choice([lowest, spec.bound]))

    inputs = {client: {spec.name: draw(spec) for spec in plan.vectors} for client in range(num_clients)}
    for spec in signed:  # one client's noise takes totals to the ends of the headroom
        inputs[0][spec.name] = inputs[0][spec.name] + generator.choice([-spec.headroom, spec.headroom], spec.length)
    result = run_session(protocol, plan, signing_keys[:num_clients], inputs)

    for spec in plan.vectors:
        expected = sum(inputs[client][spec.name] for client in range(num_clients))
        assert result.totals[spec.name].dtype == plan.total_dtype(spec)
        np.testing.assert_array_equal(result.totals[spec.name], expected)


@pytest.mark.parametrize("name", ["additive", "bfv", "ckks"])
def test_large_noise_of_clients_may_cancel(make_plan, signing_keys, name):
    """An entry past the headroom is no error: only the total has to stay within it."""
    plan = make_plan(3, (VectorSpec("v", 20, 1, True, 100),))
    noise = np.arange(20) * 1000
    inputs = {0: {"v": noise + 1}, 1: {"v": 1 - noise}, 2: {"v": np.full(20, -1)}}

    assert run_session(PROTOCOLS[name], plan, signing_keys[:3], inputs).totals["v"].tolist() == [1] * 20


@pytest.mark.parametrize("name", ["additive", "bfv", "ckks"])
def test_a_total_past_the_headroom_moves_its_neighbour_by_one(make_plan, signing_keys, name):
    """Where there is a lane above it in the word."""
    plan = make_plan(3, (VectorSpec("v", 2, 1, True, 4),))
    zeros = {"v": np.zeros(2, np.int64)}
    result = run_session(PROTOCOLS[name], plan, signing_keys[:3], {0: {"v": np.array([8, 0])}, 1: zeros, 2: zeros})

    assert result.totals["v"].tolist() == [8 - 15, 1]


@pytest.mark.parametrize("name", ["additive", "ckks"])
def test_a_word_past_its_range_is_no_sum(make_plan, signing_keys, name):
    """In the top lane there is no neighbour; `bfv` wraps modulo a prime just above the range and cannot tell."""
    spec = VectorSpec("v", 1, 1, True, 4)
    length = PROTOCOLS[name].layout(make_plan(3, (spec,)), spec).lanes
    plan = make_plan(3, (VectorSpec("v", length, 1, True, 4),))
    zeros = {"v": np.zeros(length, np.int64)}
    beyond = np.zeros(length, np.int64)
    beyond[-1] = 8
    with pytest.raises(ProtocolError, match=r"are no sum of packed vectors|do not open to a sum"):
        run_session(PROTOCOLS[name], plan, signing_keys[:3], {0: {"v": beyond}, 1: zeros, 2: zeros})


def test_clients_without_noise_are_held_to_the_bound(make_parties):
    """Signed entries past the bound are the caller's error where the plan has no headroom."""
    signed = make_parties(3, (VectorSpec("v", 5, 2, True),))
    signed.inputs = {client: {"v": np.full(5, -2)} for client in range(3)}
    signed.do(Step.ADVERTISE)
    signed.do(Step.SHARE)
    inbox = signed.ask(Step.SUBMIT, 0)
    with pytest.raises(ValueError, match=r"'v': values must be in \[-2, 2\]"):
        signed.clients[0].submit(inbox, {"v": np.full(5, -3)})
