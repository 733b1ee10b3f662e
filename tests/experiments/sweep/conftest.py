"""Sweeps of the tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.sweep import SweepSpec, private_text, run_sweep
from tests.experiments.conftest import FLAGS, Inputs

NOISE = {"dp": "central", "delta": "1e-5", "adjacency": "client-zero-out"}


def tiny_flags(inputs: Inputs, **changed: object) -> dict[str, Any]:
    """Give the flags of a run on the tiny inputs, as a sweep of Python takes them."""
    flags: dict[str, Any] = {
        "model": str(inputs.model),
        "data": str(inputs.text),
        "eval-data": str(inputs.eval_text),
        "public-data": str(inputs.public_text),
        **{name.removeprefix("--"): value for name, value in FLAGS.items()},
    }
    return flags | {name.replace("_", "-"): value for name, value in changed.items()}


@pytest.fixture(scope="session", autouse=True)
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep this machine's key out of the user's home."""
    folder = tmp_path_factory.mktemp("key")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_text, "CACHE", folder)
        yield folder


@pytest.fixture(scope="session")
def sweep(inputs: Inputs) -> Callable[..., int]:
    """Run a sweep in this process: ``sweep(out, flag=value, audit=...)``; returns its exit status."""

    def run(
        out: Path, *, audit: dict[str, object] | None = None, shared_bytes: int = 1 << 28, **changed: object
    ) -> int:
        spec = SweepSpec.of(tiny_flags(inputs, **changed), audit=audit)
        return run_sweep(spec, out, jobs=1, shared_bytes=shared_bytes, quiet=True)

    return run
