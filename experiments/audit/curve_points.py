"""The points of a ROC curve that can be told apart on logarithmic axes, few enough to be written down."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attacks.leakage.curves import roc
from attacks.leakage.samples import Samples

POINTS_A_DECADE = 50
DIGITS = 6


def curve_points(samples: Samples) -> dict[str, Any]:
    """Give a curve as JSON can hold it.

    Of points less than a fiftieth of a decade apart the last stands for all: it is the highest, so that no point
    written lies below the curve.

    Args:
        samples: of one attack, in the direction in which it is reported.

    Returns:
        false_positive_rates and true_positive_rates, both rising to 1, steps up to the right of each point; coins; and
        independent_non_members, by which the smallest false positive rate that can be shown is found.
    """
    curve = roc(samples)
    false, true = curve.false_positive_rates, curve.true_positive_rates
    positive = false[false > 0]
    # Rate 0 has no logarithm: its points are one bin left of all others.
    floor = math.log10(positive.min()) - 1 if len(positive) else -1.0
    bins = np.round(np.where(false > 0, np.log10(np.where(false > 0, false, 1.0)), floor) * POINTS_A_DECADE)
    last = np.append(np.flatnonzero(np.diff(bins)), len(bins) - 1)
    return {
        "false_positive_rates": [round(float(rate), DIGITS) for rate in false[last]],
        "true_positive_rates": [round(float(rate), DIGITS) for rate in true[last]],
        "coins": len(samples),
        "independent_non_members": samples.independent_non_members,
    }
