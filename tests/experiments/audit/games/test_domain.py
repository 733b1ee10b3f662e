"""The game of domains: who holds what, and that planted domains are told while equal ones are not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.audit.games.domain import dealt, default_victims, drawn
from experiments.audit.games.texts import DomainTexts
from experiments.cli import BAD_INPUT, DONE
from tests.experiments.audit.games.conftest import Play
from tests.experiments.conftest import WORDS

DOMAINS, EACH = 2, 12


@pytest.fixture(scope="module")
def texts() -> DomainTexts:
    """Numbers of windows without any text."""
    numbers = np.arange(DOMAINS * 2 * EACH).reshape(DOMAINS, 2, EACH)
    return DomainTexts(ids=torch.zeros(1), names=("a", "b"), victims=numbers[:, 0], own=numbers[:, 1])


def write_rows(file: Path, *, share: float) -> Path:
    """Write texts of two topics: of so many words that only one of them has, and words of both."""
    draw = random.Random(5)
    sides = {"first": WORDS[:5], "second": WORDS[5:10]}
    rows = []
    for _ in range(60):
        for topic, own in sides.items():
            words = [draw.choice(own if draw.random() < share else WORDS) for _ in range(60)]
            rows.append({"text": " ".join(words), "topic": topic})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_victims_hold_every_window_once_and_their_own_domains(texts: DomainTexts) -> None:
    """Each domain is dealt equally often; the attacker's runs are of other windows of the same domain."""
    deal = dealt(texts, runs=4, clients=3, each=2)
    own = drawn(texts, np.random.default_rng(0), runs=30, clients=3, each=2)

    assert np.bincount(deal.domains.reshape(-1)).tolist() == [6, 6]
    assert sorted(deal.windows.reshape(-1)) == sorted(texts.victims.reshape(-1))
    for held, windows in ((texts.victims, deal), (texts.own, own)):
        assert all(np.isin(windows.windows[windows.domains == domain], held[domain]).all() for domain in range(DOMAINS))
    assert (own.windows[..., 0] != own.windows[..., 1]).all()
    assert np.allclose(deal.proportions(2), np.stack([(deal.domains == each).mean(1) for each in (0, 1)], axis=1))


def test_victims_are_dealt_anew_every_time(texts: DomainTexts) -> None:
    """No seed brings their domains back; the attacker's runs are its seed's."""
    deals = {dealt(texts, runs=4, clients=3, each=2).domains.tobytes() for _ in range(5)}
    owns = {drawn(texts, np.random.default_rng(0), runs=4, clients=3, each=2).domains.tobytes() for _ in range(5)}

    assert len(deals) > 1
    assert len(owns) == 1


def test_usual_victims_come_out_even() -> None:
    """In whole runs that hold every domain equally often, even where that takes more."""
    assert default_victims(8, 4) == 96
    assert default_victims(5, 4) == 80
    assert default_victims(64, 3) == 192


def test_topics_of_their_own_words_are_told(play: Play, tmp_path: Path) -> None:
    """By the label's column; proportions are nearer to the truth than the mean mixture."""
    sizes = {"victims": 32, "domains": 2, "label_field": "topic", "clients": 4, "labelled_runs": 24}
    ran = play("domain", tmp_path / "out", data=write_rows(tmp_path / "rows.jsonl", share=0.9), **sizes)
    assert ran.status == DONE, ran.stderr
    figures = json.loads(ran.stdout)["figures"]

    assert set(figures["domains"]) == {"first", "second"}
    assert figures["clients"] == 32
    assert figures["runs"] == 8
    assert figures["accuracy"] > 0.9
    assert figures["prior_accuracy"] == 0.5
    assert figures["accuracy_interval"][0] > 0.5
    assert np.array(figures["told"]).sum(1).tolist() == [16, 16]
    assert np.trace(figures["told"]) == figures["correct"]
    assert figures["total_variation"]["mean"] < figures["prior_total_variation"]["mean"]


def test_topics_of_the_same_words_are_not_told(play: Play, tmp_path: Path) -> None:
    """Guessing is in the interval: nothing leaks from the deal to the attacker."""
    sizes = {"victims": 32, "domains": 2, "label_field": "topic", "clients": 4, "labelled_runs": 24}
    ran = play("domain", tmp_path / "out", data=write_rows(tmp_path / "rows.jsonl", share=0.0), **sizes)
    assert ran.status == DONE, ran.stderr
    figures = json.loads(ran.stdout)["figures"]

    assert figures["accuracy"] < 0.85


def test_files_of_a_folder_are_domains(play: Play, tmp_path: Path) -> None:
    """Those with the most text; more than there are is refused, and one with too little text is named."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, words in (("large", 600), ("middle", 500), ("small", 80)):
        (folder / f"{name}.txt").write_text("\n\n".join(" ".join(WORDS) for _ in range(words // len(WORDS))))
    sizes = {"data": folder, "victims": 8, "labelled_runs": 8}

    ran = play("domain", tmp_path / "out", domains=2, **sizes)
    assert json.loads(ran.stdout)["figures"]["domains"] == ["large", "middle"]
    ran = play("domain", tmp_path / "other", domains=4, **sizes)
    assert ran.status == BAD_INPUT
    assert "--domains 4 must be at most 3, the domains that the text has" in ran.line
    ran = play("domain", tmp_path / "other", domains=3, **sizes | {"victims": 24})
    assert "domain 'small' of --data" in ran.line
    assert "is too short for 8 windows of 16 tokens" in ran.line
