"""A tiny model of two blocks, and statistics of a few windows of it, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.audit.statistics import WindowStatistics
from fedprllm_secure.models.streamed import StreamedModel
from tests.experiments.audit.tiny_audit import WINDOWS, draw_ids, survey, target
from tests.fedprllm_secure.tiny_models import CPU, random_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as the command does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamedModel:
    """A tiny model."""
    folder = tmp_path_factory.mktemp("audit-model")
    random_model("llama", torch.float32, blocks=2).save_pretrained(folder)
    return StreamedModel(folder, device=CPU)


@pytest.fixture(scope="session")
def ids() -> Tensor:
    """Windows (windows, tokens)."""
    return draw_ids(WINDOWS)


@pytest.fixture(scope="session")
def public() -> Tensor:
    """Windows of public text, enough for a basis."""
    return draw_ids(40, seed=7)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where statistics are kept."""
    return tmp_path_factory.mktemp("audit-cache")


@pytest.fixture(scope="session")
def statistics(model: StreamedModel, ids: Tensor, cache: Path) -> WindowStatistics:
    """Statistics without a public basis."""
    return survey(model, ids, cache)


@pytest.fixture(scope="session")
def based_statistics(model: StreamedModel, ids: Tensor, cache: Path, public: Tensor) -> WindowStatistics:
    """Statistics with public text for a basis."""
    return survey(model, ids, cache, privacy=target("central"), public=public)
