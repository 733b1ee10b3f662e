"""`fedprllm bench scale`: what a session costs a client, in tables and a figure."""

from __future__ import annotations

import builtins
import xml.etree.ElementTree as ElementTree

import pytest

from experiments.bench import scale
from experiments.bench.cost_figure import Curve, check_plot_file, draw_costs
from experiments.bench.scale import bench_scale, measure, plan_for
from fedprllm_secure.errors import InputError
from protocols import PROTOCOLS, Claim, Roster, Simulation, Step, generate_signing_key
from protocols.additive.protocol import supported_claim

CURVE = Curve("complete graph", [10, 100], [5e3, 5e4], [0.001, 0.02], [0.002, 0.002])


def svg_texts(file):
    """Return all text elements of an SVG."""
    return [text.text for text in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("clients", [50, 60, 101])
@pytest.mark.parametrize("claim", [None, *Claim])
def test_plans_support_what_they_are_named_for(clients, claim):
    """One client in twenty may help the server and one may leave; no sparse plan claims more than is asked."""
    plan = plan_for(Roster.of([generate_signing_key() for _ in range(clients)]), claim)
    few = -(-clients // 20)
    PROTOCOLS["additive"].check(plan)

    assert (plan.assumed_colluders, clients - plan.minimum_survivors) == (few, few)
    assert supported_claim(plan, few, few) is (claim or Claim.LYING)


def test_a_cost_is_that_of_the_real_clients():
    """Bytes of each step are what the table of the wire format says for the neighbours of one client."""
    cost = measure(60, Claim.LYING, votes=1000, real=3)
    framing = 62 + 64  # header and signature

    assert (cost.clients, cost.real, cost.neighbours, cost.threshold) == (60, 3, 28, 18)
    assert cost.bytes_up[Step.ADVERTISE] == framing + 96
    assert cost.bytes_up[Step.SHARE] == framing + 28 * 82
    assert cost.bytes_up[Step.REVEAL] == framing + 28 * 33
    assert cost.bytes_down[Step.REVEAL] == 62 + 8 + 4 + 18 * 68
    assert cost.client_bytes == sum(cost.bytes_up.values()) + sum(cost.bytes_down.values())
    assert cost.seconds == cost.setup_seconds + sum(cost.client_seconds.values())
    assert cost.server_seconds > 0


def test_a_complete_graph_costs_a_client_as_much_as_there_are_clients():
    """Twice the clients, twice the sealed shares."""
    small, large = (measure(clients, None, votes=100, real=2).bytes_up[Step.SHARE] for clients in (20, 39))

    assert large - 126 == 2 * (small - 126)


class Wrong(Simulation):
    """A simulation that miscounts by one vote."""

    def close(self):
        """Add a vote."""
        result = super().close()
        result.totals["votes"][0] += 1
        return result


def test_a_wrong_total_is_no_measurement(monkeypatch):
    """Costs of a session that gave a wrong total are not reported."""
    monkeypatch.setattr(scale, "Simulation", Wrong)
    with pytest.raises(RuntimeError, match="a session of 10 clients gave a wrong total"):
        measure(10, None, votes=100)


def test_tables_and_figure(monkeypatch, tmp_path, capsys):
    """Every size is measured under every graph that is one, and what is extrapolated is labelled so."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(scale, "SIZES", (10, 60))
    monkeypatch.setattr(scale, "LARGEST_COMPLETE", 10)
    monkeypatch.setattr(scale, "REAL_CLIENTS", 2)
    monkeypatch.setenv("COLUMNS", "200")
    bench_scale(tmp_path / "cost.svg")
    printed = capsys.readouterr().out
    measured = [line for line in printed.splitlines() if line.startswith("measured: ")]

    assert measured == [
        "measured: complete graph, 10 clients",
        "measured: sparse, server that follows the protocol, 60 clients",
        "measured: sparse, lying server, 60 clients",
    ]
    assert "per-client cost of 20 real clients times n" in printed
    assert {*scale.GRAPHS, "clients", "client: seconds"} <= set(svg_texts(tmp_path / "cost.svg"))


def test_a_figure_is_small_text_and_the_same_again(tmp_path):
    """The same costs give the same bytes, as SVG with text as text, or as PNG."""
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "two.svg", "one.png"):
        draw_costs([CURVE], tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.svg").stat().st_size < 100_000
    assert "complete graph" in svg_texts(tmp_path / "one.svg")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_curves_have_a_cost_a_size():
    """A curve that lacks a point is refused."""
    with pytest.raises(ValueError, match="client_seconds=1 values must be one for each of 2 numbers"):
        Curve("short", [10, 100], [1.0, 2.0], [1.0], [1.0, 2.0])


def test_figures_that_cannot_be_drawn_are_refused_first(tmp_path, monkeypatch):
    """A wrong ending, a missing folder and a missing library are told before minutes are spent."""
    with pytest.raises(InputError, match=r"--plot=cost.pdf must end in .svg or .png"):
        check_plot_file(tmp_path.__class__("cost.pdf"))
    with pytest.raises(InputError, match=r"--plot=.*none/cost.svg must be in a folder that exists"):
        check_plot_file(tmp_path / "none" / "cost.svg")
    real_import = builtins.__import__

    def without_matplotlib(name, *rest):
        if name == "matplotlib":
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(InputError, match="--plot needs matplotlib: pip install"):
        check_plot_file(tmp_path / "cost.svg")
