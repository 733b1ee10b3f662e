"""The game of reconstruction: planted tokens, and figures that come out as they must."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.audit.games import reconstruction_texts
from experiments.audit.games.planted import COPIES, PER_CLIENT, plant, rare_tokens
from experiments.audit.games.reconstruction import default_victims
from experiments.cli import BAD_INPUT, DONE
from fedprllm_secure.errors import InputError
from tests.experiments.audit.games.conftest import Play
from tests.fedprllm_secure.tiny_models import random_model


def test_rare_tokens_are_absent_from_clients_and_rarest_elsewhere() -> None:
    """Of those that no client has, those that the population has least of."""
    population = np.array([0, 9, 1, 0, 3, 5])
    texts = np.array([[0, 1, 1], [1, 0, 0]])

    assert rare_tokens(population, texts, count=3).tolist() == [3, 2, 4]
    with pytest.raises(InputError, match="only 4 are absent; lower --victims"):
        rare_tokens(population, texts, count=5)


def test_tokens_are_planted_where_their_coins_say() -> None:
    """So many times, each client with tokens of its own within a run; the rest of the text stays."""
    texts = np.zeros((4, 80), np.int64)
    rare = np.arange(100, 100 + 2 * PER_CLIENT)
    planted = plant(texts, rare, clients=2, generator=np.random.default_rng(0))

    assert 0 < planted.coins.mean() < 1
    for run in planted.tokens.reshape(2, -1):
        assert sorted(run) == rare.tolist()
    for copies in COPIES:
        for text, tokens, coins in zip(planted.texts[copies], planted.tokens, planted.coins, strict=True):
            assert [int((text == token).sum()) for token in tokens] == (copies * coins).tolist()
            assert (text == 0).sum() == 80 - copies * coins.sum()
    assert (texts == 0).all()


def test_usual_victims_are_whole_runs() -> None:
    """Two runs at least."""
    assert [default_victims(clients) for clients in (8, 5, 30)] == [24, 20, 60]


@pytest.fixture(scope="module")
def result(play: Play, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A game on the tiny text."""
    ran = play(
        "reconstruction",
        tmp_path_factory.mktemp("reconstruction") / "out",
        victims=6,
        clients=2,
        windows_per_client=5,
        population=40,
    )
    assert ran.status == DONE, ran.stderr
    found = json.loads(ran.stdout)
    assert isinstance(found, dict)
    return found


def test_statistics_give_histograms_away(result: dict[str, object]) -> None:
    """Nearer to the truth than the population's, and planted tokens are told."""
    histograms = result["figures"]["histograms"]  # type: ignore[index]

    assert list(histograms) == ["statistics of a client", "statistics of all clients", "prune masks of a client"]
    of_client = histograms["statistics of a client"]
    assert (of_client["rows"], of_client["tokens"]) == (6, 80)
    assert (histograms["statistics of all clients"]["rows"], histograms["statistics of all clients"]["tokens"]) == (
        3,
        160,
    )
    assert of_client["cosine"]["mean"] > of_client["prior_cosine"]["mean"]
    assert of_client["planted_token_auc_by_copies"]["4"]["value"] > 0.8
    for each in histograms.values():
        assert set(each["planted_token_auc_by_copies"]) == {"1", "4"}


def test_mask_inversion_is_told_matrix_by_matrix(result: dict[str, object]) -> None:
    """Every matrix of every block; of 32 rows or more, what comes back is nearer than the attacker's mean client."""
    matrices = result["figures"]["mask_inversion"]  # type: ignore[index]

    assert len(matrices) == 14
    assert {each["block"] for each in matrices} == {0, 1}
    assert len({each["name"] for each in matrices}) == 14
    for each in matrices:
        assert each["bits_reproduced"] > 0.95
        if not each["name"].endswith(("k_proj", "v_proj")):  # of 16 rows: too few cutoffs to tell channels apart
            assert each["rank_correlation"] > each["prior_rank_correlation"]
            assert each["error_nats"] < each["prior_error_nats"]


def test_models_that_mix_positions_into_embeddings_are_refused(play: Play, tmp_path: Path) -> None:
    """What enters block 0 is no sum over tokens there."""
    random_model("gpt2", torch.float32).save_pretrained(tmp_path / "model")
    ran = play("reconstruction", tmp_path / "out", model=tmp_path / "model", victims=4, population=8)

    assert ran.status == BAD_INPUT
    assert "sends a token into block 0 differently at different places" in ran.line


def test_planted_coins_are_not_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two games with one seed and one text plant other tokens: whoever knows the seed knows no coin."""

    def windows(board: Any, *, parts: int, per_part: int) -> torch.Tensor:
        return torch.arange(parts * per_part * 80).reshape(parts, per_part, 80) % 50

    monkeypatch.setattr(reconstruction_texts, "own_windows", windows)
    board: Any = Namespace(
        flags=Namespace(population=8, seed=0), model=Namespace(vocabulary_size=90),
        clients=2, windows_per_client=1, victims=6, length=80,
    )  # fmt: skip
    coins = [reconstruction_texts.laid_out(board).planted.coins for _ in range(2)]
    assert coins[0].shape == (6, PER_CLIENT)
    assert not np.array_equal(*coins)
