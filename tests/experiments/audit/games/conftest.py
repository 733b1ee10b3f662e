"""Games as a user plays them, on a tiny model and tiny texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.experiments.conftest import LENGTH, Inputs, Ran, run_main

Play = Callable[..., Ran]
SMALL = {"window_length": LENGTH, "device": "cpu", "clients": 2, "windows_per_client": 1, "json": True}


@pytest.fixture(scope="module")
def play(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Play a game: ``play(game, out, flag=value)``; None drops a flag, True gives it alone."""
    cache = tmp_path_factory.mktemp("games-cache")

    def run(game: str, out: Path, **changed: object) -> Ran:
        flags = {"model": inputs.model, "data": inputs.text, "game": game, "cache": cache, "out": out}
        words = []
        for name, value in (flags | SMALL | changed).items():
            flag = "--" + name.replace("_", "-")
            if value is not None:
                words += [flag] if value is True else [f"{flag}={value}"]
        return run_main("audit", *words)

    return run
