"""Processes that this one starts: how many there is room for, and that none outlives it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

CONTEXT = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
_ORPHANED = 1


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def how_it_ended(process: BaseProcess) -> str:
    """Say how a process that is gone went."""
    code = process.exitcode or 0
    return f"signal {-code}, as when memory runs out" if code < 0 else f"status {code}"


def serve_parent() -> None:
    """Be a process that another one started: leave Ctrl-C to it, and end at once when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the parent too, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this process was started by another
    wait([parent.sentinel])
    os._exit(_ORPHANED)
