"""The pruning phase of the demo model against the backbone's own dense passes over the same windows.

16 clients x 2 windows of 256 tokens, one-shot, sparsity 0.5; five interleaved runs, medians. The limit is what no
calibrated pruning can go below: one dense pass.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModel

from experiments.demo import DEMO_MODEL
from fedprllm_secure.data import Windows
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.work import WorkFolder

CLIENTS, PER_CLIENT, LENGTH, RUNS, BATCH = 16, 2, 256, 5, 2


def bench_calibration() -> None:
    """Time dense passes and pruning in turn, and print medians."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 4096, (CLIENTS * PER_CLIENT, LENGTH), generator=generator)
    windows = Windows(ids, num_clients=CLIENTS, per_client=PER_CLIENT, length=LENGTH)
    backbone = AutoModel.from_pretrained(DEMO_MODEL, dtype=torch.float32).eval()
    schedules = {
        "one-shot, local": Schedule("one-shot", "local"),
        "one-shot, dense": Schedule("one-shot", "dense"),
        "iterative, global": Schedule("iterative", "global"),
    }
    seconds: dict[str, list[float]] = {"dense pass": [], **{name: [] for name in schedules}}
    for _ in range(RUNS + 1):  # the first run warms up and is dropped
        started = time.perf_counter()
        with torch.no_grad():
            for batch in ids.split(BATCH):
                backbone(input_ids=batch, use_cache=False)
        seconds["dense pass"].append(time.perf_counter() - started)
        for name, schedule in schedules.items():
            seconds[name].append(_pruning_seconds(windows, schedule))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    shape = f"{CLIENTS} clients x {PER_CLIENT} windows x {LENGTH} tokens"
    print(f"{shape}, medians of {RUNS}, {torch.get_num_threads()} threads")
    table = Table("phase", "seconds", "dense passes")
    for name, median in medians.items():
        table.add_row(name, f"{median:.3f}", f"{median / medians['dense pass']:.2f}")
    Console().print(table)


def _pruning_seconds(windows: Windows, schedule: Schedule) -> float:
    with tempfile.TemporaryDirectory() as folder:
        model = StreamedModel(DEMO_MODEL, device=torch.device("cpu"))
        method = Method(sparsity=Sparsity.parse("0.5"), schedule=schedule)
        federation = Federation(model, windows, method, WorkFolder(Path(folder) / "work"), batch_windows=BATCH)
        _ = model.checkpoint.sha256  # the digest is part of opening a model, not of pruning it
        started = time.perf_counter()
        federation.run()
        return time.perf_counter() - started
