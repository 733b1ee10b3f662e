"""Words of all vectors lie end to end in ciphertexts: property tests against a list of places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.homomorphic.parameters import Scheme, choose
from protocols.homomorphic.run_of_words import RunOfWords
from protocols.session import VectorSpec

COUNTS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(counts=COUNTS, degree=st.integers(1, 16))
def test_every_word_has_its_place(counts, degree):
    """The stretches name every word of every vector once, in order, and only the last ciphertext has room left."""
    run = RunOfWords(tuple(counts), tuple(range(1, len(counts) + 1)), degree)
    places = [(vector, word) for vector, count in enumerate(counts) for word in range(count)]  # the oracle

    found = [
        [(at.vector, word) for at in run.stretches(number) for word in range(at.first, at.last)]
        for number in range(run.ciphertexts)
    ]

    assert [place for each in found for place in each] == places
    assert {len(each) for each in found[:-1]} <= {degree}
    assert 1 <= len(found[-1]) <= degree
    for number, each in enumerate(found):
        expected = [vector + 1 for vector, _ in each] + [0] * (degree - len(each))
        assert run.shift(number).tolist() == expected


@given(counts=COUNTS, degree=st.integers(1, 16))
def test_words_are_cut_where_vectors_begin(counts, degree):
    """What was joined comes apart; a word behind the last vector is no padding."""
    run = RunOfWords(tuple(counts), (0,) * len(counts), degree)
    words = np.zeros(run.ciphertexts * degree, np.uint64)
    words[: sum(counts)] = np.arange(1, sum(counts) + 1)

    parts = run.split(words)

    assert [len(part) for part in parts] == counts
    assert np.concatenate(parts).tolist() == list(range(1, sum(counts) + 1))
    if sum(counts) < len(words):
        words[-1] = 1
        with pytest.raises(ValueError, match="words behind the last vector must be zero"):
            run.split(words)


@pytest.mark.parametrize("scheme", Scheme)
def test_small_vectors_share_a_ciphertext(make_plan, scheme):
    """Signed ones too, each word with its own vector's shift."""
    plan = make_plan(4, (VectorSpec("votes", 130, 1), VectorSpec("signed", 9, 1000, signed=True)))
    choice = choose(scheme, plan)
    run = choice.run(plan)
    votes, signed = run.counts

    assert run.ciphertexts == 1
    assert run.shift(0)[: votes + signed].tolist() == [0] * votes + [choice.layouts[1].shift()] * signed
    assert choice.layouts[1].shift() > 0
