"""Windows that nobody wrote, made from public text: domains that the public corpus lacks.

A basis of the residuals of public windows spans how public text varies, and private text may vary otherwise. What moves
activation statistics most from one domain to another is which tokens occur. So half of these windows are drawn token by
token from random distributions around a flattened public one (a Dirichlet distribution around the square root of token
counts), and half are public windows in which every other token is replaced by such a draw. Public, and always the same
for the same public windows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CONCENTRATION = 100.0  # about how many different tokens a drawn window dwells on
REPLACED = 0.5


def synthetic_windows(public: Tensor, *, vocabulary_size: int, count: int) -> Tensor:
    """Make windows.

    Args:
        public: int64 (windows, tokens).
        vocabulary_size: token ids are below it.
        count: how many to make.

    Returns:
        int64 (count, tokens).
    """
    generator = np.random.Generator(np.random.PCG64(0))
    length = public.shape[1]
    counts = np.bincount(public.numpy().reshape(-1), minlength=vocabulary_size) + 0.5
    flattened = np.sqrt(counts)
    flattened /= flattened.sum()
    drawn = [_draw(generator, _around(generator, flattened), length) for _ in range(count - count // 2)]
    rows = generator.choice(len(public), count // 2)
    for row in public.numpy()[rows]:
        replaced = np.where(generator.random(length) < REPLACED, _draw(generator, flattened, length), row)
        drawn.append(replaced)
    return torch.from_numpy(np.stack(drawn).astype(np.int64))


def _around(generator: np.random.Generator, centre: np.ndarray) -> np.ndarray:
    """Draw a distribution over tokens from the Dirichlet distribution with this mean."""
    weights = generator.gamma(CONCENTRATION * centre)
    return weights / weights.sum()


def _draw(generator: np.random.Generator, distribution: np.ndarray, length: int) -> np.ndarray:
    edges = np.cumsum(distribution)
    return np.minimum(np.searchsorted(edges, generator.random(length) * edges[-1], side="right"), len(edges) - 1)
