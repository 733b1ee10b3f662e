"""What each section shows of results."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.report.asked import asked
from experiments.report.audits import Audit
from experiments.report.claims import claims
from experiments.report.costs import costs
from experiments.report.document import Axis, Command, Curves, Document, Grid, Picture, Points, Series, Table, Text
from experiments.report.leakage import leakage, numbers_in
from experiments.report.matching import cell_of
from experiments.report.partitions import partitions
from experiments.report.runs import Run
from experiments.report.tradeoff import further, tradeoff
from tests.experiments.report.written import audit, cell, private, put, result


def section(document: Document, key: str):
    """Find a section."""
    return next(each for each in document.sections if each.key == key)


def pictures(document: Document) -> dict[str, Picture]:
    """List pictures by key."""
    return {picture.key: picture for picture in document.pictures()}


def words(part) -> str:
    """Join a section's paragraphs and points."""
    return " ".join(
        block.words if isinstance(block, Text) else " ".join(block.each)
        for block in part.blocks
        if isinstance(block, Text | Points)
    )


def runs_of(folder, *contents):
    """Read runs."""
    return [Run.read(put(folder / f"r{n}", each), name=f"R{n + 1}") for n, each in enumerate(contents)]


def test_first_come_asked_verdict_trade_off_and_cost(document):
    """Then the rest; what failed comes last."""
    keys = [each.key for each in document.sections]

    assert keys[:4] == ["asked", "verdict", "trade-off", "cost"]
    assert keys[-1] == "failed"


def test_perplexity_stands_against_epsilon(document):
    """A series a protocol; noise by its epsilon, what has no claim right of all; intervals where there are seeds."""
    drawing = pictures(document)["perplexity-epsilon-0"].drawing
    data = {(each.name, each.shape): each for each in drawing.series if each.role == "data"}
    limits = [each for each in drawing.series if each.role == "limit"]

    noisy = data["additive (iid)", "line"]
    assert noisy.x == (1.0, 3.0)
    assert noisy.y == (24.0, 22.0)
    plain = data["plain (iid)", "points"]
    assert plain.x[0] > 3.0
    assert plain.y == (20.0,)
    assert plain.low[0] < 19.5 < 20.5 < plain.high[0]
    assert {each.name: each.y[0] for each in limits} == {
        "dense (unpruned): 15.00": 15.0,
        "central (one party holds all text): 19.00": 19.0,
        "public-only: 21.00": 21.0,
    }
    assert dict(drawing.x.ticks).keys() >= {1.0, 3.0, 12.0}


def test_all_that_is_drawn_lies_on_the_axes(document):
    """Intervals, lines and ticks too; curves may come in from beyond."""
    for picture in document.pictures():
        if isinstance(picture.drawing, Curves) and not picture.key.startswith("roc"):
            x, y = picture.drawing.x, picture.drawing.y
            for each in picture.drawing.series:
                assert all(x.low <= value <= x.high for value in each.x)
                assert all(y.low <= value <= y.high for value in (*each.y, *each.low, *each.high))


def test_points_without_a_claim_do_not_cover_each_other(document):
    """Equal perplexities of two protocols are two points."""
    drawing = pictures(document)["perplexity-epsilon-0"].drawing
    places = [place for each in drawing.series if each.shape == "points" for place in each.x]

    assert len(places) == len(set(places)) == 4


def test_perplexity_stands_against_attacks_of_the_same_setting(document):
    """By the server's AUC; a run without an audit of its setting is not drawn."""
    table = pictures(document)["perplexity-attack-0"].table
    found = {row[0]: row[5] for row in table.rows}

    assert found == {
        "plain (no DP, iid)": "0.900 [0.850, 0.950]",
        "additive (no DP, iid)": "0.700 [0.650, 0.750]",
        "additive (epsilon 3, iid)": "0.600 [0.550, 0.650]",
    }


def test_panels_that_cannot_be_compared_stand_apart(document):
    """Another sparsity has a picture of its own, below the cost."""
    assert {picture.key for picture in section(document, "further").blocks if isinstance(picture, Picture)} == {
        "perplexity-epsilon-1"
    }
    assert further([], []) == []


def test_missing_axes_are_said(tmp_path):
    """No perplexity, no noise, no audit, an infinite perplexity."""
    [run] = runs_of(tmp_path, result())
    none, infinite = runs_of(tmp_path / "more", result() | {"perplexity": {}}, result(value=None))

    assert "No run of this panel used differential privacy" in words(tradeoff([run], []))
    assert "there is no attack to set perplexity against" in words(tradeoff([run], []))
    assert "No perplexity was measured" in words(tradeoff([none], []))
    assert "its perplexity is infinite: plain" in words(tradeoff([infinite], []))
    assert "No audit is among the inputs" in words(leakage([]))
    assert "No pruning run" in words(costs([]))
    assert "No run used differential privacy" in words(claims([run]))
    assert "nothing is said of non-IID clients" in words(partitions([run]))


@pytest.mark.parametrize(
    "changed",
    [
        {"clients": 5},
        {"windows_per_client": 3},
        {"sparsity": "0.6"},
        {"data": "other"},
        {"pruner": "magnitude"},
        {"group": "row"},
        {"local_group": "layer"},
        {"payload": "units"},
        {"ties": "random"},
        {"partition": "natural"},
        {"protocol": "ckks"},
        {"window_length": 64},
        {"dtype": "float32"},
    ],
)
def test_audits_of_other_settings_are_no_match(tmp_path, changed):
    """Not even nearly."""
    told = Audit.read(put(tmp_path / "audit", audit([cell("plain", "public observer"), cell()])), name="A1")
    same, other = runs_of(tmp_path, result(), result(**changed))
    found = cell_of(same, [told])[1]

    assert (found.configuration, found.adversary) == ("plain", "server")
    assert cell_of(other, [told]) is None


@pytest.mark.parametrize(
    "changed", [{"delta": 1e-6}, {"dp": "central"}, {"adjacency": "client-replace"}, {"rank": 4}, {"clip": 0.5}]
)
def test_audits_of_another_noise_are_no_match(tmp_path, changed):
    """And one without noise is none of a noisy run."""
    content = audit([cell("additive"), cell("additive, distributed epsilon 3", auc=0.6)])
    content["config"] |= {"dp": "distributed", "epsilon": 3.0, "delta": 1e-5, "adjacency": "client-zero-out"}
    told = Audit.read(put(tmp_path / "audit", content), name="A1")
    same, other = runs_of(tmp_path, private(3.0), private(3.0, **changed))

    assert cell_of(same, [told])[1].best.auc.value == 0.6
    assert cell_of(other, [told]) is None


def test_costs_are_means_of_a_setting(document):
    """A row a setting; bits are of the submission."""
    [table] = [block for block in section(document, "cost").blocks if isinstance(block, Table)]
    rows = {row[0]: row for row in table.rows}
    row = dict(zip(table.columns, rows["additive (no DP, sparsity 0.5, iid)"], strict=True))

    assert row["client sends"] == "3.24 kB"
    assert row["submitted, bits a weight"] == "3.2"
    assert row["peak memory"] == "700 MB"
    assert row["from"].names == ("R3",)


def test_roc_shows_what_can_be_seen(document):
    """The curve, guessing, what so many coins show, the claim where there is one, and what is below all support."""
    drawn = pictures(document)
    without = {each.role for each in drawn["roc-a2-0"].drawing.series}
    claimed = drawn["roc-a2-1"].drawing
    curve = claimed.series[0]

    assert without == {"data", "limit"}
    assert curve.shape == "steps"
    assert curve.y == (0.3, 0.7, 1.0)
    assert [each.name for each in claimed.series if each.role == "claim"] == [
        "claimed: epsilon 3, delta 1e-05, client-zero-out"
    ]
    limit = next(each for each in claimed.series if each.role == "claim")
    assert limit.y[0] == pytest.approx(np.exp(3) * limit.x[0] + 1e-5, rel=1e-3)
    low, high, _ = claimed.unseen
    assert (low, high) == (1e-3, pytest.approx(1 - (0.05 / 2) ** (1 / 8)))


def test_audits_without_curves_are_said_to_have_none(tmp_path):
    """Those of earlier versions."""
    content = audit()
    for each in content["cells"]:
        each.pop("roc")
    found = leakage([Audit.read(put(tmp_path / "audit", content), name="A1")])

    assert "kept no curves" in words(found)
    assert not any(isinstance(block, Picture) and block.key.startswith("roc") for block in found.blocks)


def test_matrix_has_protocols_and_adversaries(document):
    """What was not played is empty."""
    grid = pictures(document)["matrix-a1"].drawing

    assert grid.rows == ("plain", "additive")
    assert grid.columns == ("server", "public observer")
    assert grid.values == ((0.9, 0.9), (0.7, None))


def test_other_games_show_their_figures(tmp_path):
    """As they stand in the file."""
    content = audit() | {
        "game": {"name": "domain"},
        "figures": {"accuracy": 0.75, "by": {"a": 1}, "list": [1, 2], "each": [{"b": 2}]},
    }
    content.pop("cells")
    [text, table] = leakage([Audit.read(put(tmp_path / "audit", content), name="A1")]).blocks

    assert "domain" in text.words
    assert table.rows == (("accuracy", "0.75"), ("by, a", "1"), ("each, 1, b", "2"))
    assert numbers_in(True) == numbers_in("3") == []


def test_claims_stand_with_what_they_rest_on(document):
    """References are called references."""
    tables = [block for block in section(document, "claims").blocks if isinstance(block, Table)]

    assert tables[0].rows[0][:2] == ("additive (epsilon 1)", "(1.0, 1e-05)-differential privacy about client-zero-out")
    assert tables[0].rows[0][6:8] == ("1 (1)", "none: a simulation")
    assert tables[1].rows[0][1:4] == ("0.9", "0.95", "not given")
    assert "no claims" in tables[1].title
    assert "Not covered by any claim: timing" in words(section(document, "claims"))


def test_maps_show_matrices_by_block(document):
    """Uneven sparsity has a map; even sparsity a sentence; agreement where votes were saved."""
    drawn = pictures(document)
    grid = drawn["sparsity-0"].drawing

    assert isinstance(grid, Grid)
    assert grid.columns == ("0", "1")
    assert grid.rows == ("mlp.up_proj", "self_attn.q_proj")
    assert [each for row in grid.values for each in row] == pytest.approx([0.4, 0.5, 0.45, 0.55])
    assert "Every matrix lost the same share" in words(section(document, "layers"))
    assert "R3 (needs --save-votes)" in words(section(document, "layers"))
    assert "(votes are noisy)" in words(section(document, "layers"))
    assert {"agreement-0", "votes"} <= drawn.keys()


def test_partitions_stand_side_by_side(document):
    """With each client that pruned alone."""
    picture = pictures(document)["partitions-0"]
    alone = picture.drawing.series[-1]

    assert [text for _, text in picture.drawing.x.ticks] == ["iid", "dirichlet:0.1"]
    assert set(alone.y) == {22.0, 24.0}
    assert "not in a run's result" in picture.says


def test_failed_cells_are_shown_with_their_error(document):
    """And what could not be read, with why."""
    cells, left_out = section(document, "failed").blocks

    assert cells.rows == (("c2", "failed", "no room left", "--protocol additive"),)
    assert "cut short" in left_out.rows[0][0]


def test_every_figure_has_its_command(document):
    """What tables name is a command below, once."""
    commands = [block for block in section(document, "reproduce").blocks if isinstance(block, Command)]
    tables = [block for each in document.sections for block in each.blocks if isinstance(block, Table)]
    tables += [picture.table for picture in document.pictures()]
    named = {name for table in tables for row in table.rows for entry in row if not isinstance(entry, str)
             for name in entry.names}  # fmt: skip

    assert named == {each.name for each in commands}
    assert len(commands) == len(named)
    assert commands[0].line.startswith("fedprllm prune --model tiny --data texts.txt --clients 4")


def test_asked_says_what_was_varied(document, tmp_path):
    """And what was not."""
    said = words(section(document, "asked"))
    content = audit() | {"figures": {}}
    for name in ("cells", "game"):
        content.pop(name)
    of_masks = Audit.read(put(tmp_path, content), name="A1")

    assert "9 pruning runs, 2 audits, 1 cell of sweeps without a result" in said
    assert "In all runs: model tiny abababab; data texts.txt; clients 4" in said
    assert "protocol: plain, additive, ckks; differential privacy: no DP, epsilon 1, epsilon 3" in said
    assert "seeds: 0, 1, 2" in said
    assert "A2: what adversaries of plain and additive, distributed epsilon 3 learn" in said
    assert "given masks" in words(asked([], [of_masks], []))


def test_shapes_are_checked():
    """A row too short, and series of two lengths."""
    with pytest.raises(ValueError, match=r"row=\('a',\) must have 2 entries"):
        Table("t", ("a", "b"), (("a",),))
    with pytest.raises(ValueError, match="y=1 must be as many as x=2"):
        Series(name="s", x=(1, 2), y=(1,))
    with pytest.raises(ValueError, match="low=1 must be as many as x=2"):
        Series(name="s", x=(1, 2), y=(1, 2), low=(1,))
    assert Axis("a", False, 0, 1).ticks == ()


@pytest.mark.parametrize(("independent", "said"), [(35, "rates: not given"), (36, "60 % of members found at a")])
def test_rates_are_given_where_runs_support_them(tmp_path, independent, said):
    """A rate of 10 % needs 36 independent runs at 95 %, whatever the curve and the file say; a refused one stays so."""
    content = audit([cell()])
    content["cells"][0]["roc"]["independent_non_members"] = independent
    picture = Document("", (leakage([Audit.read(put(tmp_path, content), name="A1")]),), "").pictures()[1]

    assert said in picture.says
    assert "70 %" not in picture.says
    assert picture.table.rows[0][2].startswith("0.600" if independent == 36 else "not given: too few independent")


@pytest.mark.parametrize("silent", [[], None])
def test_what_is_not_covered_is_not_guessed(tmp_path, silent):
    """A file that does not say it is named; it is not said that all is covered."""
    content = private(3.0)
    content["privacy"].pop("not_covered")
    if silent is not None:
        content["privacy"]["not_covered"] = silent
    found = words(claims(runs_of(tmp_path, private(1.0), content)))

    assert "Not covered by any claim: timing." in found
    assert "The result file does not say what is not covered: R2." in found
    assert "All is covered" not in found
