"""What rows say: settings, figures over seeds, paired differences, and the sentences made of them."""

from __future__ import annotations

import math
import statistics

import pytest
from scipy import stats

from experiments.report.intervals import spread
from experiments.studies.findings import by_seed, chosen, over_seeds, paired, summarise, told


def row(seed: int, perplexity: float | None, *, group: str | None = "layer", state: str = "done") -> dict:
    """A row of a sweep, as far as findings look at it."""
    return {"seed": seed, "state": state, "group": group, "perplexity": perplexity}


def test_only_finished_rows_of_the_setting_are_chosen():
    """A flag that is not given is asked for by None."""
    rows = [row(0, 1.0), row(0, 2.0, group="row"), row(1, None, state="failed"), row(2, 3.0, group=None)]

    assert chosen(rows, group="layer") == rows[:1]
    assert chosen(rows, group=None) == rows[3:]


def test_a_line_holds_mean_and_interval_by_setting():
    """Student's interval over the seeds that have the figure; settings without a result stay, empty."""
    rows = [row(seed, value) for seed, value in enumerate((10.0, 11.0, 15.0))]
    rows += [row(0, None, group="row", state="failed")]

    first, second = summarise(rows, by=("group",), figures={"perplexity found": "perplexity"})

    half = stats.t.ppf(0.975, 2) * statistics.stdev((10, 11, 15)) / math.sqrt(3)
    assert first.flat() == {
        "group": "layer",
        "seeds": 3,
        "perplexity_found": pytest.approx(12),
        "perplexity_found_low": pytest.approx(12 - half),
        "perplexity_found_high": pytest.approx(12 + half),
    }
    assert (second.setting, second.seeds, second.figures) == ({"group": "row"}, 0, {"perplexity found": None})


def test_differences_are_paired_by_seed():
    """What all seeds share cancels; a seed that one side lacks is left out."""
    left, right = [row(0, 110.0), row(1, 11.0), row(2, 5.0)], [row(1, 10.0), row(0, 109.0)]

    assert paired(left, "perplexity", right) == spread([1.0, 1.0])
    assert paired(left, "perplexity", [], "perplexity") is None
    assert over_seeds([row(0, None)], "perplexity") is None


def test_two_rows_of_one_seed_are_no_setting():
    """Averaging over what differs unseen would be an interval of nothing."""
    with pytest.raises(ValueError, match="seed=0 must be of one row of a setting"):
        by_seed([row(0, 1.0), row(0, 2.0, group="row")], "perplexity")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 1.1, 0.9], "a has higher perplexity than b: +1 [+0.752, +1.25], 3 seeds."),
        ([-1.0, -1.1, -0.9], "a has lower perplexity than b: -1 [-1.25, -0.752], 3 seeds."),
        ([1.0, -1.0], "a cannot be told from b: perplexity +0 [-12.7, +12.7], 2 seeds."),
        ([0.0, 0.0], "a and b have the very same perplexity on 2 seeds."),
        ([0.5], "a: perplexity +0.5 against b, of one seed, which gives no interval."),
    ],
    ids=["higher", "lower", "either", "equal", "one seed"],
)
def test_a_sentence_says_what_the_interval_allows(values, text):
    """Higher or lower only where the interval leaves out 0."""
    (sentence,) = told("a", "b", spread(values))

    assert sentence.text == text
    assert sentence.spread == spread(values)


def test_nothing_is_said_of_nothing():
    """No seed has both."""
    assert told("a", "b", None) == []
