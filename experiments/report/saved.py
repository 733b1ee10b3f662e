"""What a run's folder holds beside its result: digests of prune masks, and how far clients' votes agree, by matrix."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from experiments.report.fields import Unreadable
from experiments.report.runs import Run

MASKS = "prune_masks.safetensors"
VOTES = "votes.safetensors"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the clients of a run agree.

    Attributes:
        by_matrix: chance that two different clients treat a weight alike, mean over weights.
        by_votes: share of weights by how many clients vote to remove them, 0 to all.
    """

    by_matrix: Mapping[str, float]
    by_votes: tuple[float, ...]


def masks_digest(run: Run) -> str | None:
    """Give the digest of a run's prune masks file; None where there is none."""
    file = run.folder / MASKS
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def agreement(run: Run) -> Agreement | None:
    """Read how far clients agree from saved votes.

    Args:
        run: of votes on weights, without noise.

    Returns:
        None where votes were not saved, are noisy, or are no votes on weights, or one client alone is in the sum.

    Raises:
        Unreadable: the file is cut short, or holds what no such clients can have voted.
    """
    file = run.folder / VOTES
    if run.payload != "votes" or run.is_private or not file.is_file():
        return None
    if not run.survivors or min(run.survivors) < 2:
        return None
    counts = np.zeros(max(run.survivors) + 1)
    found = {}
    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping: it can only be asked for its keys
                voters = survivors_of(run, name)
                histogram = votes_histogram(opened.get_tensor(name), voters, file=file)
                if not histogram.sum():
                    continue  # a matrix without weights
                found[name] = pairs_alike(histogram)
                # Where some left, votes are counted as shares of those who stayed.
                counts[np.round(np.linspace(0, len(counts) - 1, voters + 1)).astype(int)] += histogram
    except (SafetensorError, OSError) as error:
        raise Unreadable(f"{file}: cut short or no safetensors ({error}); agreement left out") from error
    if not counts.sum():
        raise Unreadable(f"{file}: holds no votes; agreement left out")
    return Agreement(found, tuple((counts / counts.sum()).tolist()))


def survivors_of(run: Run, matrix: str) -> int:
    """Give how many clients' votes on a matrix are in the sum."""
    block = place(matrix)[0]
    return run.survivors[block] if block is not None and block < len(run.survivors) else min(run.survivors)


def votes_histogram(votes: np.ndarray, voters: int, *, file: Path) -> np.ndarray:
    """Count weights by votes, float64 (voters + 1,).

    Raises:
        Unreadable: there are more votes than voters, or fewer than none.
    """
    if not np.issubdtype(votes.dtype, np.integer) or votes.min(initial=0) < 0 or votes.max(initial=0) > voters:
        raise Unreadable(f"{file}: holds votes that {voters} clients cannot have given; agreement left out")
    return np.bincount(votes.ravel(), minlength=voters + 1).astype(float)


def pairs_alike(histogram: np.ndarray) -> float:
    """Give the chance that two different clients treat a weight alike: both remove it, or both keep it.

    Args:
        histogram: float64 (voters + 1,), weights by votes.
    """
    voters = len(histogram) - 1
    votes = np.arange(voters + 1)
    alike = votes * (votes - 1) + (voters - votes) * (voters - votes - 1)
    return float(histogram @ alike / (histogram.sum() * voters * (voters - 1)))


def place(matrix: str) -> tuple[int | None, str]:
    """Split a matrix's name into its block and what it is there; experts of a block are one kind.

    >>> place("model.layers.3.self_attn.q_proj")
    (3, 'self_attn.q_proj')
    """
    found = re.search(r"(?:^|\.)(\d+)\.", matrix)
    if found is None:
        return None, matrix
    return int(found[1]), re.sub(r"(?<=\.)\d+(?=\.)", "*", matrix[found.end() :])
