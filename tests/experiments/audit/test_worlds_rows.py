"""Rows of the attacker's own worlds: what real clients would decide, added up, chosen from, alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.audit import jobs
from experiments.audit.jobs import Job, OwnRows, Truth, mask_rows
from experiments.audit.statistics import AuditBlock, WindowStatistics
from experiments.audit.victims import SeenBlock
from experiments.audit.worlds import EMPTY, Slots, Worlds, draw_worlds
from experiments.audit.worlds_rows import MatrixRows, windows_of
from fedprllm_secure.payloads import Votes
from fedprllm_secure.pruners import PRUNERS
from tests.experiments.audit.tiny_audit import method

GROUPS = np.arange(14).reshape(7, 2)
PAYLOAD = Votes.of(method("votes"), largest_bound=100)


def worlds() -> Worlds:
    """Draw four worlds of two clients with two slots each, contributions of two windows."""
    return draw_worlds(
        np.random.default_rng(0),
        4,
        slots=Slots(clients=2, per_client=2, in_play=2),
        targets=np.array([[0, 1], [2, 3]]),
        others=np.arange(4, 7),
    )


def maker_of(block: AuditBlock, empty_vote: float = 0.0) -> MatrixRows:
    """Make rows of a block's last matrix, which is not square."""
    return MatrixRows(block, block.matrices[-1], PAYLOAD, GROUPS, empty_vote)


def wanda(statistics: WindowStatistics, maker: MatrixRows, windows: np.ndarray) -> np.ndarray:
    """Prune a matrix by the sum of windows' energies."""
    place = statistics.channels[maker.block.index, maker.block.view().source(maker.matrix)]
    energy = torch.from_numpy(statistics.energies[windows][:, place].sum(0))
    weight = maker.block.editable.weight(maker.matrix)
    pruned = PRUNERS["wanda"](weight, energy, sparsity=PAYLOAD.sparsity, group="row")
    return pruned.prune_mask.numpy()


def test_windows_stand_behind_contributions() -> None:
    """Those of an empty slot are none."""
    found = windows_of(np.array([[[3, EMPTY], [0, 1]]]), GROUPS)

    assert found.tolist() == [[[6, 7, -1, -1], [0, 1, 2, 3]]]


def test_a_mask_is_that_of_the_pruner(statistics: WindowStatistics) -> None:
    """Wanda on the sum of the windows' energies; a candidate's alone likewise."""
    with statistics.block(1) as block:
        maker = maker_of(block)

        assert np.array_equal(maker.mask(np.array([3, 5])), wanda(statistics, maker, np.array([3, 5])))
        assert np.array_equal(maker.mask(np.array([3, -1])), wanda(statistics, maker, np.array([3])))
        alone = maker.alone(GROUPS[:3])
        assert alone.dtype == bool
        for mask, windows in zip(alone, GROUPS[:3], strict=True):
            assert np.array_equal(mask, wanda(statistics, maker, windows))


def test_clients_without_text_vote_empty(statistics: WindowStatistics) -> None:
    """With the empty vote on every weight; others with their masks, in order."""
    held = np.array([[[EMPTY, EMPTY], [5, EMPTY]]])
    none = np.empty((1, 0), np.int8)
    with statistics.block(0) as block:
        maker = maker_of(block, 0.25)
        first, second = maker.clients(Worlds(contributions=held, coins=none, clients_of=none.astype(np.int64)), 0)

        assert first.shape == maker.matrix.shape
        assert (first == np.float32(0.25)).all()
        assert np.array_equal(second, wanda(statistics, maker, GROUPS[5]))


def test_own_rows_are_clients_masks_and_their_sums(statistics: WindowStatistics) -> None:
    """Masks client by client in the worlds' order, totals of the first clients for every count asked for."""
    with statistics.block(0) as block:
        maker = maker_of(block)
        drawn = worlds()
        found = OwnRows.of(maker, drawn, counts=(1, 2))
        expected = np.stack([mask for world in range(4) for mask in maker.clients(drawn, world)])

    assert found.masks.dtype == np.uint8
    assert np.array_equal(found.masks, expected)
    by_world = expected.astype(np.int64).reshape(4, 2, *expected.shape[1:])
    assert np.array_equal(found.totals[2], by_world.sum(1))
    assert np.array_equal(found.totals[1], by_world[:, 0])


def test_no_more_masks_are_kept_than_there_is_room_for(statistics: WindowStatistics, monkeypatch: object) -> None:
    """And the coins that go with them are those of the masks kept; totals are of all."""
    drawn = worlds()
    whole = mask_rows(drawn)
    monkeypatch.setattr(jobs, "MOST_MASK_ROWS", 3)  # type: ignore[attr-defined]
    with statistics.block(0) as block:
        found = OwnRows.of(maker_of(block), drawn, counts=(2,))

    assert len(found.masks) == len(mask_rows(drawn)) == 3
    assert np.array_equal(mask_rows(drawn), whole[:3])
    assert len(whole) == 8
    assert len(found.totals[2]) == 4


def test_single_clients_noisy_votes_are_of_every_client(statistics: WindowStatistics) -> None:
    """The attacker's rows for votes that a key holder opens: all clients' masks with noise, and the coins of those."""
    drawn = worlds()
    seen_coins, runs = drawn.client_rows()[0], np.repeat(np.arange(4), 2)
    job = Job(
        name="masks", what="masks", configuration="ckks", kind="totals", clients=1, noise_sd=0.01,
        truth=Truth(seen_coins, runs),
    )  # fmt: skip
    setting = job.setting(
        slots_of_client=2, labelled=drawn, energies=np.ones((4, 3)), population=np.ones((3, 3)),
        targets=np.array([[0, 1], [2, 3]]),
    )  # fmt: skip
    with statistics.block(0) as block:
        maker = maker_of(block)
        own = OwnRows.of(maker, drawn, counts=())
        name = maker.matrix.name
        observed = {name: np.zeros((8, *maker.matrix.shape), np.float32)}
        seen = SeenBlock(masks=observed, totals={}, released={}, choice={})
        sight = job.sight(
            maker, {"ckks": seen}, channels=np.arange(3), labelled=own, reference=own,
            alone=np.zeros((4, *maker.matrix.shape), bool), generator=np.random.default_rng(0),
        )  # fmt: skip

    assert np.array_equal(setting.coins, mask_rows(drawn))
    assert sight.rows.shape == (16, *maker.matrix.shape)
    np.testing.assert_allclose(sight.rows[8:], own.masks, atol=0.1)
    np.testing.assert_allclose(sight.reference, own.masks, atol=0.1)


def test_the_server_chooses_the_most_voted_weights(statistics: WindowStatistics) -> None:
    """Half of the matrix, none with fewer votes than one that stays, world by world."""
    with statistics.block(0) as block:
        maker = maker_of(block)
        totals = OwnRows.of(maker, worlds(), counts=(2,)).totals[2]
        chosen = maker.choice(totals, clients=2)

    assert chosen.dtype == np.uint8
    for mask, votes in zip(chosen.astype(bool), totals, strict=True):
        assert mask.sum() == mask.size // 2
        assert votes[mask].min() >= votes[~mask].max()


def test_log_weights_are_of_the_public_model(statistics: WindowStatistics) -> None:
    """The logarithm of absolute values, minus infinity where a weight is nothing."""
    with statistics.block(0) as block, torch.no_grad():
        maker = maker_of(block)
        weight = block.editable.weight(maker.matrix)
        kept = weight[0, 0].clone()
        weight[0, 0] = 0
        found = maker.log_weights()
        expected = np.abs(weight.numpy())
        weight[0, 0] = kept

    assert found.dtype == np.float32
    assert found[0, 0] == -np.inf
    assert np.allclose(np.exp(found), expected, rtol=1e-5)


@pytest.mark.parametrize("empty_vote", [0.0, 0.5])
def test_totals_count_a_client_without_text_as_its_configuration_does(
    statistics: WindowStatistics, empty_vote: float
) -> None:
    """As nothing where votes are sent as they are; as the centre where they are centred."""
    none = np.empty((1, 0), np.int8)
    worlds = Worlds(contributions=np.array([[[0, 1], [-1, -1]]]), coins=none, clients_of=none.astype(np.int64))
    with statistics.block(0) as block:
        maker = maker_of(block, empty_vote)
        own = OwnRows.of(maker, worlds, counts=(1, 2))

    np.testing.assert_array_equal(own.totals[2], own.totals[1] + empty_vote)
    np.testing.assert_array_equal(own.masks[1], np.full_like(own.masks[1], empty_vote))
