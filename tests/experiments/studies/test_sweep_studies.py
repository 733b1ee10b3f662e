"""Studies made of sweeps: from rows to table and sentences, and each once on tiny inputs."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.studies import dropout, noniid, paper, payloads, ties
from experiments.studies.findings import Line, Sentence
from experiments.studies.held_out import cut_held_out
from experiments.studies.panels import Panel, Series
from experiments.studies.sweep_study import Asked, Found, conclude, missing
from fedprllm_secure.errors import InputError


def texts(found: Found) -> list[str]:
    """What its sentences say."""
    return [sentence.text for sentence in found.sentences]


def finished(seed: int, **more: object) -> dict:
    """A finished row."""
    return {"sweep": "s", "seed": seed, "state": "done", "status": 0, "sparsity": "0.5", "clients": 4, **more}


def test_paper_compares_methods_and_counts():
    """Federated against central, alone, its scaled self, other groups and schedules; then more and fewer clients."""
    rows = []
    for seed in range(3):
        for schedule, more in (("one-shot", 0.0), ("iterative", 1.0)):
            for group, extra in (("layer", 0.0), ("column", 50.0)):
                figures = {"federated": 30 + more + extra, "scaled": 33 + more + extra, "central": 29, "local_mean": 40}
                figures["dense"] = 20
                setting = {"sweep": "methods", "schedule": schedule, "group": group, "windows_per_client": 2}
                rows.append(finished(seed, **setting, **{f"perplexity_{n}": v + seed / 8 for n, v in figures.items()}))
        for name, counts in (("clients", (2, 16)), ("windows_per_client", (1, 2))):
            for count in counts:
                setting = {"windows_per_client": 2, "schedule": "one-shot", "group": "layer", name: count}
                figures = {"federated": 40 - count, "central": 20, "local_mean": 50}
                more = {f"perplexity_{n}": v for n, v in figures.items()}
                rows.append(finished(seed, **setting | {"sweep": name.partition("_")[0]}, **more))

    found = paper.found(rows, sparsity="0.5")

    said = texts(found)
    assert "layer one-shot at 0.5 has higher perplexity than central: +1 [+1, +1], 3 seeds." in said
    assert "layer one-shot at 0.5 has lower perplexity than local-only: -10 [-10, -10], 3 seeds." in said
    assert "column one-shot at 0.5 has higher perplexity than layer one-shot at 0.5: +50 [+50, +50], 3 seeds." in said
    assert "iterative at 0.5 has higher perplexity than one-shot at 0.5: +1 [+1, +1], 3 seeds." in said
    assert "federated, 16 clients, has lower perplexity than federated, 2 clients: -14 [-14, -14], 3 seeds." in said
    assert "federated, 1 window a client, has higher perplexity than central: +19 [+19, +19], 3 seeds." in said
    assert "federated, 2 windows a client, has higher perplexity than central: +18 [+18, +18], 3 seeds." in said
    assert any("scaled, has higher" in text and "+3 [+3, +3]" in text for text in said)
    assert [line.setting["sweep"] for line in found.lines] == ["methods"] * 4 + ["clients"] * 2 + ["windows"] * 2
    assert found.panels[0].references == {"dense": 20.125, "central": 29.125, "local-only": 40.125}


def test_ties_state_shares_and_compare_rules():
    """The rule that was named first is what the others are compared with."""
    rows = [
        finished(seed, sweep="counted", ties="magnitude", perplexity_federated=30.0, tied_fraction=0.25)
        for seed in range(2)
    ]
    rows += [finished(seed, sweep="others", ties="random", perplexity_federated=31.0) for seed in range(2)]

    assert texts(ties.found(rows)) == [
        "4 clients at 0.5: 0.250 [0.250, 0.250] of all weights stand in the tie at the cutoff.",
        "ties by random, 4 clients at 0.5, has higher perplexity than by magnitude: +1 [+1, +1], 2 seeds.",
    ]


@pytest.mark.parametrize(
    ("prune_mask", "fraction"),
    [([1, 1, 0, 0], 0.5), ([1, 1, 1, 0], 0.0), ([0, 0, 0, 0], 0.0)],
    ids=["one of two equal", "all of two equal", "none removed"],
)
def test_a_tie_is_what_the_cutoff_splits(tmp_path, prune_mask, fraction):
    """Weights with the total of the last one removed count, where some of them stay."""
    save_file({"a": torch.tensor([[3, 2, 2, 1]], dtype=torch.int32)}, tmp_path / "votes.safetensors")
    save_file({"a": torch.tensor([prune_mask], dtype=torch.uint8)}, tmp_path / "prune_masks.safetensors")

    assert ties.tied_fraction(tmp_path) == fraction


def test_dropout_counts_what_aborts_and_compares_the_rest():
    """Aborted runs have no perplexity and are counted; other failures are not aborts."""
    rows = [
        finished(seed, protocol="additive", perplexity_federated=30.0, seconds_server=1.0, bytes_server_in=2000)
        for seed in range(2)
    ]
    half = {"protocol": "additive", "dropout": "0.5@submit"}
    rows.append(finished(0, **half, perplexity_federated=31.0, seconds_server=0.5, bytes_server_in=2000))
    rows.append(finished(1, **half) | {"state": "failed", "status": 3, "error": "the protocol aborted: x"})

    found = dropout.found(rows)

    assert [line.setting["aborted"] for line in found.lines] == ["0 of 2", "1 of 2"]
    name = "additive, 4 clients at 0.5, threshold two thirds: dropout 0.5@submit"
    assert texts(found)[:2] == [
        f"{name} aborts 1 of 2 runs.",
        f"{name}: perplexity +1 against none, of one seed, which gives no interval.",
    ]
    assert {place: each.mean for place, each in found.panels[2].series[0].points.items()} == {
        "none": 0,
        "0.5@submit": 0.5,
    }


def test_payloads_are_compared_at_equal_epsilon():
    """In logarithms, with each other and with what needs no private text."""
    rows = []
    for seed in range(2):
        for epsilon, noisy in ((None, 1.0), (3.0, 20.0)):
            for payload, value in (("votes", 30 * noisy), ("units", 60.0)):
                more = {"perplexity_public": 30.0, "perplexity_dense": 20.0, "perplexity_magnitude": 30.0}
                rows.append(finished(seed, payload=payload, epsilon=epsilon, perplexity_federated=value, **more))

    said = texts(payloads.found(rows))

    assert (
        "units, epsilon 3, 4 clients at 0.5, has lower log perplexity than votes: -2.3 [-2.3, -2.3], 2 seeds." in said
    )
    assert (
        "votes, without noise, 4 clients at 0.5, and public-only have the very same log perplexity on 2 seeds." in said
    )
    assert not [text for text in said if text.startswith("units") and "magnitude" in text]


def judged(seed: int, partition: str, text: str, federated: float, alone: float) -> dict:
    """A finished row of one text."""
    values = {"dense": 20.0, "central": 25.0, "federated": federated, "alone": alone}
    return finished(seed, partition=partition, text=text) | {f"perplexity_{n}": v for n, v in values.items()}


def test_noniid_says_who_loses():
    """Means over clients are geometric; the worst client and those that do better alone are found per seed."""
    rows = [
        judged(seed, partition, text, federated, alone)
        for seed in range(2)
        for partition, worse in (("iid", 0.0), ("natural", 10.0))
        for text, federated, alone in (("client 0", 30.0, 40.0), ("client 1", 30.0 + worse, 35.0), ("common", 30, 33))
    ]

    found = noniid.found(rows)

    lines = {(line.setting["partition"], line.setting["text"]): line.figures for line in found.lines}
    own, worst = lines["natural", noniid.OWN], lines["natural", noniid.WORST]
    assert own["federated"].mean == pytest.approx((30 * 40) ** 0.5)
    assert (own["better alone"].mean, lines["iid", noniid.OWN]["better alone"].mean) == (1, 0)
    assert worst["cost federated"].mean == 2
    said = texts(found)
    assert "natural: federated, the worst client, has higher cost than iid: +0.5 [+0.5, +0.5], 2 seeds." in said
    assert "natural: client 1, federated, has higher perplexity than alone: +5 [+5, +5], 2 seeds." in said
    assert "natural: federated, on common text, has lower perplexity than pruning alone: -3 [-3, -3], 2 seeds." in said


def test_clients_without_a_result_are_in_no_mean():
    """A partition and seed of which a client is missing has no row of all clients."""
    rows = [judged(0, "iid", "client 0", 30, 40), judged(0, "iid", "client 1", 30, 40) | {"state": "failed"}]

    assert {line.setting["text"] for line in noniid.found(rows).lines} == {"client 0", "client 1"}


def test_held_out_windows_are_of_the_same_client_and_of_no_calibration(inputs):
    """Drawn from the seed, also under natural; no window is used twice."""
    flags = {"model": str(inputs.model), "data": str(inputs.folder / "natural"), "partition": "natural"}
    flags |= {"clients": "3", "windows-per-client": "2", "window-length": "16", "sparsity": "0.5"}
    cuts = [cut_held_out(flags | {"seed": seed}, held_out=2, folder=inputs.folder / "cut") for seed in ("0", "1", "0")]

    windows = [load_file(cut.calibration)["windows"] for cut in cuts]
    assert [tuple(each.shape) for each in windows] == [(6, 16)] * 3
    assert torch.equal(windows[0], windows[2])
    assert not torch.equal(windows[0], windows[1])
    held = torch.cat([load_file(file)["windows"] for file in cuts[0].held_out])
    assert len({tuple(each.tolist()) for each in torch.cat([windows[0], held])}) == 12
    assert cuts[0].calibration.parent.stat().st_mode & 0o077 == 0


def test_windows_that_are_cut_have_no_partition(inputs):
    """There is nothing to study."""
    flags = {"model": str(inputs.model), "data": str(inputs.folder / "windows.safetensors"), "clients": "3"}
    with pytest.raises(InputError, match="cut already have no partition"):
        cut_held_out(flags | {"sparsity": "0.5", "seed": "0"}, held_out=1, folder=inputs.folder)


def test_runs_without_a_result_are_named_by_reason():
    """Session numbers do not keep equal reasons apart; a study of nothing is an error."""
    rows = [{"state": "failed", "status": 3, "error": f"the protocol aborted: {n}"} for n in range(2)]
    rows.append({"state": "failed", "status": 2, "error": "no such file"})

    assert missing(rows, of=9) == [
        "2 of 9 runs have no result: the protocol aborted",
        "1 of 9 runs have no result: no such file",
    ]
    nothing = Found(question="Why?", lines=[], panels=[], sentences=[])
    with pytest.raises(InputError, match="no run of the study has a result; the first says: the protocol aborted: 0"):
        conclude("x", nothing, rows, out=None)
    with pytest.raises(InputError, match="no run of the study"):
        conclude("x", nothing, [], out=None)


def test_one_seed_is_shown_without_an_interval(tmp_path, capsys):
    """Table, Markdown and conclusions of a study of one run."""
    from experiments.report.intervals import spread

    line = Line({"group": "layer"}, 1, {"perplexity": spread([30.0])})
    panel = Panel("t", "x", "y", [Series("s", {"layer": spread([30.0])})])
    found = Found(question="Why?", lines=[line], panels=[panel], sentences=[Sentence("it is so.")], notes=["a note"])

    conclude("x", found, [finished(0)], out=tmp_path)

    assert (tmp_path / "x.md").read_text().splitlines() == [
        "# Why?",
        "",
        "- it is so.",
        "",
        "![Why?](x.png)",
        "",
        "Note: a note.",
        "",
        "| group | seeds | perplexity |",
        "| --- | --- | --- |",
        "| layer | 1 | 30.00 |",
    ]
    assert json.loads((tmp_path / "conclusions.json").read_text())["conclusions"] == [
        {"text": "it is so.", "spread": None}
    ]
    assert "it is so." in capsys.readouterr().out


TINY = {
    "paper": {"group": "layer", "schedule": "one-shot", "sparsity": "0.5", "clients": "2", "windows-per-client": "1"},
    "noniid": {"partition": "iid", "clients": "2", "windows-per-client": "1", "held-out": "1"},
    "dropout": {"dropout": "none,0.4@submit", "clients": "3", "recovery-threshold": "none"},
    "ties": {"ties": "magnitude,random", "clients": "2", "sparsity": "0.5"},
    "payloads": {"payload": "votes,units", "epsilon": "none,8", "clients": "3", "public-windows": "8"},
}


@pytest.mark.parametrize("name", TINY)
def test_each_study_runs_and_resumes(inputs, cli, tmp_path, name):
    """Flags reach the runs; the files are there; the same command again runs nothing and says the same."""
    flags = {"model": inputs.model, "data": inputs.text, "public-data": inputs.public_text, "jobs": 1}
    flags |= {"eval-data": inputs.eval_text, "window-length": 16, "eval-windows": 2, "seeds": "0-1"} | TINY[name]
    arguments = ["study", name, "--out", tmp_path, *(f"--{flag}={value}" for flag, value in flags.items())]

    first, second = cli(*arguments), cli(*arguments)

    assert (first.status, second.status) == (0, 0), first.stderr
    assert second.stdout == first.stdout
    assert first.stderr.count(" done\n") >= 2
    assert second.stderr.count(" done\n") == 0
    with (tmp_path / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert [row["seeds"] for row in rows] == [str(line["seeds"]) for line in lines]
    for ending in ("md", "png", "svg"):
        assert (tmp_path / f"{name}.{ending}").stat().st_size > 0
    assert json.loads((tmp_path / "conclusions.json").read_text())["study"] == name


def test_methods_are_measured_scaled_too(inputs, cli, tmp_path):
    """One run gives both figures."""
    flags = {"model": inputs.model, "data": inputs.text, "window-length": 16, "jobs": 1, "seeds": 0} | TINY["paper"]
    flags |= {"eval-data": inputs.eval_text, "eval-windows": 2}

    assert cli("study", "paper", "--out", tmp_path, *(f"--{n}={value}" for n, value in flags.items())).status == 0
    lines = [json.loads(line) for line in (tmp_path / "paper.jsonl").read_text().splitlines()]
    assert [line["scaled"] is not None for line in lines] == [True, False, False]


def test_a_client_is_judged_by_its_own_model_on_its_own_text(inputs, cli, tmp_path):
    """Alone, on its text, is the model that this client made."""
    flags = {"model": inputs.model, "data": inputs.text, "window-length": 16, "jobs": 1, "seeds": 0} | TINY["noniid"]

    assert cli("study", "noniid", "--out", tmp_path, *(f"--{n}={value}" for n, value in flags.items())).status == 0
    lines = {line["text"]: line for line in map(json.loads, (tmp_path / "noniid.jsonl").read_text().splitlines())}
    results = [json.loads(file.read_text()) for file in tmp_path.glob("sweeps/*/cells/*/result.json")]
    assert len(results) == 2
    for result in results:
        client = int(result["config"]["eval_data"].removesuffix(".safetensors")[-4:])
        assert lines[f"client {client}"]["alone"] == result["perplexity"]["local"]["clients"][client]
        assert lines[f"client {client}"]["federated"] == result["perplexity"]["federated"]["perplexity"]


def test_payloads_without_noise_need_no_flags_of_noise(inputs, cli, tmp_path):
    """Where no run has noise, nothing of it is asked for."""
    flags = {"model": inputs.model, "data": inputs.text, "window-length": 16, "jobs": 1, "seeds": 0}
    flags |= {"eval-data": inputs.eval_text, "eval-windows": 2, "payload": "votes", "epsilon": "none", "clients": 3}

    ran = cli("study", "payloads", "--out", tmp_path, *(f"--{flag}={value}" for flag, value in flags.items()))

    assert ran.status == 0, ran.stderr
    assert "of one seed, which gives no interval" in ran.stdout


def test_several_numbers_of_clients_are_no_partition_study(inputs, cli, tmp_path):
    """One value each but the partition's."""
    ran = cli("study", "noniid", "--model", inputs.model, "--data", inputs.text, "--clients", "2,3", "--out", tmp_path)

    assert ran.status == 2
    assert "--clients 2,3 must be one value" in ran.line


def test_flags_become_text_for_a_sweep(tmp_path):
    """What is not given is left to prune; seeds and axes are lists."""
    flags = {name.replace("-", "_"): None for name in ("model-sha256", "text-field", "public-data", "public-windows")}
    flags |= {name: None for name in ("eval_data", "window_length", "batch_windows", "dtype", "device")}
    flags |= {"model": "m", "data": "d", "eval_windows": "8", "seeds": "0-2", "jobs": None, "clients": "2-3"}

    asked = Asked.of(flags, out=tmp_path, axes={"clients": "8"})

    assert asked.base == {"model": "m", "data": "d", "eval-windows": "8"}
    assert asked.spec(clients=asked.axes["clients"], save_votes=True).prune == {
        "model": ("m",),
        "data": ("d",),
        "eval-windows": ("8",),
        "seed": ("0", "1", "2"),
        "clients": ("2", "3"),
        "save-votes": ("true",),
    }
