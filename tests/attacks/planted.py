"""Small synthetic games with planted coins, numpy alone: what attacks are tested on.

Windows' energies are log-normal with a covariance of low rank beside an own part per channel. A client's prune mask
takes the smallest scores |W| * sqrt(energy) of every row of weights away. Three matrices; the first two share their
input channels. Not a model of any real text: a world in which truth is known and attacks have something to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from attacks.evidence import NOT_IN_PLAY, NOTHING, Kind, MatrixSight, Setting, Sight, StatisticsSight

SHAPES = ((24, 64), (32, 64), (40, 96))
CHANNELS = (np.arange(64), np.arange(64), np.arange(64, 160))
NUM_CHANNELS = 160
FACTORS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A game.

    Attributes:
        setting: what the attacker knows.
        sights: what it sees, in order.
        truth: int8 (observed rows, targets), how the coins fell: 1 first, 0 second, ``NOT_IN_PLAY``.
    """

    setting: Setting
    sights: tuple[Sight, ...]
    truth: np.ndarray

    def coins(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pool observed scores (observed or more, targets) where a coin is in play: bool fell first, and the scores."""
        asked = self.truth != NOT_IN_PLAY
        return self.truth[asked] == 1, scores[: len(self.truth)][asked]


def auc(fell_first: np.ndarray, scores: np.ndarray) -> float:
    """Share of pairs (first in, second in) that the scores put in order; ties count half."""
    more = scores[fell_first][:, None] - scores[~fell_first][None, :]
    return float((more > 0).mean() + (more == 0).mean() / 2)


def null_half_width(fell_first: np.ndarray, *, deviations: float = 3.29) -> float:
    """Half width of the interval about 0.5 for coins that scores know nothing of (Mann-Whitney); 3.29 for 99.9 %."""
    first = int(fell_first.sum())
    second = len(fell_first) - first
    return float(deviations * np.sqrt((first + second + 1) / (12 * first * second)))


def plant(
    kind: Kind,
    *,
    seed: int,
    paired: bool = True,
    separable: bool = False,
    no_signal: bool = False,
    clients: int = 3,
    per_client: int = 2,
    targets: int = 6,
    strangers: int = 8,
    observed: int = 64,
    labelled: int = 96,
    reference: int = 96,
    noise_sd: float = 0.0,
    sparsity: float = 0.5,
) -> Planted:
    """Make a game.

    Args:
        kind: of rows. For ``masks`` a row is one client and ``clients`` is not used.
        seed: of everything.
        paired: targets are pairs (replace); else a candidate or nothing (zero-out).
        separable: windows differ much and candidates are strong: a good attack makes no mistake.
        no_signal: rows come from other windows than the candidates, so that coins say nothing.
        clients: whose vectors a row adds up.
        per_client: slots of each client; one whose slots are all empty removes nothing.
        targets: coins; every row asks about one if it is one client's or ``separable``, else about two at two clients.
        strangers: candidates in no target, after the others.
        observed: rows.
        labelled: rows.
        reference: rows.
        noise_sd: of the noise on every entry.
        sparsity: share of each row of weights that is removed.
    """
    generator = np.random.default_rng(seed)
    clients = 1 if kind == "masks" else clients
    draw = _Windows(generator, spread=1.2 if separable else 0.6, shared=0.1 if separable else 0.5)
    in_targets = targets * (2 if paired else 1)
    candidates = draw(in_targets + strangers) * (8.0 if separable else 1.0)
    pairs = np.full((targets, 2), NOTHING, np.int64)
    pairs[:, : 2 if paired else 1] = np.arange(in_targets).reshape(targets, -1)
    asked = 1 if separable else min(clients, 2)

    def worlds(count: int, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _worlds(draw, count, clients, per_client, asked=asked, pairs=pairs, candidates=candidates)

    energies, truth = worlds(observed, candidates)
    more_energies, coins = worlds(labelled, candidates)
    known = np.concatenate([energies, more_energies])
    if no_signal:
        known = draw(known[..., 0].size).reshape(known.shape)
    others, _ = worlds(reference, draw(in_targets) * (8.0 if separable else 1.0))
    setting = Setting(
        kind=kind,
        clients=clients,
        slots=clients * per_client,
        noise_sd=noise_sd,
        energies=candidates,
        population=draw(200),
        targets=pairs,
        coins=coins,
        observed=observed,
        in_play=truth != NOT_IN_PLAY,
    )
    see = _statistics if kind == "statistics" else _matrices
    return Planted(setting=setting, sights=see(generator, setting, known, others, sparsity), truth=truth)


def in_pieces(sight: Sight, size: int) -> list[Sight]:
    """Cut a sight into sights of some rows of weights (or entries) each."""
    if isinstance(sight, StatisticsSight):
        return [
            replace(
                sight,
                rows=sight.rows[:, at : at + size],
                reference=sight.reference[:, at : at + size],
                contributions=sight.contributions[:, at : at + size],
                population=sight.population[:, at : at + size],
            )
            for at in range(0, sight.rows.shape[1], size)
        ]
    return [
        replace(
            sight,
            log_weights=sight.log_weights[at : at + size],
            rows=sight.rows[:, at : at + size],
            reference=sight.reference[:, at : at + size],
            alone=sight.alone[:, at : at + size],
        )
        for at in range(0, len(sight.log_weights), size)
    ]


def with_rows(game: Planted, order: np.ndarray) -> Planted:
    """Give the game with its observed rows in another order."""
    everything = np.concatenate(
        [order, np.arange(game.setting.observed, game.setting.observed + game.setting.labelled)]
    )
    return Planted(
        setting=replace(game.setting, in_play=game.setting.in_play[order]),
        sights=tuple(replace(sight, rows=sight.rows[everything]) for sight in game.sights),
        truth=game.truth[order],
    )


def prune_mask(log_weights: np.ndarray, energies: np.ndarray, count: int) -> np.ndarray:
    """Mark the ``count`` smallest |W| * sqrt(energy) of every row of weights, bool (..., out, in); ties by position."""
    scores = log_weights + np.log(energies)[..., None, :] / 2
    removed = np.zeros(scores.shape, bool)
    np.put_along_axis(removed, np.argsort(scores, axis=-1, kind="stable")[..., :count], True, axis=-1)
    return removed


class _Windows:
    """Draws windows' energies, float64 (windows, channels)."""

    def __init__(self, generator: np.random.Generator, *, spread: float, shared: float) -> None:
        self._generator = generator
        self._level = generator.normal(0, 1, NUM_CHANNELS)
        self._factors = generator.normal(0, shared * spread / np.sqrt(FACTORS), (FACTORS, NUM_CHANNELS))
        self._spread = spread

    def __call__(self, count: int) -> np.ndarray:
        shared = self._generator.normal(size=(count, FACTORS)) @ self._factors
        own = self._generator.normal(0, self._spread, (count, NUM_CHANNELS))
        found: np.ndarray = np.exp(self._level + shared + own)
        return found


def _worlds(
    draw: _Windows,
    count: int,
    clients: int,
    per_client: int,
    *,
    asked: int,
    pairs: np.ndarray,
    candidates: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw energies of every slot (worlds, clients, per client, channels), 0 for an empty one, and coins."""
    generator = draw._generator
    energies = draw(count * clients * per_client).reshape(count, clients, per_client, NUM_CHANNELS)
    coins = np.full((count, len(pairs)), NOT_IN_PLAY, np.int8)
    for world in range(count):
        for target, client in zip(
            generator.choice(len(pairs), asked, replace=False), generator.permutation(clients), strict=False
        ):
            fell = int(generator.integers(2))
            chosen = pairs[target, 1 - fell]
            energies[world, client, generator.integers(per_client)] = 0 if chosen == NOTHING else candidates[chosen]
            coins[world, target] = fell
    return energies, coins


def _matrices(
    generator: np.random.Generator, setting: Setting, known: np.ndarray, others: np.ndarray, sparsity: float
) -> tuple[Sight, ...]:
    """Make sights of three matrices."""
    sights = []
    for number, (shape, channels) in enumerate(zip(SHAPES, CHANNELS, strict=True)):
        log_weights = np.log(np.abs(generator.normal(size=shape))).astype(np.float32)
        count = int(sparsity * shape[1])
        rows, reference = (
            _rows(generator, setting, log_weights, energies.sum(2)[..., channels], count)
            for energies in (known, others)
        )
        sights.append(
            MatrixSight(
                name=f"matrix {number}",
                log_weights=log_weights,
                channels=channels,
                sparsity=sparsity,
                rows=rows,
                reference=reference,
                alone=prune_mask(log_weights, setting.energies[:, channels], count),
            )
        )
    return tuple(sights)


def _rows(
    generator: np.random.Generator, setting: Setting, log_weights: np.ndarray, energies: np.ndarray, count: int
) -> np.ndarray:
    """Make rows (worlds, out, in) of clients' energies (worlds, clients, in); uint8 masks, int32 totals."""
    alive = energies.any(-1, keepdims=True)  # (worlds, clients, 1)
    masks = prune_mask(log_weights, np.where(alive, energies, 1.0), count)  # (worlds, clients, out, in)
    masks &= alive[..., None]
    if setting.kind == "masks":
        return masks[:, 0].astype(np.uint8)
    noise = np.rint(generator.normal(0, setting.noise_sd, (len(masks), *log_weights.shape))).astype(np.int32)
    totals = masks.sum(1, dtype=np.int32) + noise
    if setting.kind == "totals":
        return totals
    order = np.lexsort((np.broadcast_to(log_weights, totals.shape), -totals), axis=-1)
    chosen = np.zeros(totals.shape, np.uint8)
    np.put_along_axis(chosen, order[..., :count], 1, axis=-1)
    return chosen


def _statistics(
    generator: np.random.Generator, setting: Setting, known: np.ndarray, others: np.ndarray, sparsity: float
) -> tuple[Sight, ...]:
    """Make sights of two vectors of energies; there is no sparsity in them."""
    sights = []
    for name, channels in (("first", CHANNELS[0]), ("second", CHANNELS[2])):
        rows, reference = (
            energies.sum((1, 2))[:, channels] + generator.normal(0, setting.noise_sd, (len(energies), len(channels)))
            for energies in (known, others)
        )
        sights.append(
            StatisticsSight(
                name=name,
                rows=rows,
                reference=reference,
                contributions=setting.energies[:, channels],
                population=setting.population[:, channels],
            )
        )
    return tuple(sights)
