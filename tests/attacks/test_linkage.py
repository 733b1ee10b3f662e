from __future__ import annotations

import numpy as np
import pytest

from attacks import linkage
from attacks.linkage import Linkage, Linked


def runs(overlap: float, *, clients: int = 12, entries: int = 700) -> tuple[np.ndarray, np.ndarray]:
    """Draw masks of two runs whose clients agree in a share of the entries, and by chance in half of the rest."""
    generator = np.random.default_rng(1)
    first = generator.random((clients, entries)) < 0.5
    fresh = generator.random((clients, entries)) < 0.5
    return first, np.where(generator.random((clients, entries)) < overlap, first, fresh)


def linked(first: np.ndarray, second: np.ndarray, shared: float = 0.0) -> Linked:
    """Compare two runs whose clients come in the same order."""
    begun = Linkage(np.arange(len(second)), first_clients=len(first), shared=shared)
    begun.see(first, second)
    return begun.result()


def test_identical_masks_are_found_by_construction() -> None:
    """With the same windows every client is found, and the result says that this is no finding."""
    first, _ = runs(0)

    result = linked(first, first, shared=1.0)

    assert result.identification_rate == 1.0
    assert result.equal_error_rate == 0.0
    assert result.is_by_construction
    assert not linked(first, first, shared=0.75).is_by_construction


def test_more_in_common_is_found_more_often() -> None:
    """Unrelated masks are found by chance, related ones more often, and the error rate falls."""
    results = [linked(*runs(overlap, clients=40)) for overlap in (0.0, 0.1, 0.4)]
    rates = [result.identification_rate for result in results]
    errors = [result.equal_error_rate for result in results]

    assert rates[0] < 0.2
    assert rates[0] < rates[1] < rates[2]
    assert rates[2] == 1.0
    assert errors[0] == pytest.approx(0.5, abs=0.1)
    assert errors[0] > errors[1] > errors[2]
    assert results[0].chance == 1 / 40


def test_distances_count_differing_entries_over_all_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances of matrices add up, in pieces or whole, packed or not, with entries that fill no word."""
    monkeypatch.setattr(linkage, "WORDS_AT_ONCE", 30)
    first, second = runs(0.3)
    others, more = runs(0.1, entries=13)
    whole = Linkage(np.arange(12), first_clients=12, shared=0.5)
    whole.see(first.reshape(12, 35, 20), second.reshape(12, 35, 20))
    whole.see(np.packbits(others, axis=1), np.packbits(more, axis=1), entries=13)
    result = whole.result()

    expected = (first[:, None] != second[None]).sum(2) + (others[:, None] != more[None]).sum(2)
    assert (result.distances == expected).all()
    assert result.entries == 713


def test_clients_may_come_in_another_order_and_not_all() -> None:
    """What counts is who is who, not the place; the second run may have fewer clients."""
    first, second = runs(0.4)
    order = np.array([7, 2, 9])
    reordered = Linkage(order, first_clients=12, shared=0.0)
    reordered.see(first, second[order])

    assert reordered.result().identification_rate == 1.0
    mistaken = Linkage(np.arange(3), first_clients=12, shared=0.0)
    mistaken.see(first, second[order])
    assert mistaken.result().identification_rate == 0.0


def test_ties_count_by_their_number_and_rates_meet_in_between() -> None:
    """A nearest distance shared by two counts half; the error rate is the mean where the two rates are closest."""
    distances = np.array([[1, 5], [1, 2], [4, 9]])
    result = Linked(distances=distances, entries=9, same=np.array([0, 1]), shared=0.25)

    assert result.identification_rate == 0.75  # a tie of two, and one found
    # Own 1, 2; strangers 1, 4, 5, 9. Cutoff 1: missed 1/2, taken 1/4; cutoff 2: missed 0, taken 1/4. The first counts.
    assert result.equal_error_rate == 0.375


def test_what_does_not_fit_is_refused() -> None:
    """Each wrong argument is named."""
    first, second = runs(0.5)
    begun = Linkage(np.arange(12), first_clients=12, shared=0.5)

    with pytest.raises(ValueError, match="must name clients 0 to 11"):
        Linkage(np.array([12]), first_clients=12, shared=0.5)
    with pytest.raises(ValueError, match=r"shared=1\.5 must be in"):
        Linkage(np.arange(12), first_clients=12, shared=1.5)
    with pytest.raises(ValueError, match="must be masks as second"):
        begun.see(first, second[:, 1:])
    with pytest.raises(ValueError, match="must be \\(12, 12\\)"):
        begun.see(first[1:], second)
    with pytest.raises(ValueError, match="must be bool, or uint8"):
        begun.see(np.packbits(first, axis=1), np.packbits(second, axis=1))
    with pytest.raises(ValueError, match="no matrix was seen"):
        begun.result()
