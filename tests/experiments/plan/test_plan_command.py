"""``fedprllm plan`` on a tiny model: what it says, and that the run it is about does just that."""

from __future__ import annotations

import json
import re
import shutil

import pytest

RUN = {"baselines": "", "eval_data": None, "public_data": None}
NOT_OF_A_PLAN = ("--data=", "--out=", "--eval-data=", "--public-data=", "--baselines=")


def plan_arguments(inputs, out, *, keep_texts=False, **changed):
    """The flags of a run as those of its plan; without the texts, unless they matter."""
    arguments = inputs.arguments(out, **(RUN | changed))
    kept = [each for each in arguments[1:] if keep_texts or not each.startswith(NOT_OF_A_PLAN)]
    return ["plan", *kept, "--no-measure", *([] if keep_texts else ["--baselines="])]


@pytest.fixture
def planned(cli, inputs, tmp_path):
    """Plan a run: ``planned(flag=value)`` gives the JSON."""

    def plan(**changed):
        ran = cli(*plan_arguments(inputs, tmp_path / "run", **changed))
        assert ran.status == 0, ran.stderr
        return json.loads(ran.stdout)

    return plan


# Seeds under which one or two clients leave in each block, few enough for the run to end well.
SETTINGS = [
    {"protocol": "plain", "clients": 2},
    {"protocol": "plain", "clients": 9, "schedule": "iterative"},
    {"protocol": "additive", "clients": 3},
    {"protocol": "additive", "clients": 9, "schedule": "iterative"},
    {"protocol": "bfv", "clients": 4},
    {"protocol": "ckks", "clients": 5},
    {"protocol": "additive", "clients": 4, "payload": "units"},
    {"protocol": "ckks", "clients": 3, "payload": "units"},
    {"protocol": "plain", "clients": 3, "payload": "statistics"},
    {"protocol": "additive", "clients": 4, "payload": "statistics"},
    {"protocol": "bfv", "clients": 3, "payload": "statistics"},
    {"protocol": "ckks", "clients": 3, "payload": "statistics", "schedule": "iterative"},
    {"protocol": "additive", "clients": 9, "dropout": "0.2@share", "seed": 10},
    {"protocol": "ckks", "clients": 6, "dropout": "0.2@reveal", "seed": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_bytes_are_those_of_the_run(prune, planned, tmp_path, settings):
    """To the byte, step by step, for every protocol, payload and schedule, and with simulated dropouts."""
    ran = prune(tmp_path / "run", **(RUN | settings))
    assert ran.status == 0, ran.stderr
    result = json.loads(ran.stdout)

    plan = planned(**settings)

    assert plan["bytes"] == result["bytes"]
    assert plan["protocol"]["protects"] == result["protocol"]["protects"]
    assert plan["model"]["prunable_weights"] == result["sparsity"]["prunable_weights"]


NOISE = {"dp": "distributed", "epsilon": "4", "delta": "1e-5", "protocol": "additive", "clients": "6"}


@pytest.mark.parametrize(
    "settings",
    [
        NOISE | {"adjacency": "client-zero-out"},
        NOISE | {"adjacency": "client-replace", "payload": "units", "noise": "discrete-gaussian"},
        NOISE | {"dp": "central", "protocol": "plain", "adjacency": "client-zero-out", "payload": "units"},
        NOISE | {"dp": "central", "noise": "gumbel", "adjacency": "client-zero-out", "payload": "units"},
    ],
    ids=["votes", "units", "central", "gumbel"],
)
def test_a_private_run_costs_and_claims_what_was_planned(prune, planned, tmp_path, settings):
    """Lanes have room for the noise; claim, adversary and advice are those of the run."""
    ran = prune(tmp_path / "run", **(RUN | settings))
    assert ran.status == 0, ran.stderr
    result = json.loads(ran.stdout)

    plan = planned(**settings)

    assert plan["bytes"] == result["bytes"]
    for name in ("claim", "epsilon", "adversary", "mechanism", "releases"):
        assert plan["privacy"][name] == result["privacy"][name]
    assert plan["privacy"]["what_the_noise_leaves"][0].startswith("noise of standard deviation")
    assert set(plan["privacy"]["what_the_noise_leaves"]) <= set(result["notes"])


def test_private_statistics_cost_what_was_planned(prune, cli, inputs, tmp_path):
    """Public text decides the number of directions: it is counted, and the clients' is not opened."""
    settings = NOISE | {
        "payload": "statistics",
        "epsilon": "0.01",  # so little that the noise, not the signal, decides how many entries share a word
        "adjacency": "window-zero-out",
        "public_data": inputs.public_text,
        "public_windows": 40,
        "rank": 12,
    }
    ran = prune(tmp_path / "run", **(RUN | settings))
    assert ran.status == 0, ran.stderr
    result = json.loads(ran.stdout)

    planned = cli(*plan_arguments(inputs, tmp_path / "plan", keep_texts=True, data=tmp_path / "nowhere", **settings))

    assert planned.status == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert plan["bytes"] == result["bytes"]
    assert plan["payload"]["entries"] == 12
    assert plan["privacy"]["claim"] == result["privacy"]["claim"]


def test_a_dry_run_is_the_plan_and_leaves_nothing(cli, inputs, tmp_path, monkeypatch):
    """``prune --dry-run`` says the same and writes nothing."""
    monkeypatch.setattr("experiments.plan.forecast.measured_seconds", lambda *_, **__: None)
    out = tmp_path / "run"

    dry = cli(*inputs.arguments(out, **RUN), "--dry-run")
    plan = cli(*plan_arguments(inputs, out, keep_texts=True))

    assert dry.status == plan.status == 0, dry.stderr
    assert not out.exists()
    one, other = json.loads(dry.stdout), json.loads(plan.stdout)
    assert one["bytes"] == other["bytes"]
    assert one["protocol"] == other["protocol"]


def test_weights_are_not_needed(cli, planned, inputs, tmp_path):
    """A folder with its configuration alone, and one whose weight files did not all come, give the same sizes."""
    whole = planned(protocol="additive", payload="statistics")
    for name, content in (("config", None), ("index", {"weight_map": {"model.norm.weight": "missing.safetensors"}})):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(inputs.model / "config.json", folder)
        if content is not None:
            (folder / "model.safetensors.index.json").write_text(json.dumps(content))

        plan = planned(protocol="additive", payload="statistics", model=folder)

        assert plan["bytes"] == whole["bytes"]
        assert plan["model"]["is_stand_in"]
        assert plan["model"]["prunable_weights"] == whole["model"]["prunable_weights"]


def test_a_published_shape_is_planned_for(cli):
    """The 6,476,005,376 votes and 745,472 statistics of LLaMA-7B, without any model."""
    arguments = ["plan", "--model-shape=llama-7b", "--clients=8", "--sparsity=0.5", "--protocol=additive", "--json"]
    votes = json.loads(cli(*arguments, "--no-measure").stdout)
    statistics = json.loads(cli(*arguments, "--no-measure", "--payload=statistics").stdout)

    assert votes["payload"]["entries"] == votes["model"]["prunable_weights"] == 6_476_005_376
    assert votes["payload"]["sessions"] == 32
    assert votes["payload"]["submitted_bits_per_weight"] == pytest.approx(3.2, rel=1e-3)
    assert statistics["payload"]["entries"] == 745_472
    assert statistics["payload"]["sessions"] == 1


def test_losses_that_are_tolerated(planned):
    """Up to submit as many as the minimum of survivors leaves, then as the recovery threshold does."""
    plan = planned(protocol="additive", clients="9", minimum_survivors="8")

    assert plan["protocol"]["tolerated_losses"] == {
        "advertise": 1,
        "share": 1,
        "submit": 1,
        "confirm": 2,
        "reveal": 2,
    }


def test_a_dropout_that_ends_the_run_is_foretold(prune, planned, tmp_path):
    """The plan names session and step; the run aborts there."""
    settings = {"protocol": "additive", "clients": "6", "dropout": "0.7@submit"}

    plan = planned(**settings)

    assert re.search(r"--dropout ends session 0 at submit", plan["notes"][-1])
    assert prune(tmp_path / "run", **(RUN | settings)).status == 3


def test_seconds_are_measured_and_said_to_be_an_estimate(cli, inputs, tmp_path):
    """Every phase has a figure, and the text says how it came about."""
    arguments = [each for each in plan_arguments(inputs, tmp_path, protocol="additive") if each != "--no-measure"]
    ran = cli(*arguments)
    assert ran.status == 0, ran.stderr
    seconds = json.loads(ran.stdout)["seconds"]

    assert seconds["how"].startswith("an estimate: one block of")
    simulation = seconds["simulation"]
    assert all(simulation[phase] > 0 for phase in ("load", "calibrate", "propagate", "decide", "protocol", "select"))
    assert simulation["evaluation"] == 0
    assert simulation["total"] == pytest.approx(sum(simulation.values()) - simulation["total"])
    assert 0 < seconds["client"]["protocol"] < simulation["protocol"]


def test_tables_say_what_the_json_says(cli, inputs, tmp_path):
    """A person reads entries, adversary and bytes."""
    arguments = [each for each in plan_arguments(inputs, tmp_path, protocol="ckks") if each != "--json"]
    printed = " ".join(cli(*arguments).stdout.split())

    assert "bytes under protocol ckks, 2 sessions together" in printed
    assert "votes: 18,432 entries in 2 sessions" in printed
    assert "honest-but-curious" in printed


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model": None}, "plan needs either --model or --model-shape, and not both"),
        ({"model_shape": "llama-7b"}, "plan needs either --model or --model-shape, and not both"),
        ({"model": None, "model_shape": "llama-8b"}, "--model-shape llama-8b must be one of llama-7b"),
        ({"model": "./nowhere"}, "--model ./nowhere: there is no such folder"),
        ({"protocol": "additive", "clients": "2"}, "--protocol additive takes at least 3 clients"),
        ({"protocol": "ckks", "recovery_threshold": "1"}, "--protocol ckks: --recovery-threshold 1"),
        ({"payload": "units", "sparsity": "2:4"}, "does not go with payload=units"),
        ({"sparsity": "2:64"}, "sparsity"),
        ({"payload": "statistics", **NOISE, "adjacency": "window-zero-out", "public_windows": "8"}, "at least 32"),
    ],
)
def test_bad_plans_are_refused_in_a_line(cli, inputs, tmp_path, changed, says):
    """What the run would refuse, its plan refuses."""
    ran = cli(*plan_arguments(inputs, tmp_path / "run", **changed))

    assert ran.status == 2
    assert says in ran.line
