"""For every test: workers that run side by side share the cores instead of fighting for them."""

from __future__ import annotations

import os

# Torch's threads spin while they wait; two workers with two threads each on two cores are fifty times slower than with
# one. Read by the OpenMP runtime when torch is first imported, here and in processes that tests start.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))
