"""Sweeps: many runs of ``fedprllm prune``, and audits of them, by flags that have several values.

    spec = SweepSpec.of({"model": "demo", "data": "demo", "clients": 8, "sparsity": [0.5, 0.7], "seed": range(3)})
    status = run_sweep(spec, Path("sweep"))
    rows = read_sweep(Path("sweep"))  # pandas.DataFrame(rows)

What the folder holds is described in :mod:`experiments.sweep.folder`, what a row holds in
:mod:`experiments.sweep.table`.
"""

from experiments.sweep.run import read_sweep, run_sweep
from experiments.sweep.spec import SweepSpec

__all__ = ["SweepSpec", "read_sweep", "run_sweep"]
