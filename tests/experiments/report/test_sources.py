"""Finding runs, audits and sweeps, and naming what cannot be read."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from experiments.report.fields import Unreadable
from experiments.report.sources import Sources
from fedprllm_secure.errors import InputError
from tests.experiments.report.written import audit, cell, private, put, put_sweep, result


def test_any_mix_of_folders_is_read(tmp_path):
    """A run, an audit, a sweep, and a folder of runs; each once, however often and however it is named."""
    run, told = put(tmp_path / "run", result()), put(tmp_path / "audit", audit())
    sweep = put_sweep(tmp_path / "sweep", {"c1": result(seed=1), "c2": "no room"}, {"a1": audit()})
    put(tmp_path / "many" / "x", result(seed=2))

    found = Sources.gather([run, told, sweep, tmp_path / "many", run / "result.json", run])

    assert [each.folder.name for each in found.runs] == ["run", "c1", "x"]
    assert [each.name for each in found.runs] == ["R1", "R2", "R3"]
    assert [each.folder.name for each in found.audits] == ["audit", "a1"]
    assert [(each.name, each.state, each.error) for each in found.failures] == [("c2", "failed", "no room")]
    assert found.complaints == []


def test_what_a_failed_cell_left_is_no_result(tmp_path):
    """A cell and an audit that a sweep calls failed or missing are not read, even if their folders hold files."""
    sweep = put_sweep(tmp_path / "sweep", {"c1": result(), "c2": "no room"}, {"a1": "no text"})
    put(sweep / "cells" / "c2", result(seed=9))

    found = Sources.gather([sweep])

    assert [each.seed for each in found.runs] == [0]
    assert [each.name for each in found.failures] == ["c2", "audit a1"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cut short or no JSON"),
        ("", "cut short or no JSON"),
        ("[" * 100_000, "cut short or no JSON"),
        ("[1]", "holds no JSON object"),
        (json.dumps(result() | {"schema": 2}), "schema 2 is not 1"),
        (json.dumps({}), "schema None is not 1"),
        (json.dumps({"schema": 1}), "must be an object"),
        (json.dumps(result() | {"bytes": {"submit": {}}}), "bytes.submit.client_up_max_bytes must be a number"),
        (json.dumps(result() | {"seconds": {"pruning": "2", "total": 3}}), "seconds.pruning must be a number"),
        (json.dumps(result() | {"seconds": {"pruning": True, "total": 3}}), "seconds.pruning must be a number"),
        (json.dumps(result() | {"seconds": {"pruning": 10**400, "total": 3}}), "seconds.pruning must be a number"),
        (json.dumps(result() | {"notes": [1]}), "notes must be a list of strings"),
        (json.dumps(result() | {"privacy": {"dp": 3}}), "privacy.dp must be a string"),
        (json.dumps(result()).replace('"prunable_weights": 8000', '"prunable_weights": 0'), "must be at least 1"),
        (json.dumps(result()).replace('"clients": 4', '"clients": -4'), "must be a whole number"),
        (json.dumps(result()).replace('"result": "federated"', '"result": "other"'), "must name a perplexity"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_the_rest_goes_on(tmp_path, content, complaint):
    """The line names the file and what is wrong."""
    broken, good = put(tmp_path / "broken", result()), put(tmp_path / "good", result())
    (broken / "result.json").write_text(content)

    found = Sources.gather([broken, good])

    assert [each.folder for each in found.runs] == [good]
    [line] = found.complaints
    assert complaint in line
    assert str(broken / "result.json") in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"cells": [{}]}, r"cells\[0\].attacks must be a list of objects"),
        ({"cells": [{"attacks": []}]}, r"cells\[0\].attacks must not be empty"),
        ({"cells": {}}, "cells must be a list of objects"),
        ({"claims_p_values_holm": {"a": "b"}}, "claims_p_values_holm.a must be a number"),
        ({"game": 3}, "game must be an object"),
    ],
)
def test_an_audit_that_lacks_something_is_named(tmp_path, changed, complaint):
    """And left out."""
    told = put(tmp_path / "audit", audit() | changed)

    with pytest.raises(InputError, match=complaint):
        Sources.gather([told])


@pytest.mark.parametrize(
    "roc",
    [
        {"false_positive_rates": [0.1], "true_positive_rates": [], "coins": 1, "independent_non_members": 1},
        {"false_positive_rates": [0.1], "true_positive_rates": [0.1], "coins": 1, "independent_non_members": 0},
    ],
)
def test_a_curve_that_is_none_is_refused(tmp_path, roc):
    """As many rates of both kinds, and coins behind them."""
    content = audit()
    content["cells"][0]["roc"] = roc

    with pytest.raises(InputError, match="as many rates of both kinds"):
        Sources.gather([put(tmp_path / "audit", content)])


def test_a_run_that_is_not_finished_is_named(tmp_path):
    """Its folder has state, and no result."""
    (tmp_path / "run" / "work").mkdir(parents=True)

    with pytest.raises(InputError, match=r"nothing to report: .*run: a run that is not finished; the same command"):
        Sources.gather([tmp_path / "run"])


def test_nothing_at_all_is_refused(tmp_path):
    """An empty folder, no folder, no path, and a sweep without cells."""
    with pytest.raises(InputError, match=r"nothing to report: .*holds none of result.json, audit.json, sweep.json"):
        Sources.gather([tmp_path])
    with pytest.raises(InputError, match=r"nothing to report: .*no such folder"):
        Sources.gather([tmp_path / "none"])
    with pytest.raises(InputError, match="nothing to report: no path was named"):
        Sources.gather([])
    with pytest.raises(InputError, match="nothing to report"):
        Sources.gather([put_sweep(tmp_path / "sweep", {}, {})])


def test_a_sweep_does_not_name_folders_elsewhere(tmp_path):
    """The name of a cell is no path."""
    put(tmp_path / "outside", result())
    sweep = put_sweep(tmp_path / "sweep", {}, {})
    cells = [{"name": "../../outside", "state": "done", "flags": {}}]
    (sweep / "sweep.json").write_text(json.dumps({"schema": 1, "cells": cells, "audits": []}))

    with pytest.raises(InputError, match="must be that of a folder"):
        Sources.gather([sweep])


def test_cells_of_a_sweep_whose_list_is_cut_short_are_read(tmp_path):
    """What is done needs no list; what failed is not known, and the line says where."""
    sweep = put_sweep(tmp_path / "sweep", {"c1": result(seed=1), "c2": result(seed=2)}, {"a1": audit()})
    (sweep / "sweep.json").write_text('{"schema": 1, "cells": [')
    (sweep / "cells" / "c3").symlink_to(put(tmp_path / "outside", result()))

    found = Sources.gather([sweep])

    assert [run.folder.name for run in found.runs] == ["c1", "c2"]
    assert len(found.audits) == 1
    cut, outside = found.complaints
    assert "cut short" in cut
    assert cut.endswith("its finished cells and audits are read all the same")
    assert "c3: lies outside its sweep" in outside


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    """No result is that large."""
    monkeypatch.setattr("experiments.report.fields.MOST_BYTES", 10)

    with pytest.raises(InputError, match="larger than any result, 10 bytes"):
        Sources.gather([put(tmp_path / "run", result())])


def test_unreadable_is_no_input_error():
    """A file that is left out ends nothing."""
    assert not issubclass(Unreadable, InputError)


@pytest.mark.parametrize("name", ["", "."])
def test_a_sweep_does_not_name_itself(tmp_path, name):
    """An empty name, and a point, are those of the folder of all cells."""
    sweep = put_sweep(tmp_path / "sweep", {}, {})
    put(sweep / "cells", result())
    cells = [{"name": name, "state": "done", "flags": {}}]
    (sweep / "sweep.json").write_text(json.dumps({"schema": 1, "cells": cells, "audits": []}))

    with pytest.raises(InputError, match="must be that of a folder"):
        Sources.gather([sweep])


def test_a_cell_that_leads_out_of_its_sweep_is_left_out(tmp_path):
    """A link is no way around; the other cells are read."""
    outside = put(tmp_path / "outside", result())
    sweep = put_sweep(tmp_path / "sweep", {"c1": result(seed=1), "c2": result(seed=2), "c3": result(seed=3)}, {})
    shutil.rmtree(sweep / "cells" / "c2")
    (sweep / "cells" / "c2").symlink_to(outside)

    found = Sources.gather([sweep])

    assert [run.seed for run in found.runs] == [1, 3]
    assert found.complaints == [f"{sweep / 'cells' / 'c2'}: lies outside its sweep; left out"]


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("attacks", 0, "auc", "value"), 1.2, r"auc.value must be a number in \[0, 1\]"),
        (("attacks", 0, "auc", "value"), -0.1, r"auc.value must be a number in \[0, 1\]"),
        (("attacks", 0, "rates", 0, "fpr"), 2, r"fpr must be a number in \[0, 1\]"),
        (("attacks", 0, "rates", 0, "tpr", "value"), 2, r"tpr.value must be a number in \[0, 1\]"),
        (("attacks", 0, "delta"), 1, r"delta must be a number in \[0, 1\)"),
        (("attacks", 0, "one_run", "epsilon"), -1, "epsilon must be a number of at least 0"),
        (("attacks", 0, "one_run", "ceiling"), -1, "ceiling must be a number of at least 0"),
        (("attacks", 0, "members"), 10**7, "members must be a whole number from 0 to below 10,000,000"),
        (("attacks", 0, "non_members"), 10**7, "non_members must be a whole number from 0 to below 10,000,000"),
        (("attacks", 0, "runs"), 10**7, "runs must be a whole number from 0 to below 10,000,000"),
        (("roc", "false_positive_rates", 2), 1.5, r"rates must be a list of numbers in \[0, 1\]"),
        (("roc", "true_positive_rates", 2), 1.5, r"rates must be a list of numbers in \[0, 1\]"),
        (("roc", "coins"), 10**7, "coins must be a whole number from 0 to below 10,000,000"),
        (("roc", "independent_non_members"), 10**7, "must be a whole number from 0 to below 10,000,000"),
        (("claim", "epsilon"), -1, "epsilon must be a number of at least 0"),
        (("claim", "delta"), 1.0, r"delta must be a number in \[0, 1\)"),
        (("level",), 0, r"level must be a number in \(0, 1\)"),
        (("level",), 1, r"level must be a number in \(0, 1\)"),
        (("claims_p_values_holm", "a"), 1.1, r"holm.a must be a number in \[0, 1\]"),
    ],
)
def test_an_audit_out_of_range_is_unreadable(tmp_path, place, value, complaint):
    """One line; the rest goes on."""
    claim = {"epsilon": 1.0, "delta": 1e-5, "adjacency": "window-replace", "adversary": "server"}
    content = audit([cell(claim=claim)])
    part = content if place[0] in content else content["cells"][0]
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value

    found = Sources.gather([put(tmp_path / "broken", content), put(tmp_path / "good", audit())])

    assert [each.folder.name for each in found.audits] == ["good"]
    [line] = found.complaints
    assert re.search(complaint, line)


@pytest.mark.parametrize(
    ("part", "changed", "complaint"),
    [
        ("protocol", {"survivors_by_block": [10**7]}, "survivors_by_block must be a list of numbers from 0 to below"),
        ("protocol", {"survivors_by_block": [-1]}, "survivors_by_block must be a list of numbers from 0 to below"),
        ("privacy", {"epsilon": -1}, "privacy.epsilon must be a number of at least 0"),
        ("privacy", {"delta": 1}, r"privacy.delta must be a number in \[0, 1\)"),
        ("data", {"windows_per_client": []}, r"broken: cannot be read \(ValueError: .*\); left out"),
    ],
)
def test_a_run_out_of_range_is_unreadable(tmp_path, part, changed, complaint):
    """One line, even of what nobody foresaw; the rest goes on."""
    content = private(3.0)
    content[part] |= changed

    found = Sources.gather([put(tmp_path / "broken", content), put(tmp_path / "good", result())])

    assert [each.folder.name for each in found.runs] == ["good"]
    [line] = found.complaints
    assert re.search(complaint, line)
