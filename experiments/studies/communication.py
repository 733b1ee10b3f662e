"""What protection costs in bytes, by protocol, from small models measured to 70 billion parameters computed.

Small models are really run, from calibration to totals, and every byte is counted; large ones are computed from their
published shapes by the formulas of ``protocols.costs``. Both are done for the small ones, and must agree to the byte.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.demo import DEMO_MODEL
from experiments.plan.forecast import bytes_by_step
from experiments.plan.sessions import Counts, PlannedRun
from experiments.plan.shapes import published_shape, write_stand_in
from experiments.plan.tables import count, size
from experiments.studies.communication_figure import draw
from fedprllm_secure.data import Windows
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.checkpoint import WEIGHTS
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.thresholds import FEWEST_CLIENTS, Thresholds
from fedprllm_secure.work import WorkFolder
from protocols import PROTOCOLS

TOKENS = 16  # of the one window of each client: bytes do not depend on text
CLIENTS = (8, 64)
LARGE = ("qwen2.5-0.5b", "qwen2.5-1.5b", "llama-7b", "llama-13b", "llama-2-70b")
PAYLOADS = ("votes", "statistics", "units")
OTHERS_UNDER = "additive"  # payloads other than votes are small under every protocol; one shows it
QUESTION = "What does protection cost in bytes, by protocol and model?"
TITLES = ("model", "parameters", "payload", "protocol", "clients", "measured", "computed", "bits a weight")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run; bytes are those of the client with the most, over all steps and sessions.

    Attributes:
        protocol: how it is summed.
        payload: what a client shares.
        model: its name.
        parameters: all of its weights.
        prunable_weights: those that may be removed.
        clients: size of the roster.
        measured_bytes: sent and received by a client in a real run; None where the model was not run.
        computed_bytes: the same by formula.
        computed_up_bytes: of it, what the client sends.
        computed_server_bytes: received and sent by the server.
        bits_per_weight: bits that a client submits for each prunable weight.
    """

    protocol: str
    payload: str
    model: str
    parameters: int
    prunable_weights: int
    clients: int
    measured_bytes: int | None
    computed_bytes: int
    computed_up_bytes: int
    computed_server_bytes: int
    bits_per_weight: float


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the study's flags."""
    parser.add_argument(
        "--clients",
        type=rosters,
        default=CLIENTS,
        metavar="LIST",
        help=f"sizes of the roster, such as 8,64,256 (default {','.join(map(str, CLIENTS))})",
    )


def rosters(text: str) -> tuple[int, ...]:
    """Read sizes of rosters, in which every protocol protects someone."""
    sizes = [int(size) if size.isdecimal() else 0 for size in text.split(",")]
    if min(sizes) < FEWEST_CLIENTS:
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers of at least {FEWEST_CLIENTS}, such as 8,64")
    return tuple(sizes)


def run(*, out: Path, clients: Sequence[int] = CLIENTS) -> list[Row]:
    """Measure, compute and check; write ``communication.jsonl``, ``.md``, ``.png`` and ``.svg``, and print the table.

    Args:
        out: a folder that exists.
        clients: sizes of the roster.

    Raises:
        InputError: there are too few clients for a protocol.
        RuntimeError: a formula and a real run disagree.
    """
    console, rows = Console(), list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        tiny = write_tiny(Path(folder) / "tiny")
        for name, source in (("tiny", tiny), ("demo", DEMO_MODEL)):
            model = StreamedModel(source, device=CPU)
            rows += [row_of(name, model, method, count, is_run=True) for method, count in _cells(clients)]
            console.print(f"{name}: measured and computed bytes agree in {len(_cells(clients))} runs", highlight=False)
    for name in LARGE:
        with tempfile.TemporaryDirectory() as folder:
            model = StreamedModel(write_stand_in(published_shape(name), Path(folder)), device=CPU)
            rows += [row_of(name, model, method, count, is_run=False) for method, count in _cells(clients)]
    (out / "communication.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    (out / "communication.md").write_text(markdown(rows))
    for ending in ("png", "svg"):
        draw(rows, out / f"communication.{ending}", clients=max(clients))
    console.print(table(rows))
    console.print(f"table and picture: {out}", highlight=False)
    return rows


def write_tiny(folder: Path) -> Path:
    """Write a LLaMA of two small blocks with random weights."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=48,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=TOKENS,
    )
    config.save_pretrained(folder)
    save_file(dict(LlamaForCausalLM(config).state_dict()), folder / WEIGHTS)
    return folder


def _cells(clients: Sequence[int]) -> list[tuple[Method, int]]:
    """List what is looked at of each model."""
    pairs = [(protocol, "votes") for protocol in PROTOCOLS]
    pairs += [(OTHERS_UNDER, payload) for payload in PAYLOADS if payload != "votes"]
    return [(_method(protocol, payload), count) for protocol, payload in pairs for count in clients]


def _method(protocol: str, payload: str) -> Method:
    schedule = Schedule.of("one-shot", "dense")
    return Method(sparsity=Sparsity.parse("0.5"), schedule=schedule, protocol=protocol, payload=payload)


def row_of(name: str, model: StreamedModel, method: Method, clients: int, *, is_run: bool) -> Row:
    """Compute the bytes of a run, and measure them if it is to be run.

    Args:
        name: of the model.
        model: opened, or a stand-in that is not run.
        method: how to prune and to sum.
        clients: size of the roster.
        is_run: whether to run it.

    Raises:
        RuntimeError: what was measured is not what was computed.
    """
    thresholds = Thresholds.choose(method.protocol, clients)
    with tempfile.TemporaryDirectory() as folder:
        planned = PlannedRun(model, method, Counts(clients=clients, per_client=1), thresholds, folder=Path(folder))
        steps = bytes_by_step(planned.traffic())
        measured = _measured(model, method, clients, thresholds, Path(folder) / "work") if is_run else None
    if measured is not None and measured != steps:
        raise RuntimeError(f"{name}, {method.protocol}, {method.payload}: measured {measured} must be {steps}")
    up = sum(figures["client_up_max_bytes"] for figures in steps.values())
    down = sum(figures["client_down_max_bytes"] for figures in steps.values())
    weights = sum(matrix.numel for block in range(model.num_blocks) for matrix in prunable_matrices(model, block))
    return Row(
        protocol=method.protocol,
        payload=method.payload,
        model=name,
        parameters=sum(torch.Size(tensor.shape).numel() for tensor in model.checkpoint.tensors.values()),
        prunable_weights=weights,
        clients=clients,
        measured_bytes=None if measured is None else _of_client(measured),
        computed_bytes=up + down,
        computed_up_bytes=up,
        computed_server_bytes=sum(each["server_in_bytes"] + each["server_out_bytes"] for each in steps.values()),
        bits_per_weight=8 * steps["submit"]["client_up_max_bytes"] / weights,
    )


def _of_client(steps: dict[str, dict[str, int]]) -> int:
    return sum(figures["client_up_max_bytes"] + figures["client_down_max_bytes"] for figures in steps.values())


def _measured(
    model: StreamedModel, method: Method, clients: int, thresholds: Thresholds, work: Path
) -> dict[str, dict[str, int]]:
    """Run it on random tokens, and add up what the sessions counted."""
    ids = torch.randint(0, model.vocabulary_size, (clients, TOKENS))
    windows = Windows(ids, num_clients=clients, per_client=1, length=TOKENS)
    federation = Federation(model, windows, method, WorkFolder(work), thresholds=thresholds)
    federation.run()
    records = [federation.work.record(index).cost_by_step for index in range(model.num_blocks)]
    return {
        step: {name: int(sum(record[step][name] for record in records)) for name in figures if name.endswith("_bytes")}
        for step, figures in records[0].items()
    }


def table(rows: Sequence[Row]) -> Table:
    """Lay the rows out."""
    found = Table(title="bytes of a client, up and down, all steps and sessions", pad_edge=False, padding=(0, 0, 0, 1))
    for title in TITLES:
        is_name = title in ("model", "payload", "protocol")
        found.add_column(title, justify="left" if is_name else "right", no_wrap=title == "model")
    for cells in _cells_of(rows):
        found.add_row(*cells)
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Write the rows as a Markdown table, below the question and the picture that lies beside it."""
    lines = [f"# {QUESTION}", "", f"![{QUESTION}](communication.png)", ""]
    lines += [f"| {' | '.join(TITLES)} |", f"|{'---|' * len(TITLES)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in _cells_of(rows))]) + "\n"


def _cells_of(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield (
            row.model,
            count(row.parameters),
            row.payload,
            row.protocol,
            str(row.clients),
            "" if row.measured_bytes is None else size(row.measured_bytes),
            size(row.computed_bytes),
            f"{row.bits_per_weight:.2g}",
        )
