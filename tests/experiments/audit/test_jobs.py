"""What a job cuts out of what was seen of a block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from experiments.audit.jobs import Job, OwnRows, Truth
from experiments.audit.victims import SeenBlock
from experiments.audit.worlds import Worlds
from experiments.audit.worlds_rows import MatrixRows

JOB = Job(
    name="totals", what="totals", configuration="additive", kind="totals", clients=2, noise_sd=0.0,
    truth=Truth(np.ones((1, 1), np.int8), np.zeros(1, np.int64)),
)  # fmt: skip


class Maker:
    """Clients' masks drawn at random instead of decided, of a matrix of 2 x 3."""

    def __init__(self, clients: int, worlds: int = 3, empty_vote: float = 0.0) -> None:
        """Draw them; with an empty vote every other client has no text."""
        self.matrix = SimpleNamespace(name="w", shape=(2, 3))
        self.payload = SimpleNamespace(sparsity=SimpleNamespace(fraction=0.5))
        self.empty_vote = empty_vote
        self.masks = np.random.default_rng(0).integers(0, 2, (worlds, clients, 2, 3)).astype(np.uint8)
        self.worlds = Worlds(
            contributions=np.zeros((worlds, clients, 1), np.int64),
            coins=np.empty((worlds, 0), np.int8),
            clients_of=np.empty((worlds, 0), np.int64),
        )

    def clients(self, worlds: Worlds, world: int) -> Iterator[np.ndarray]:
        """Give what clients submit."""
        for client, mask in enumerate(self.masks[world]):
            yield np.full((2, 3), self.empty_vote, np.float32) if self.empty_vote and client % 2 else mask

    def log_weights(self) -> np.ndarray:
        """Give zeros."""
        return np.zeros((2, 3), np.float32)

    def own(self, *counts: int) -> OwnRows:
        """Make the rows of all worlds."""
        return OwnRows.of(cast(MatrixRows, self), self.worlds, counts=counts)

    def sight(self, job: Job, observed: np.ndarray) -> Any:
        """Give what is seen, with one lot of rows as labelled and reference."""
        seen = SeenBlock(masks=None, totals={"w": observed}, released={}, choice={})
        own = self.own(job.clients)
        return job.sight(
            cast(MatrixRows, self), {"additive": seen}, channels=np.arange(3), labelled=own, reference=own,
            alone=np.zeros((1, 2, 3), bool), generator=np.random.default_rng(1),
        )  # fmt: skip


@pytest.mark.parametrize("clients", [1, 2, 255, 256, 300])
@pytest.mark.parametrize("empty_vote", [0.0, 0.25])
def test_totals_are_sums_of_the_first_clients(clients: int, empty_vote: float) -> None:
    """However many there are, though they are kept in bytes where these hold them."""
    maker = Maker(clients, empty_vote=empty_vote)
    maker.masks[0] = 1
    found = maker.own(1, clients)
    votes = np.stack([np.stack(list(maker.clients(maker.worlds, world))) for world in range(3)])

    assert set(found.totals) == {1, clients}
    for count, totals in found.totals.items():
        assert np.array_equal(totals, votes[:, :count].sum(1, dtype=np.float64))
    assert found.totals[clients].dtype == (np.float32 if empty_vote else np.uint8 if clients < 256 else np.int32)
    assert found.masks.dtype == (np.float32 if empty_vote else np.uint8)
    assert np.array_equal(found.masks, votes.reshape(-1, 2, 3)[: len(found.masks)])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32])
def test_observed_rows_come_first(dtype: type) -> None:
    """Whole votes in the small dtype of the attacker's own rows; under noise all in single precision."""
    maker = Maker(2)
    observed = np.array([[[0, 1, 2], [2, 1, 0]]], dtype)
    rows = maker.sight(JOB, observed).rows

    assert rows.dtype == (np.float32 if dtype is np.float32 else np.uint8)
    assert np.array_equal(rows, np.concatenate([observed, maker.masks.sum(1)]))


@pytest.mark.parametrize("wrong", [-1, 3, 256])
def test_observed_votes_that_so_few_clients_cannot_cast_are_refused(wrong: int) -> None:
    """A smaller dtype would turn them into others."""
    with pytest.raises(ValueError, match=r"observed votes of totals must be in \[0, 2\]"):
        Maker(2).sight(JOB, np.full((1, 2, 3), wrong, np.int32))


@pytest.mark.parametrize("count", [0, 3])
def test_sums_of_other_clients_than_a_world_has_are_refused(count: int) -> None:
    """Nothing would be written where they are to be read."""
    with pytest.raises(ValueError, match=rf"counts=\({count},\) must be from 1 to the 2 clients of a world"):
        Maker(2).own(count)


def test_noise_is_added_in_single_precision() -> None:
    """As that on observed rows is; on the attacker's own totals as exact ones would have it."""
    maker = Maker(2)
    sight = maker.sight(replace(JOB, noise_sd=0.5), np.zeros((1, 2, 3), np.float32))
    noise = np.random.default_rng(1).standard_normal((3, 2, 3), np.float32) * np.float32(0.5)

    assert sight.rows.dtype == sight.reference.dtype == np.float32
    assert np.array_equal(sight.rows[1:], (maker.masks.sum(1) + noise.astype(np.float64)).astype(np.float32))


def test_what_colluders_submitted_is_taken_off_the_totals() -> None:
    """The server and its colluders see the totals of the others."""
    honest, colluders = np.array([[[0, 2], [1, 2]]], np.int32), np.array([[[1, 0], [1, 1]]], np.int32)
    totals = {"w": honest + colluders}
    seen = SeenBlock(masks=None, totals=totals, released=totals, choice=totals, colluders={"w": colluders})
    job = Job(
        name="less", what="less", configuration="additive", kind="totals", clients=2, noise_sd=0.0,
        truth=Truth(np.ones((1, 1), np.int8), np.zeros(1, np.int64)),
    )  # fmt: skip
    assert np.array_equal(job.observed({"additive": seen}, "w"), honest)
    seen.colluders = {"w": totals["w"] + 1}
    with pytest.raises(ValueError, match="totals of w must be at least what colluders submitted"):
        job.observed({"additive": seen}, "w")
