"""Integer noise for differential privacy: exact laws from a cryptographic source, and noisy choices without noise.

    noise = NOISES["skellam"](variance)
    released = totals + noise.sample(len(totals))      # delta grows by len(totals) * noise.distance

No draw can be seeded: without a source the words come from `SystemWords`, under a key of the operating system; a
`WordSource` of one's own is for tests. Knows nothing of clients, budgets or releases.
"""

from protocols.noise.discrete_gaussian import DiscreteGaussian
from protocols.noise.gumbel import top_k, top_k_distance
from protocols.noise.law import IntegerNoise
from protocols.noise.skellam import Skellam
from protocols.noise.stream import SystemWords, WordSource

NOISES: dict[str, type[IntegerNoise]] = {law.name: law for law in (Skellam, DiscreteGaussian)}

__all__ = [
    "NOISES",
    "DiscreteGaussian",
    "IntegerNoise",
    "Skellam",
    "SystemWords",
    "WordSource",
    "top_k",
    "top_k_distance",
]
