"""The strongest of many attacks, chosen on other runs than reported, and p-values corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping

from attacks.leakage.curves import roc
from attacks.leakage.samples import Samples

TIE_FPR = 0.01


def strongest_first(choosing: Mapping[str, Samples]) -> tuple[str, ...]:
    """Order attacks by how far their AUC is from 0.5 either way, then by the true positive rate at 1 %.

    Args:
        choosing: by attack, scores of the same coins, none of which will be reported.

    Raises:
        ValueError: there is no attack, or attacks scored other coins.
    """
    check_same_coins(choosing)
    return tuple(sorted(choosing, key=lambda name: _strength(choosing[name]), reverse=True))


def check_same_coins(samples: Mapping[str, Samples]) -> None:
    """Refuse attacks that cannot be compared.

    Raises:
        ValueError: there is no attack, or attacks scored other coins.
    """
    if not samples:
        raise ValueError("samples must hold an attack's scores at least")
    first, *others = samples.values()
    if not all(first.is_of_same_coins(other) for other in others):
        raise ValueError(f"attacks={sorted(samples)} must be scored on the same coins in the same order")


def _strength(samples: Samples) -> tuple[float, float]:
    auc = float(roc(samples).auc())
    turned = samples.reversed() if auc < 0.5 else samples
    return abs(auc - 0.5), float(roc(turned).tpr_at(TIE_FPR))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values for their number (Holm 1979): rejecting those at most `level` errs at all with that chance.

    Returns:
        the corrected ones, at most 1, in the order given.

    Raises:
        ValueError: a p-value is not in [0, 1].
    """
    if not all(0 <= value <= 1 for value in p_values.values()):
        raise ValueError(f"p_values={dict(p_values)} must be in [0, 1]")
    corrected: dict[str, float] = {}
    greatest = 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        greatest = max(greatest, min(1.0, (len(p_values) - place) * p_values[name]))
        corrected[name] = greatest
    return {name: corrected[name] for name in p_values}


def holm_factor(corrected: Mapping[str, float], *, level: float) -> int:
    """Give by how much Holm corrects the next p-value that might be rejected: one for each that was not; 1 at least.

    Args:
        corrected: as of :func:`holm`.
        level: of those below it the claim is rejected, as reports do: one at it stands.
    """
    return max(1, sum(value >= level for value in corrected.values()))
