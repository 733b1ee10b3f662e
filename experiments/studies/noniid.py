"""What happens when clients' text differs, and who loses: partitions, by perplexity on each client's own text.

Each client's model is judged on windows of its own text that it did not calibrate on, and on common text. "Cost" is
perplexity over that of the dense model on the same text, so that texts of different difficulty compare. Under natural,
clients are numbered by how much text they have, most first; under the others a number means nothing over seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.flags import positive
from experiments.studies import sweep_study
from experiments.studies.findings import Row, Sentence, chosen, over_seeds, paired, summarise, told
from experiments.studies.held_out import Cut, cut_held_out
from experiments.studies.panels import Panel, Series
from experiments.studies.sweep_study import Asked, Found
from experiments.sweep.folder import DONE, SweepFolder, read_result
from fedprllm_secure.data import CORPORA
from fedprllm_secure.errors import InputError

AXES = {
    "partition": "iid,dirichlet:1,dirichlet:0.1,natural",
    "clients": "8",
    "windows-per-client": "2",
    "sparsity": "0.5",
}
FIELDS = ("client-field", "label-field")
HELD_OUT = 4
MINUTES = "about 7 minutes of one core"
OWN, WORST, COMMON = "clients' own", "worst client", "common"
VARIANTS = ("dense", "central", "federated", "alone")
BY = ("partition", "text")
FIGURES = {
    **{name: f"perplexity_{name}" for name in VARIANTS},
    **{f"cost {name}": f"cost_{name}" for name in VARIANTS[1:]},
    "better alone": "better_alone",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the study's flags."""
    sweep_study.add_flags(parser, AXES, minutes=MINUTES)
    parser.add_argument("--held-out", type=positive, default=HELD_OUT, metavar="N", help="windows of each client")
    for name in FIELDS:
        parser.add_argument(f"--{name}", metavar="NAME", help="as of prune: column of --data")


def run(*, out: Path, held_out: int, **flags: Any) -> Found:
    """Cut each client's windows, run what is missing, and write what it says.

    Args:
        out: a folder that exists.
        held_out: windows of each client on which its perplexity is measured.
        **flags: those of :func:`add_flags`.

    Raises:
        InputError: a flag is refused, a client has too little text, several numbers of clients are asked for, or no
            run has a result.
    """
    asked = Asked.of(flags, out=out, axes=AXES)
    for name in ("clients", "windows-per-client", "sparsity"):
        if len(asked.axes[name]) > 1:
            values = ",".join(asked.axes[name])
            raise InputError(f"--{name} {values} must be one value: partitions are what is studied")
    fields = {name: flags[name.replace("-", "_")] for name in FIELDS}
    one = {name: values[0] for name, values in asked.axes.items() if name != "partition"}
    rows: list[Row] = []
    for partition in asked.axes["partition"]:
        for seed in asked.seeds:
            of_text = one | {"partition": partition, "seed": seed}
            of_text |= {name: value for name, value in fields.items() if value is not None}
            cut = cut_held_out({**asked.base, **of_text}, held_out=held_out, folder=out / "windows")
            rows += _runs(asked, cut, one, partition=partition, seed=seed)
    return sweep_study.conclude("noniid", found(rows), rows, out=out)


def _runs(asked: Asked, cut: Cut, one: Mapping[str, str], *, partition: str, seed: str) -> list[Row]:
    """Run one partition and seed, judged on each client's held-out text and on the common one."""
    data = asked.base["data"]
    common = asked.base.get("eval-data") or (data if data == "demo" or data in CORPORA else None)
    texts = {str(file): client for client, file in enumerate(cut.held_out)}
    spec = asked.spec(
        **{name.replace("-", "_"): value for name, value in one.items()},
        seed=seed,
        data=str(cut.calibration),
        text_field=None,  # was used when the windows were cut
        eval_data=[*texts, *([common] if common else [])],
        baselines="dense,central,local",
        local_only_clients=one["clients"],
    )
    folder = SweepFolder(asked.folder(cut.name))
    rows = []
    for row in asked.rows(cut.name, spec):
        client = texts.get(row["eval_data"])
        judged = {**row, "partition": partition, "text": COMMON if client is None else f"client {client}"}
        if row["state"] == DONE:
            result = read_result(folder.cell(row["cell"]), "result.json") or {}
            judged |= _alone(result["perplexity"]["local"], client)
        rows.append(judged)
    return rows


def _alone(local: Mapping[str, Any], client: int | None) -> dict[str, float]:
    """Give the perplexity of a client's own model; on common text the mean of all clients' models."""
    return {"perplexity_alone": local["perplexity"] if client is None else local["clients"][client]}


def found(rows: Sequence[Row]) -> Found:
    """Read the rows, of which each is of one text."""
    rows = [_with_costs(row) for row in rows]
    partitions = list(dict.fromkeys(row["partition"] for row in rows))
    rows = [*_over_clients(rows), *rows]
    clients = sorted(
        {row["text"] for row in chosen(rows, partition=partitions[-1])} - {OWN, WORST, COMMON}, key=_number
    )
    lines = sorted(
        summarise(rows, by=BY, figures=FIGURES), key=lambda line: partitions.index(line.setting["partition"])
    )
    return Found(
        question="What happens when clients' text differs, and who loses?",
        lines=lines,
        panels=[
            _panel("clients' own text", "partition", {e: chosen(rows, partition=e, text=OWN) for e in partitions}),
            _panel("common text", "partition", {e: chosen(rows, partition=e, text=COMMON) for e in partitions}),
            _panel(
                f"{partitions[-1]}",
                "client, on its own text",
                {text.removeprefix("client "): chosen(rows, partition=partitions[-1], text=text) for text in clients},
            ),
        ],
        sentences=[sentence for partition in partitions for sentence in _sentences(rows, partition, partitions[0])],
        digits={title: 3 for title in FIGURES if title.startswith("cost")},
        notes=("a client's calibration and held-out windows may be of one document, never the same window",),
    )


def _with_costs(row: Row) -> Row:
    if row["state"] != DONE:
        return row
    costs = {f"cost_{name}": row[f"perplexity_{name}"] / row["perplexity_dense"] for name in VARIANTS[1:]}
    ours = {f"over_{name}": row["perplexity_federated"] / row[f"perplexity_{name}"] for name in ("central", "alone")}
    return {**row, **costs, **ours}


def _over_clients(rows: Sequence[Row]) -> list[Row]:
    """Make, for each partition and seed all of whose clients were judged, rows of all clients and of the worst one."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["text"] != COMMON:
            groups.setdefault((row["partition"], row["seed"]), []).append(row)
    made: list[Row] = []
    for (partition, seed), found in groups.items():
        if any(row["state"] != DONE for row in found):
            continue
        same = {"partition": partition, "seed": seed, "state": DONE}
        columns = [f"perplexity_{name}" for name in VARIANTS]
        means = {name: math.exp(math.fsum(math.log(row[name]) for row in found) / len(found)) for name in columns}
        worst = {f"cost_{name}": max(row[f"cost_{name}"] for row in found) for name in VARIANTS[1:]}
        better = sum(row["perplexity_alone"] < row["perplexity_federated"] for row in found)
        made.append(_with_costs({**same, "text": OWN, **means, "better_alone": better}))
        made.append({**same, "text": WORST, **worst})
    return made


def _number(text: str) -> int:
    return int(text.removeprefix("client "))


def _sentences(rows: Sequence[Row], partition: str, first: str) -> list[Sentence]:
    own, worst, common = (chosen(rows, partition=partition, text=text) for text in (OWN, WORST, COMMON))
    sentences = []
    for of, where in ((own, "on clients' own text"), (common, "on common text")):
        for other, words in (("alone", "pruning alone"), ("central", "central")):
            difference = paired(of, "perplexity_federated", of, f"perplexity_{other}")
            sentences += told(f"{partition}: federated, {where},", words, difference)
    better = over_seeds(own, "better_alone")
    if better is not None:
        text = f"{partition}: {better.shown(1)} clients do better alone than federated, on their own text."
        sentences.append(Sentence(text, better))
    sentences += told(
        f"{partition}: the worst client's model, federated,",
        "that of clients who prune alone",
        paired(worst, "cost_federated", worst, "cost_alone"),
        what="cost",
    )
    if partition != first:
        for of, text, words in ((own, OWN, "all clients"), (worst, WORST, "the worst client")):
            difference = paired(of, "cost_federated", chosen(rows, partition=first, text=text))
            sentences += told(f"{partition}: federated, {words},", first, difference, what="cost")
    if partition == "natural":
        texts = {row["text"] for row in chosen(rows, partition=partition)} - {OWN, WORST, COMMON}
        for text in sorted(texts, key=_number):
            of = chosen(rows, partition=partition, text=text)
            difference = paired(of, "perplexity_federated", of, "perplexity_alone")
            sentences += told(f"{partition}: {text}, federated,", "alone", difference)
    return sentences


def _panel(title: str, x_label: str, places: Mapping[str, Sequence[Row]]) -> Panel:
    """Draw, at each place, the federated model against the two others, paired by seed."""
    series = [
        Series(f"over {words}", {place: over_seeds(of, f"over_{name}") for place, of in places.items()})
        for name, words in (("alone", "pruning alone"), ("central", "central"))
    ]
    return Panel(f"{title} (below 1: federated is better)", x_label, "perplexity of federated", series, {"equal": 1.0})
