"""Sorting runs into settings and panels, and naming them; means and intervals over seeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.report.groups import names_of, panels_of, settings_of
from experiments.report.intervals import listed, seconds, size, spread
from experiments.report.runs import Run
from tests.experiments.report.written import private, put, result


@pytest.fixture
def runs(tmp_path):
    """Read results as runs, in their order."""

    def read(*contents):
        return [
            Run.read(put(tmp_path / str(number), content), name=f"R{number + 1}")
            for number, content in enumerate(contents)
        ]

    return read


def test_names_say_what_differs_and_no_more(runs):
    """Protocols alone; then noise; then clients, where two runs would else have one name."""
    assert list(names_of(runs(result(), result(protocol="ckks"))).values()) == ["plain", "ckks"]
    assert list(names_of(runs(result(), private(3.0))).values()) == ["plain (no DP)", "additive (epsilon 3)"]
    found = names_of(runs(result(protocol="additive"), private(3.0), private(8.0, clients=8)))
    assert list(found.values()) == ["additive (no DP)", "additive (epsilon 3)", "additive (epsilon 8)"]
    found = names_of(runs(result(clients=4), result(clients=8), result(protocol="bfv")))
    assert list(found.values()) == ["plain (4 clients)", "plain (8 clients)", "bfv (4 clients)"]


def test_seeds_are_repetitions_and_nothing_else_is(runs):
    """Two seeds are one setting; another number of clients, sparsity or epsilon is another."""
    found = settings_of(
        runs(
            result(value=20, seed=0), result(value=22, seed=1), result(value=30, clients=5), private(3.0), private(8.0)
        )
    )

    assert [len(each.runs) for each in found] == [2, 1, 1, 1]
    mean = found[0].figure(lambda run: run.value)
    assert (mean.mean, mean.count) == (21, 2)


def test_a_seed_counts_once(runs):
    """Runs of one seed are of one text: they make no interval."""
    [setting] = settings_of(runs(result(value=20), result(value=22)))

    found = setting.figure(lambda run: run.value)

    assert (found.mean, found.low, found.count) == (21, None, 1)


def test_a_figure_that_a_run_lacks_is_none(runs):
    """A mean over the others would be of other runs."""
    [setting] = settings_of(runs(result(value=20), result(value=None, seed=1)))

    assert setting.figure(lambda run: run.value) is None


def test_panels_hold_what_can_be_compared(runs):
    """One model, sparsity, source and evaluation; the largest first; none where nothing was measured."""
    bare = result() | {"perplexity": {}}
    longer = result()
    longer["perplexity"]["windows"] = 12
    found = panels_of(runs(result(sparsity="0.7"), result(), private(3.0), longer, bare))

    assert [[run.name for run in panel.runs] for panel in found] == [["R2", "R3"], ["R1"], ["R4"]]
    assert "sparsity 0.5" in found[0].title


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_intervals_are_students(values):
    """As scipy has them."""
    found = spread(values)
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-6)
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=found.mean, scale=error)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


def test_one_value_has_no_interval_and_none_has_no_mean():
    """It is shown alone."""
    assert spread([3.0]).shown() == "3.00"
    assert spread([3.0, 3.0]).shown(1) == "3.0 [3.0, 3.0]"
    with pytest.raises(ValueError, match="values must not be empty"):
        spread([])


def test_words():
    """Units and lists."""
    assert [size(count) for count in (0, 999, 1000, 2.5e6, 3e15)] == ["0 B", "999 B", "1 kB", "2.5 MB", "3e+03 TB"]
    assert [seconds(value) for value in (0.002, 0.5, 61.23)] == ["2 ms", "0.5 s", "61.2 s"]
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
