"""Checkpoints of tiny random models, made once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers.utils import logging as transformers_logging

from protocols import SessionPlan, TranscriptEntry
from tests.fedprllm_secure.tiny_models import random_model

Checkpoints = Callable[..., Path]


class Watching:
    """A transcript that shows every message, with its place, to a function, and keeps none."""

    def __init__(self, watch: Callable[[int, TranscriptEntry], object]) -> None:
        """Show them to this function."""
        self._watch = watch

    def begin(self, place: int, plan: SessionPlan) -> None:
        """Keep nothing of a session's plan."""

    def add(self, place: int, entry: TranscriptEntry) -> None:
        """Show a message."""
        self._watch(place, entry)


@pytest.fixture(autouse=True, scope="session")
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and notes out of the output."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    yield
    transformers_logging.set_verbosity(level)
    transformers_logging.enable_progress_bar()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, quiet_transformers: None) -> Checkpoints:
    """Give a family's checkpoint folder in a dtype; each is built on first use."""

    @cache
    def find(family: str, dtype: torch.dtype = torch.float32, blocks: int | None = None) -> Path:
        folder = tmp_path_factory.mktemp(family)
        random_model(family, dtype, blocks).save_pretrained(folder)
        return folder

    return find
