"""Figures every result carries, and how a result is written."""

from __future__ import annotations

import json
import math
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fedprllm_secure.durable import write_durably

PACKAGES = ("fedprllm-secure", "torch", "transformers", "datasets", "numpy", "cryptography", "safetensors")


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """Read the peak resident memory of this process, and the device's where it is a GPU."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    peaks = {"host": int(found[1]) * 1024 if found else 0}
    if device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_allocated(device)
    return peaks


def environment(device: torch.device) -> dict[str, Any]:
    """Name what the figures were measured with."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "versions": versions,
    }


def write_json(file: Path, value: Any, *, mode: int = 0o666) -> None:
    """Write JSON that appears under its name when whole; infinities become null, as JSON has none.

    Args:
        file: its name.
        value: its content.
        mode: permissions of a new file, less the process's umask.
    """
    write_durably(file, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode(), mode=mode)


def finite(value: Any) -> Any:
    """Replace infinities and undefined numbers by None, which JSON can say."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
