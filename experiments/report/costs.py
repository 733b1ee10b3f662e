"""What each protocol costs: bytes, bits a weight, seconds, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.report.document import Section, Table, Text
from experiments.report.document import Sources as Named
from experiments.report.groups import Setting, settings_of
from experiments.report.intervals import seconds, size
from experiments.report.runs import Costs, Run

NO_COST = ("delta", "adjacency")
COLUMNS: dict[str, tuple[Callable[[Costs], float], Callable[[float], str]]] = {
    "client sends": (lambda costs: costs.up_bytes, size),
    "client receives": (lambda costs: costs.down_bytes, size),
    "submitted, bits a weight": (lambda costs: costs.bits_a_weight, lambda value: f"{value:.3g}"),
    "server receives": (lambda costs: costs.server_in_bytes, size),
    "server sends": (lambda costs: costs.server_out_bytes, size),
    "client's protocol": (lambda costs: costs.client_seconds, seconds),
    "server's protocol": (lambda costs: costs.server_seconds, seconds),
    "pruning": (lambda costs: costs.pruning_seconds, seconds),
    "whole command": (lambda costs: costs.total_seconds, seconds),
    "peak memory": (lambda costs: costs.memory_bytes.get("host", 0.0), size),
}


def costs(runs: Sequence[Run]) -> Section:
    """Lay out costs, a row a setting."""
    if not runs:
        return Section("cost", "Cost", (Text("No pruning run is among the inputs, so no cost was measured."),))
    has_device = any("device" in run.costs.memory_bytes for run in runs)
    columns = dict(COLUMNS)
    if has_device:
        columns["peak device memory"] = (lambda costs: costs.memory_bytes.get("device", 0.0), size)
    settings = settings_of(runs)
    rows = tuple(_row(setting, columns) for setting in settings)
    return Section(
        "cost",
        "Cost",
        (
            Table(
                "Cost of a run, all sessions together (means over seeds; clients: the most of any; memory: of the "
                "whole process, which simulates all parties)",
                ("setting", *columns, "from"),
                rows,
            ),
            Text(
                "Bytes follow from protocol and sizes. Seconds and memory are of the machine named with each run's "
                "command, and of whatever else ran there."
            ),
        ),
    )


def _row(
    setting: Setting, columns: dict[str, tuple[Callable[[Costs], float], Callable[[float], str]]]
) -> tuple[str | Named, ...]:
    cells = []
    for read, show in columns.values():
        found = setting.figure(lambda run, read=read: read(run.costs))  # type: ignore[misc]
        assert found is not None
        cells.append(show(found.mean))
    return (setting.name, *cells, Named(tuple(run.name for run in setting.runs)))
