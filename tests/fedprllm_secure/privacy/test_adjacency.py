"""What is compared and against whom has a name, and no default."""

from __future__ import annotations

import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import (
    ADJACENCIES,
    MEANINGS,
    check_adjacency,
    is_replace,
    is_window_level,
    server_with_colluders,
)


def test_there_are_four_adjacencies_and_each_has_a_meaning() -> None:
    """Unit and neighbour are said in words; a window is no document and no person."""
    assert set(ADJACENCIES) == {"client-zero-out", "client-replace", "window-zero-out", "window-replace"}
    assert set(MEANINGS) == set(ADJACENCIES)
    for adjacency, meaning in MEANINGS.items():
        assert ("zero vector" in meaning) != is_replace(adjacency)
        assert ("not a document, not a person" in meaning) == is_window_level(adjacency)
        assert "is public" in meaning


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_names_are_let_through(adjacency: str) -> None:
    """A name comes back as it is."""
    assert check_adjacency(adjacency) == adjacency


@pytest.mark.parametrize("adjacency", ["", "client", "replace", "client-zero-out "])
def test_other_names_are_refused(adjacency: str) -> None:
    """The message lists what there is."""
    with pytest.raises(InputError, match=rf"adjacency={adjacency} must be one of client-zero-out, client-replace"):
        check_adjacency(adjacency)


@pytest.mark.parametrize(
    ("colluders", "text"),
    [
        (0, "server with 0 colluding clients"),
        (1, "server with 1 colluding client"),
        (2, "server with 2 colluding clients"),
    ],
)
def test_colluders_are_counted_in_words(colluders: int, text: str) -> None:
    """The adversary is named as the result prints it."""
    assert server_with_colluders(colluders) == text


def test_a_negative_number_of_colluders_is_refused() -> None:
    """The message names the flag's value."""
    with pytest.raises(InputError, match=r"assumed_colluders=-1 must be at least 0"):
        server_with_colluders(-1)
