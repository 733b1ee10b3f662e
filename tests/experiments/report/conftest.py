"""A report of everything that one can hold, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.report.document import Document
from experiments.report.sources import Sources
from experiments.report.write import Written, put_together, write_report
from tests.experiments.report.written import MATRICES, audit, cell, private, put, put_sweep, result

CLAIM = {"epsilon": 3.0, "delta": 1e-5, "adjacency": "client-zero-out", "adversary": "server"}
NOISY = "additive, distributed epsilon 3"


@pytest.fixture(scope="session")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs with and without noise, over seeds and partitions, audits, a sweep with a failed cell, a broken file."""
    folder = tmp_path_factory.mktemp("inputs")
    uneven = result(protocol="ckks", sends=4600)
    uneven["sparsity"]["fraction_by_matrix"] = {
        name: 0.4 + 0.05 * number for number, name in enumerate(sorted(MATRICES))
    }
    contents = {
        "plain": result(),
        "again": result(seed=1, value=20.5),
        "additive": result(protocol="additive", sends=3200),
        "ckks": uneven,
        "noisy1": private(1.0, value=24.0),
        "noisy3": private(3.0, value=22.0),
        "skewed": result(partition="dirichlet:0.1", value=21.5),
        "sparser": result(sparsity="0.7", value=40.0),
    }
    found = [put(folder / name, each, votes=name == "plain") for name, each in contents.items()]
    noisy = audit([cell("plain"), cell(NOISY, claim=CLAIM, no_claim=None, auc=0.6)])
    flags = {"dp": "distributed", "epsilon": 3.0, "delta": 1e-5, "adjacency": "client-zero-out"}
    noisy["config"] |= flags | {"protocol": ["additive"]}
    found.append(put(folder / "audit", audit([cell(), cell("additive", auc=0.7), cell("plain", "public observer")])))
    found.append(put(folder / "noisy-audit", noisy))
    found.append(put_sweep(folder / "sweep", {"c1": result(seed=2, value=19.5), "c2": "no room left"}, {}))
    broken = put(folder / "broken", result())
    (broken / "result.json").write_text("{")
    return [*found, broken]


@pytest.fixture(scope="session")
def document(paths: list[Path]) -> Document:
    """The report before it is written."""
    return put_together(Sources.gather(paths))


@pytest.fixture(scope="session")
def written(paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report."""
    return write_report(paths, tmp_path_factory.mktemp("report"))
