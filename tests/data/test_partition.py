"""A partition gives every document to one client, evenly, by name or by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.data import DataError, Document, Partition, characters_for, split_documents
from fedprllm_secure.data.partition import LONGEST_PART_OF_SHARE

IID, NATURAL = Partition("iid"), Partition("natural")
LABELLED = st.lists(
    st.tuples(st.text("ab \n", min_size=1, max_size=300), st.sampled_from("xyz")), min_size=4, max_size=30
)


def numbered(count: int, *, characters: int = 100) -> list[Document]:
    """Make distinct documents of equal length with five labels."""
    return [Document(f"{number:05d}".ljust(characters, "."), label=str(number % 5)) for number in range(count)]


def exploding(documents: list[Document]) -> Iterator[Document]:
    """Yield documents; taking one more fails."""
    yield from documents
    raise AssertionError("read too far")


@pytest.mark.parametrize("text", ["iid", "natural", "dirichlet:0.1", "dirichlet:100"])
def test_a_partition_reads_what_it_writes(text: str) -> None:
    """The flag's value survives the round trip."""
    assert str(Partition.parse(text)) == text


@pytest.mark.parametrize("text", ["", "random", "dirichlet", "dirichlet:", "dirichlet:x", "iid:1", "natural:2"])
def test_an_unknown_partition_lists_the_options(text: str) -> None:
    """A word that is no partition says what is."""
    with pytest.raises(ValueError, match=r"partition='.*' must be iid, natural or dirichlet:ALPHA with a number ALPHA"):
        Partition.parse(text)


@pytest.mark.parametrize("text", ["dirichlet:0", "dirichlet:-1", "dirichlet:inf", "dirichlet:nan"])
def test_alpha_is_a_finite_number_above_zero(text: str) -> None:
    """Other concentrations are refused by value."""
    with pytest.raises(ValueError, match=r"alpha=.* of the dirichlet partition must be a finite number above 0"):
        Partition.parse(text)


def test_alpha_belongs_to_dirichlet() -> None:
    """A partition checks itself however it is made."""
    for kind, alpha in (("iid", 1.0), ("dirichlet", None)):
        with pytest.raises(ValueError, match=f"partition {kind} with alpha={alpha}: dirichlet takes an alpha"):
            Partition(kind, alpha)


@settings(deadline=None, max_examples=80)
@given(
    rows=LABELLED,
    partition=st.sampled_from([IID, Partition("dirichlet", 0.1), Partition("dirichlet", 10.0)]),
    num_clients=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_all_text_is_given_to_exactly_one_client(
    rows: list[tuple[str, str]], partition: Partition, num_clients: int, seed: int
) -> None:
    """No text is lost, invented or given twice; no client goes empty; the same seed gives the same split."""
    documents = [Document(text, label=label) for text, label in rows]

    parts = split_documents(documents, partition, num_clients=num_clients, seed=seed)

    assert len(parts) == num_clients
    assert all(parts)
    given_out = Counter(character for part in parts for document in part for character in document.text)
    assert given_out == Counter(character for document in documents for character in document.text)
    assert parts == split_documents(iter(documents), partition, num_clients=num_clients, seed=seed)


@pytest.mark.parametrize("partition", [IID, Partition("dirichlet", 0.5)], ids=str)
def test_short_documents_stay_whole(partition: Partition) -> None:
    """Documents much shorter than a share are handed out as they are, each once."""
    documents = numbered(97)

    parts = split_documents(documents, partition, num_clients=7, seed=1)

    given_out = [document for part in parts for document in part]
    assert sorted(given_out, key=lambda document: document.text) == documents


@pytest.mark.parametrize("partition", [IID, Partition("dirichlet", 0.5)], ids=str)
def test_clients_get_about_equal_text(partition: Partition) -> None:
    """Shares differ by at most the longest piece, with documents of very different lengths."""
    generator = np.random.default_rng(0)
    documents = [Document("x" * int(2 ** generator.uniform(0, 14)), label=str(index % 3)) for index in range(300)]
    longest = sum(len(document.text) for document in documents) // 6 // LONGEST_PART_OF_SHARE

    parts = split_documents(documents, partition, num_clients=6, seed=0)

    held = [sum(len(document.text) for document in part) for part in parts]
    assert max(held) - min(held) <= longest


def test_one_long_text_serves_many_clients() -> None:
    """A text longer than a share is cut at line breaks, and nothing of it is lost."""
    lines = [f"line {number} of a long text\n" for number in range(1_000)]

    parts = split_documents([Document("".join(lines), client="ann")], IID, num_clients=8, seed=0)

    pieces = [document.text for part in parts for document in part]
    assert sorted("".join(pieces).splitlines(keepends=True)) == sorted(lines)
    assert all(piece.endswith("\n") for piece in pieces)
    assert {document.client for part in parts for document in part} == {"ann"}


def test_a_long_line_is_cut_at_spaces_then_anywhere() -> None:
    """Text without line breaks is cut after a space, and one without spaces anywhere."""
    words = split_documents([Document("letters " * 401)], IID, num_clients=2, seed=0)
    solid = split_documents([Document("x" * 2_000)], IID, num_clients=2, seed=0)

    assert all(document.text.endswith("letters ") for part in words for document in part)
    assert sum(len(document.text) for part in solid for document in part) == 2_000


def test_too_little_text_for_the_clients_is_refused() -> None:
    """Fewer pieces than clients is an error with both numbers."""
    with pytest.raises(DataError, match="1 documents make 1 pieces of text for 3 clients; give more text or lower"):
        split_documents([Document("short")], IID, num_clients=3, seed=0)


def test_the_seed_decides_and_nothing_else() -> None:
    """Another seed gives another split, and the global generator is neither read nor moved."""
    documents = numbered(50)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002

    first, second = (split_documents(documents, IID, num_clients=5, seed=seed) for seed in (0, 1))

    assert first != second
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_natural_takes_the_clients_with_most_text() -> None:
    """A client is a name; the largest come first, ties by name; a client keeps its order."""
    rows = [("cy", "1"), ("ann", "22"), ("dan", "333"), ("ann", "4"), ("bob", "333"), ("eve", "9")]

    parts = split_documents([Document(text, client=name) for name, text in rows], NATURAL, num_clients=3, seed=0)

    assert [[document.text for document in part] for part in parts] == [["22", "4"], ["333"], ["333"]]
    assert [part[0].client for part in parts] == ["ann", "bob", "dan"]


def test_natural_needs_names() -> None:
    """Documents without a client say how to give one."""
    with pytest.raises(DataError, match=r"natural partition needs .* client; give --client-field, or a folder"):
        split_documents([Document("x", client="ann"), Document("y")], NATURAL, num_clients=1, seed=0)


def test_natural_needs_enough_names() -> None:
    """Too few names are counted."""
    with pytest.raises(DataError, match="finds 2 clients and --clients asks for 3; lower --clients to 2"):
        split_documents([Document("x", client=name) for name in "aab"], NATURAL, num_clients=3, seed=0)


def label_shares(alpha: float) -> np.ndarray:
    """Measure each client's label shares over its first documents, (clients, labels)."""
    parts = split_documents(numbered(4_000), Partition("dirichlet", alpha), num_clients=10, seed=3)
    counts = [Counter(document.label for document in part[:100]) for part in parts]
    return np.array([[count[str(label)] for label in range(5)] for count in counts]) / 100


def test_a_large_alpha_is_even() -> None:
    """With a large alpha every client has the corpus's label shares, within sampling error."""
    assert np.abs(label_shares(1e6) - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 100)


def test_a_small_alpha_is_one_label_a_client() -> None:
    """With a small alpha a client's first documents are of one label, and clients differ."""
    shares = label_shares(1e-3)

    assert shares.max(axis=1).min() == 1.0
    assert len(set(shares.argmax(axis=1))) > 1


def test_the_draw_is_dirichlet_of_alpha_times_the_prior() -> None:
    """A client's largest share is distributed as in draws from Dirichlet(alpha * p), for an alpha in between."""
    expected = np.random.default_rng(0).dirichlet(np.full(5, 1.0 / 5), size=20_000).max(axis=1)
    largest = []
    for seed in range(20):
        parts = split_documents(numbered(2_000), Partition("dirichlet", 1.0), num_clients=10, seed=seed)
        largest += [max(Counter(document.label for document in part[:50]).values()) / 50 for part in parts]

    assert abs(np.mean(largest) - expected.mean()) < 4 * expected.std() / np.sqrt(len(largest))


def test_dirichlet_needs_labels() -> None:
    """Documents without a label say how to give one."""
    with pytest.raises(DataError, match="dirichlet partition needs each document's label; give --label-field"):
        split_documents([Document("x"), Document("y")], Partition("dirichlet", 1.0), num_clients=2, seed=0)


@pytest.mark.parametrize("partition", [IID, Partition("dirichlet", 1.0)], ids=str)
def test_a_budget_stops_the_reading(partition: Partition) -> None:
    """An endless corpus is read until the clients have their characters on average, and no further."""
    parts = split_documents(exploding(numbered(10)), partition, num_clients=4, seed=0, characters_per_client=250)

    assert sum(len(document.text) for part in parts for document in part) == 1_000


def test_a_budget_stops_the_natural_partition() -> None:
    """Reading stops as soon as enough names have their characters each."""
    documents = [Document("x" * 60, client=name) for name in "aabcb"]

    parts = split_documents(exploding(documents), NATURAL, num_clients=2, seed=0, characters_per_client=100)

    assert [part[0].client for part in parts] == ["a", "b"]


def test_characters_for_a_number_of_tokens() -> None:
    """The budget leaves room: far more than the four to five characters that a token takes."""
    assert characters_for(1_000) == 32_000


@pytest.mark.parametrize("name", ["num_clients", "characters_per_client"])
def test_counts_below_one_are_refused(name: str) -> None:
    """A count of zero is named."""
    options = {"num_clients": 1, "characters_per_client": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        split_documents([Document("x")], IID, seed=0, **options)
