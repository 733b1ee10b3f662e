"""Estimates of seconds and memory: scaled from what was measured, added up from what must be held."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.plan.measured_block import BlockRates, measure_block
from experiments.plan.measured_protocol import Corner, Line, ProtocolRates, measure_protocol
from experiments.plan.memory import Sizes, peak_memory, resident_bytes
from experiments.plan.seconds import Work, expected_seconds
from experiments.plan.tables import count, duration, size
from fedprllm_secure.method import Method
from fedprllm_secure.sparsity import Sparsity
from protocols import VectorSpec

BLOCK = BlockRates(
    weights=100,
    rows=4,
    tokens=10,
    parties=2,
    seconds={"load": 1.0, "calibrate": 8.0, "propagate": 4.0, "decide": 6.0, "select": 5.0},
)
PROTOCOL = ProtocolRates(
    (
        (Corner(3, 0, 1.0, 0.5), Corner(3, 1000, 2.0, 1.0)),
        (Corner(9, 0, 1.6, 0.5), Corner(9, 1000, 3.2, 1.0)),
    )
)
WORK = Work(
    weights=200,
    outer_weights=0,
    tokens=10,
    rows=8,
    client_rows=2,
    deciding=3,
    selections=2,
    passes=1,
    evaluated=0,
    variants=1,
    contents=(1000, 1000),
    clients=4,
    peers=3,
)
SIZES = Sizes(
    block_weights=1000,
    block_bytes=4000,
    matrix_weights=400,
    outer_bytes=500,
    hidden_bytes=100,
    batch_bytes=10,
    entries=1000,
    content_bytes=300,
)


def test_seconds_grow_with_what_is_done():
    """Twice the weights and twice the windows of the measured block: four times the passes, twice the rest."""
    found = expected_seconds(WORK, BLOCK, PROTOCOL)

    simulation = found["simulation"]
    assert simulation["calibrate"] == pytest.approx(4 * 8.0)
    assert simulation["propagate"] == pytest.approx(4 * 4.0)
    assert simulation["decide"] == pytest.approx(3 * 2 * 6.0 / 2)
    assert simulation["select"] == pytest.approx(2 * 2 * 5.0)
    assert simulation["protocol"] == pytest.approx(4 * 2 * (2.0 + 1.0))
    assert simulation["evaluation"] == 0
    assert found["client"]["protocol"] == pytest.approx(2 * 2.0)
    assert found["server"]["protocol"] == pytest.approx(4 * 2 * 1.0)
    assert simulation["total"] == pytest.approx(sum(simulation.values()) / 2)


def test_evaluation_passes_every_variant_through_blocks_and_head():
    """Windows, variants and the head's weights all count."""
    one = expected_seconds(replace(WORK, evaluated=3, variants=2), BLOCK, PROTOCOL)["simulation"]["evaluation"]
    more = expected_seconds(replace(WORK, evaluated=3, variants=2, outer_weights=200), BLOCK, PROTOCOL)

    per_window = 8.0 / 4 * 2
    assert one == pytest.approx(3 * 2 * per_window + 2 * 1.0)
    assert more["simulation"]["evaluation"] == pytest.approx(2 * 3 * 2 * per_window + 2 * 1.0)


def test_sessions_between_and_beyond_the_measured_ones():
    """Linear in bytes and in peers."""
    assert PROTOCOL.client_seconds(peers=3, content=500) == pytest.approx(1.5)
    assert PROTOCOL.client_seconds(peers=6, content=1000) == pytest.approx(2.6)
    assert PROTOCOL.client_seconds(peers=15, content=0) == pytest.approx(2.2)
    assert PROTOCOL.server_seconds(peers=15, content=2000) == pytest.approx(1.5)


def test_a_line_rises_or_is_level_and_is_never_below_zero():
    """Measurements scatter; more does not cost less, and an estimate below nothing is none."""
    assert Line((1.0, 2.0), (1.0, 2.0)).at(9.0) == 2.0
    assert Line((0.0, 2.0), (1.0, 1.0)).at(9.0) == 1.5
    assert Line((2.0, 1.0), (3.0, 2.0)).at(0.0) == 0.0


@pytest.mark.parametrize(("peers", "measured"), [(4, [4]), (50, [3, 9])])
def test_small_rosters_are_measured_as_they_are(peers, measured):
    """Large ones from two small ones, with a short and a long vector each."""
    rates = measure_protocol("additive", VectorSpec("v", 5000, 1), peers=peers)

    assert [pair[0].peers for pair in rates.corners] == measured
    assert all(0 < small.content < large.content for small, large in rates.corners)
    assert rates.client_seconds(peers=peers, content=10_000) > 0


def test_a_block_is_measured_phase_by_phase():
    """About as many weights as asked for, and the phases that a run's result names."""
    method = Method(sparsity=Sparsity.parse("0.5"), protocol="ckks")
    rates = measure_block(method, block_weights=50_000, length=16, device=torch.device("cpu"))

    assert 25_000 < rates.weights < 100_000
    assert (rates.rows, rates.tokens, rates.parties) == (2, 16, 2)
    assert set(rates.seconds) >= {"load", "calibrate", "decide", "propagate", "select"}
    assert rates.per_weight("decide") == rates.seconds["decide"] / rates.weights / 2


def test_memory_is_what_must_be_held_at_once():
    """The server of a deployment may hold a submission of every client; a simulation holds one."""
    found = peak_memory(SIZES, clients=3, per_client=2, rows=10, variants=4, hidden_memory=10**9)
    more = peak_memory(SIZES, clients=4, per_client=3, rows=11, variants=5, hidden_memory=10**9)

    assert more["client"] - found["client"] == 100
    assert more["simulation"] - found["simulation"] == 100 + 1000
    many = peak_memory(SIZES, clients=103, per_client=2, rows=10, variants=4, hidden_memory=10**9)
    more = peak_memory(SIZES, clients=104, per_client=2, rows=10, variants=4, hidden_memory=10**9)
    assert more["server"] - many["server"] == 300


def test_hidden_states_past_the_limit_lie_on_disk():
    """They do not count as memory."""
    at_limit, beyond = (
        peak_memory(SIZES, clients=3, per_client=2, rows=rows, variants=1, hidden_memory=500) for rows in (5, 5000)
    )

    assert at_limit == beyond


def test_resident_memory_is_read():
    """This process holds some."""
    assert resident_bytes() > 10_000_000


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(1360), "1.36 kB"),
        (size(999_999), "1 MB"),
        (size(3.2e17), "320 PB"),
        (count(999), "999"),
        (count(57_072), "57.1k"),
        (count(6_738_415_616), "6.74B"),
        (duration(0.0123), "0.012 s"),
        (duration(42.4), "42 s"),
        (duration(600), "10 min"),
        (duration(7200), "2.0 h"),
        (duration(10 * 86400), "10 days"),
    ],
)
def test_figures_are_short(shown, says):
    """Three digits and a unit."""
    assert shown == says
