"""Text of each client that it does not calibrate on, cut beside the text that it does, and written for a sweep to read.

Works the same under every partition, and gives the natural one, which hangs on no seed, different windows by seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from experiments import inputs
from experiments.sweep.commands import parse_prune
from fedprllm_secure.data.windows import WINDOWS_KEY
from fedprllm_secure.durable import write_durably
from fedprllm_secure.errors import InputError

PRIVATE = 0o700  # of the folder: windows are clients' text
CALIBRATION = "calibration.safetensors"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the windows of one partition and seed lie.

    Attributes:
        name: of the partition, the seed, and a digest of the flags; nothing of private text.
        calibration: file of every client's calibration windows.
        held_out: for each client, file of windows that it does not calibrate on.
    """

    name: str
    calibration: Path
    held_out: tuple[Path, ...]


def cut_held_out(flags: Mapping[str, str], *, held_out: int, folder: Path) -> Cut:
    """Cut and write them; the same flags give the same windows.

    Of a client's text twice as many windows as are needed are cut where there is so much; which of them calibrate and
    which are held out is drawn from the seed. No window is both; two may be of one document.

    Args:
        flags: those of ``fedprllm prune`` that decide the clients' windows, as text.
        held_out: windows of each client to hold out.
        folder: where a folder for them is made.

    Raises:
        InputError: windows of ``--data`` are cut already, or a client has too little text.
    """
    given = parse_prune(flags, out=str(folder))
    if inputs.is_cut(given.data):
        raise InputError(f"--data {given.data}: windows that are cut already have no partition; give text")
    digest = hashlib.sha256(json.dumps([dict(flags), held_out], sort_keys=True).encode()).hexdigest()[:8]
    name = f"{given.partition.replace(':', '-')}-{given.seed}-{digest}"
    used, per_client = given.windows_per_client, given.windows_per_client + held_out
    given.windows_per_client = per_client
    model = inputs.open_model(given)
    length = inputs.window_length(given, model)
    windows, further = inputs.windows_and_further(given, model, length, [], canaries=per_client)
    place = folder / name
    place.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    place.chmod(PRIVATE)
    calibration, kept = [], []
    for client in range(windows.num_clients):
        pool = torch.cat([windows.of(client), further[client]])
        order = torch.from_numpy(np.random.default_rng([given.seed, client]).permutation(len(pool)))
        calibration.append(pool[order[:used]])
        kept.append(place / f"client-{client:04d}.safetensors")
        _write(pool[order[used:per_client]].contiguous(), kept[-1])
    _write(torch.cat(calibration), place / CALIBRATION)
    return Cut(name, place / CALIBRATION, tuple(kept))


def _write(ids: torch.Tensor, file: Path) -> None:
    """Write windows, which are private text, for the owner alone; what stands there already and is the same stays."""
    content = save({WINDOWS_KEY: ids})
    if not file.exists() or file.read_bytes() != content:
        write_durably(file, content, mode=0o600)
