"""Residuals of windows' log-energies to a public prior, one input of one block at a time.

    residual of a window = log(mean energy of a token + floor) - prior, less its mean over the input's channels

Wanda compares weights that share an input, so a factor common to all channels of an input moves nothing: the mean is
taken out before anything is clipped. An input that none of a window's tokens reached (an expert's) has residual 0, the
prior itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedprllm_secure.calibration import InputEnergy

FLOOR = 1e-9  # of the mean energy of a channel: below it, a channel is silent, whatever it is silent about


@dataclass(frozen=True, slots=True)
class InputResiduals:
    """One input of a block.

    Attributes:
        source: its stream of activations.
        rows: residuals of all windows, float64 (windows, channels).
        prior: log of the mean energy over public windows, float64 (channels,): what pooled public text would give.
    """

    source: str
    rows: Tensor
    prior: Tensor


def residuals(sums: InputEnergy, public: slice) -> list[InputResiduals]:
    """Compute the residuals of every input of a block.

    The prior to which residuals are taken is the mean of public windows' logs; pooled energy is the log of a mean. The
    second is the prior that a shift is added to in the end.

    Args:
        sums: energies of every window.
        public: the windows that make the prior.
    """
    found = []
    for source, energy in sums.energies.items():
        tokens = sums.tokens[source].double()
        mean = energy.double() / tokens.clamp_min(1)[:, None]  # (windows, channels)
        seen = tokens > 0
        seen_public = seen[public]
        pooled = mean[public][seen_public].mean(0) if bool(seen_public.any()) else torch.ones_like(mean[0])
        floor = FLOOR * float(pooled.mean())
        logs = (mean + floor).log()
        centre = logs[public][seen_public].mean(0) if bool(seen_public.any()) else logs.new_zeros(logs.shape[1])
        rows = (logs - centre) * seen[:, None]
        found.append(InputResiduals(source, rows - rows.mean(1, keepdim=True), (pooled + floor).log()))
    return found
