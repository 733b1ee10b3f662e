"""Run sweeps again and again, killed each time but the last: ``python killed_sweeps.py < asked.json``.

Asked is a list of ``{"arguments": [...], "kills": [SECONDS, ...]}``. Printed is a list for each: after each kill and at
the end, the status and by the name of each finished cell a digest of its result and prune masks. Sweeps run in forked
children, which saves each the seconds that imports take.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import experiments.sweep_command  # noqa: F401 - so that children find it loaded
from experiments.cli import main, make_parser


def run_once(arguments: list[str], seconds: float | None) -> int:
    """Run the sweep in a child, kill it after so long, and return its status."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(arguments))
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finished_cells(out: Path) -> dict[str, str]:
    """Digest every cell that has a result."""
    return {
        file.parent.name: hashlib.sha256(
            file.read_bytes() + (file.parent / "prune_masks.safetensors").read_bytes()
        ).hexdigest()
        for file in out.glob("cells/*/result.json")
    }


if __name__ == "__main__":
    make_parser()  # children find loaded what it loads
    found = []
    for asked in json.load(sys.stdin):
        place = next(Path(text.removeprefix("--out=")) for text in asked["arguments"] if text.startswith("--out="))
        kills = [*asked["kills"], None]
        found.append([(run_once(asked["arguments"], kill), finished_cells(place)) for kill in kills])
    print(json.dumps(found))
