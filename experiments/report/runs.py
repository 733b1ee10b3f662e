"""One pruning run, as its ``result.json`` tells it: every figure checked and named with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.prune_result import SCHEMA
from experiments.report.fields import COUNT, DELTA, EPSILON, Fields, Unreadable

FILE = "result.json"
BASELINES = ("dense", "central", "local", "public", "magnitude")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a run cost, all sessions together.

    Attributes:
        up_bytes: a client sends at most.
        down_bytes: a client receives at most.
        server_in_bytes: the server receives.
        server_out_bytes: the server sends.
        bits_a_weight: a client submits for each prunable weight.
        client_seconds: of the protocol, the slowest client of each step.
        server_seconds: of the protocol.
        pruning_seconds: calibration, protocol and selection.
        total_seconds: of the command, evaluation included.
        memory_bytes: peak, by place (host, device).
    """

    up_bytes: float
    down_bytes: float
    server_in_bytes: float
    server_out_bytes: float
    bits_a_weight: float
    client_seconds: float
    server_seconds: float
    pruning_seconds: float
    total_seconds: float
    memory_bytes: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished pruning run.

    Attributes:
        name: how the report calls it, such as ``R1``.
        folder: where it lies.
        config: flags that decide it, as :func:`experiments.flags.configuration` wrote them.
        model_sha256: digest of the model.
        model: what ``--model`` named.
        data: what ``--data`` named.
        partition: how text fell to clients.
        clients: parties.
        windows_per_client: of each.
        window_tokens: length of a window.
        sparsity: as asked.
        achieved: share of the prunable weights that is gone.
        fractions: the same by matrix.
        protocol: its name.
        protects: its claim, in its own words.
        payload: what a client shared.
        survivors: clients whose vectors are in the sum, by block.
        evaluation: (windows, tokens a window) of perplexity; None where none was measured.
        result: name of the variant that is the result; empty likewise.
        perplexity: by variant; None where it was infinite; the variants of :data:`BASELINES` and the result.
        alone: perplexities of clients that pruned alone.
        privacy: of ``result.json``.
        costs: what it cost.
        environment: of ``result.json``.
        notes: of ``result.json``.
    """

    name: str
    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    model_sha256: str
    model: str
    data: str
    partition: str
    clients: int
    windows_per_client: int
    window_tokens: int
    sparsity: str
    achieved: float
    fractions: Mapping[str, float] = field(repr=False)
    protocol: str
    protects: str
    payload: str
    survivors: tuple[int, ...]
    evaluation: tuple[int, int] | None
    result: str
    perplexity: Mapping[str, float | None]
    alone: tuple[float, ...]
    privacy: Fields = field(repr=False)
    costs: Costs
    environment: Fields = field(repr=False)
    notes: tuple[str, ...]

    @property
    def seed(self) -> Any:
        """Seed of the partition and of random ties."""
        return self.config.get("seed")

    @property
    def is_private(self) -> bool:
        """Whether there is noise, and so a claim or at least an attempt at one."""
        return self.privacy.entries.get("dp", "none") != "none"

    @property
    def epsilon(self) -> float | None:
        """The claimed epsilon; None where nothing is claimed."""
        return self.privacy.maybe_number("epsilon") if self.is_private else None

    @property
    def value(self) -> float | None:
        """Perplexity of the result; None where it was not measured or is infinite."""
        return self.perplexity.get(self.result)

    @classmethod
    def read(cls, folder: Path, *, name: str) -> Run:
        """Read a run's folder.

        Raises:
            Unreadable: its result is cut short, of another schema, or lacks something.
        """
        found = Fields.read(folder / FILE, schema=SCHEMA)
        data, sparsity, protocol = (found.inside(part) for part in ("data", "sparsity", "protocol"))
        perplexity, alone = _perplexities(found)
        measured = found.inside("perplexity")
        survivors = protocol.numbers("survivors_by_block", within=COUNT)
        privacy = found.inside("privacy")
        privacy.text("dp")
        privacy.maybe_number("epsilon", within=EPSILON)
        privacy.maybe_number("delta", within=DELTA)
        return cls(
            name=name,
            folder=folder,
            config=found.inside("config").entries,
            model_sha256=found.inside("model").text("sha256"),
            model=found.inside("model").text("source"),
            data=data.text("source"),
            partition=data.text("partition"),
            clients=data.whole("clients"),
            windows_per_client=_per_client(data),
            window_tokens=data.whole("window_length_tokens"),
            sparsity=sparsity.text("asked"),
            achieved=sparsity.number("achieved_fraction"),
            fractions=sparsity.by_name("fraction_by_matrix"),
            protocol=protocol.text("name"),
            protects=protocol.text("protects"),
            payload=protocol.text("payload"),
            survivors=tuple(int(count) for count in survivors),
            evaluation=(measured.whole("windows"), measured.whole("context_tokens")) if measured.entries else None,
            result=measured.text("result") if measured.entries else "",
            perplexity=perplexity,
            alone=alone,
            privacy=privacy,
            costs=_costs(found, protocol, sparsity),
            environment=found.inside("environment"),
            notes=found.texts("notes"),
        )


def _per_client(data: Fields) -> int:
    """Read how many windows each client holds, or the most where it says so of each."""
    value = data.entries.get("windows_per_client")
    return int(max(data.numbers("windows_per_client"))) if isinstance(value, list) else data.whole("windows_per_client")


def _perplexities(found: Fields) -> tuple[dict[str, float | None], tuple[float, ...]]:
    covered = found.inside("perplexity")
    apart = found.maybe_inside("simulation_only").maybe_inside("perplexity")
    values: dict[str, float | None] = {}
    alone: tuple[float, ...] = ()
    names = dict.fromkeys((*BASELINES, "federated", "scaled", covered.maybe_text("result") or ""))
    for part in (covered, apart):
        for name in names:
            if part.has(name):
                figures = part.inside(name)
                values[name] = figures.maybe_number("perplexity")
                if figures.has("clients"):
                    alone = tuple(figures.numbers("clients")) if None not in figures.entries["clients"] else ()
    if covered.entries and covered.text("result") not in values:
        raise Unreadable(f"{found.file}: perplexity.result must name a perplexity; left out")
    return values, alone


def _costs(found: Fields, protocol: Fields, sparsity: Fields) -> Costs:
    steps, timed, spent = found.inside("bytes"), protocol.inside("seconds_by_step"), found.inside("seconds")

    def all_steps(of: Fields, figure: str) -> float:
        return sum(of.inside(step).number(figure) for step in of.entries)

    weights = sparsity.whole("prunable_weights")
    if weights < 1:
        raise Unreadable(f"{found.file}: sparsity.prunable_weights must be at least 1; left out")
    return Costs(
        up_bytes=all_steps(steps, "client_up_max_bytes"),
        down_bytes=all_steps(steps, "client_down_max_bytes"),
        server_in_bytes=all_steps(steps, "server_in_bytes"),
        server_out_bytes=all_steps(steps, "server_out_bytes"),
        bits_a_weight=8 * steps.inside("submit").number("client_up_max_bytes") / weights,
        client_seconds=all_steps(timed, "client_max_seconds"),
        server_seconds=all_steps(timed, "server_seconds"),
        pruning_seconds=spent.number("pruning"),
        total_seconds=spent.number("total"),
        memory_bytes=found.by_name("peak_memory_bytes"),
    )
