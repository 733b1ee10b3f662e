"""Which client gets which document: iid, natural, or skewed by label (Dirichlet).

Every split is a function of the documents and the seed alone. No document, or piece of one, goes to two clients.
Knows nothing of tokens or where text comes from.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from fedprllm_secure.data.documents import DataError, Document, TooLittleText

# A document longer than this part of a client's share is cut, so that shares can be about equal.
LONGEST_PART_OF_SHARE = 4
SHORTEST_PIECE = 64
# English takes 4 to 5 characters a token, so this reads several times what the windows need and a seed has a choice.
BUDGET_CHARACTERS_PER_TOKEN = 32


@dataclass(frozen=True, slots=True)
class Partition:
    """How documents are split over clients.

    Attributes:
        kind: ``iid``, ``natural`` or ``dirichlet``.
        alpha: concentration of ``dirichlet``, > 0: small is skewed, large is even; None for the others.

    Raises:
        ValueError: ``alpha`` does not go with ``kind``, or is not a finite number above 0.
    """

    kind: Literal["iid", "natural", "dirichlet"]
    alpha: float | None = None

    def __post_init__(self) -> None:
        """Check alpha against the kind."""
        if (self.alpha is None) == (self.kind == "dirichlet"):
            raise ValueError(f"partition {self.kind} with alpha={self.alpha}: dirichlet takes an alpha, others none")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"alpha={self.alpha} of the dirichlet partition must be a finite number above 0")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``iid``, ``natural`` or ``dirichlet:ALPHA``; ``str()`` writes it back.

        Raises:
            ValueError: another word, or an alpha that is not a finite number above 0.
        """
        if text == "iid":
            return cls("iid")
        if text == "natural":
            return cls("natural")
        kind, _, alpha = text.partition(":")
        try:
            number = float(alpha)
        except ValueError:
            number = None
        if kind != "dirichlet" or number is None:
            raise ValueError(f"partition={text!r} must be iid, natural or dirichlet:ALPHA with a number ALPHA > 0")
        return cls("dirichlet", number)

    def __str__(self) -> str:
        """Write the partition as :meth:`parse` reads it."""
        return self.kind if self.alpha is None else f"{self.kind}:{self.alpha:g}"


def characters_for(num_tokens: int) -> int:
    """Say how many characters a client should be given for ``num_tokens``, with room for dense text and a choice."""
    return num_tokens * BUDGET_CHARACTERS_PER_TOKEN


def split_documents(
    documents: Iterable[Document],
    partition: Partition,
    *,
    num_clients: int,
    seed: int,
    characters_per_client: int | None = None,
) -> list[list[Document]]:
    """Give every document to one client.

    - ``iid``: in random order, each to the client with the least text.
    - ``natural``: a client for each name in :attr:`Document.client`, those with the most text first; other names'
      documents are left out. The order within a client is the source's.
    - ``dirichlet``: each client draws its label proportions from Dirichlet(alpha * p), p the labels' shares of the
      text (Hsu, Qi and Brown 2019, section 3). The client with the least text picks a label by its own proportions
      and takes a random document of it, until all are given; a label that has run out leaves the others'
      proportions as they are. So what a client holds first follows its proportions best.

    ``iid`` and ``dirichlet`` cut documents longer than a quarter of a client's share at line breaks first, so that a
    single long text can serve many clients.

    Args:
        documents: taken once, and kept in memory as far as they are taken.
        partition: how to split.
        num_clients: clients to serve, at least 1.
        seed: of the random order and proportions.
        characters_per_client: stop reading a corpus too large to read: ``iid`` and ``dirichlet`` once there are this
            many characters for each client on average, ``natural`` once ``num_clients`` names have this many each
            (:func:`characters_for` says how many). What comes first in the source is then all there is, which is
            wrong for a file sorted by label; None reads everything.

    Returns:
        A list of documents for each client, none empty.

    Raises:
        DataError: too few documents or names, or documents without a client or label where one is needed.
        ValueError: ``num_clients`` or ``characters_per_client`` is below 1.
    """
    if num_clients < 1:
        raise ValueError(f"num_clients={num_clients} must be at least 1")
    if characters_per_client is not None and characters_per_client < 1:
        raise ValueError(f"characters_per_client={characters_per_client} must be at least 1")
    if partition.kind == "natural":
        return _split_naturally(documents, num_clients=num_clients, characters_per_client=characters_per_client)
    budget = None if characters_per_client is None else characters_per_client * num_clients
    pieces = _cut_long(_read_until(documents, budget), num_clients=num_clients)
    generator = np.random.default_rng(seed)
    order = [pieces[index] for index in generator.permutation(len(pieces))]
    if partition.kind == "iid":
        return _split_evenly(order, num_clients=num_clients)
    assert partition.alpha is not None
    return _split_by_label(order, partition.alpha, num_clients=num_clients, generator=generator)


def _split_evenly(order: list[Document], *, num_clients: int) -> list[list[Document]]:
    parts: list[list[Document]] = [[] for _ in range(num_clients)]
    held = [(0, client) for client in range(num_clients)]
    for document in order:
        characters, client = held[0]
        parts[client].append(document)
        heapq.heapreplace(held, (characters + len(document.text), client))
    return parts


def _split_naturally(
    documents: Iterable[Document], *, num_clients: int, characters_per_client: int | None
) -> list[list[Document]]:
    by_name: defaultdict[str, list[Document]] = defaultdict(list)
    characters: defaultdict[str, int] = defaultdict(int)
    served: set[str] = set()
    for document in documents:
        if document.client is None:
            raise DataError(
                "the natural partition needs to know each document's client; give --client-field, or a folder with a "
                ".txt file for each client"
            )
        by_name[document.client].append(document)
        characters[document.client] += len(document.text)
        if characters_per_client is not None and characters[document.client] >= characters_per_client:
            served.add(document.client)
            if len(served) >= num_clients:
                break
    if len(by_name) < num_clients:
        raise DataError(
            f"the natural partition finds {len(by_name)} clients and --clients asks for {num_clients}; "
            f"lower --clients to {len(by_name)} or choose another --client-field"
        )
    largest_first = sorted(by_name, key=lambda name: (-characters[name], name))
    return [by_name[name] for name in largest_first[:num_clients]]


def _split_by_label(
    order: list[Document], alpha: float, *, num_clients: int, generator: np.random.Generator
) -> list[list[Document]]:
    stacks = _stacks_by_label(order)
    labels = sorted(stacks)
    characters = np.array([sum(len(document.text) for document in stacks[label]) for label in labels])
    prior = characters / characters.sum()  # (labels,)
    proportions = generator.dirichlet(alpha * prior, size=num_clients)  # (num_clients, labels)
    is_left = np.ones(len(labels), dtype=bool)
    parts: list[list[Document]] = [[] for _ in range(num_clients)]
    held = [(0, client) for client in range(num_clients)]
    for _ in order:
        taken, client = held[0]
        weights = np.where(is_left, proportions[client], 0.0)
        if weights.sum() == 0.0:
            weights = np.where(is_left, prior, 0.0)
        choice = int(generator.choice(len(labels), p=weights / weights.sum()))
        stack = stacks[labels[choice]]
        document = stack.pop()
        is_left[choice] = bool(stack)
        parts[client].append(document)
        heapq.heapreplace(held, (taken + len(document.text), client))
    return parts


def _stacks_by_label(order: list[Document]) -> Mapping[str, list[Document]]:
    stacks: defaultdict[str, list[Document]] = defaultdict(list)
    for document in order:
        if document.label is None:
            raise DataError("the dirichlet partition needs each document's label; give --label-field, or use iid")
        stacks[document.label].append(document)
    return stacks


def _read_until(documents: Iterable[Document], budget: int | None) -> list[Document]:
    found = []
    characters = 0
    for document in documents:
        found.append(document)
        characters += len(document.text)
        if budget is not None and characters >= budget:
            break
    return found


def _cut_long(documents: list[Document], *, num_clients: int) -> list[Document]:
    share = sum(len(document.text) for document in documents) // num_clients
    longest = max(share // LONGEST_PART_OF_SHARE, SHORTEST_PIECE)
    pieces = [replace(document, text=piece) for document in documents for piece in _pieces(document.text, longest)]
    if len(pieces) < num_clients:
        raise TooLittleText(
            f"{len(documents)} documents make {len(pieces)} pieces of text for {num_clients} clients; "
            "give more text or lower --clients"
        )
    return pieces


def _pieces(text: str, longest: int) -> Iterator[str]:
    """Cut a text into pieces of at most ``longest`` characters, at a line break, else a space, else anywhere."""
    start = 0
    while len(text) - start > longest:
        end = start + longest
        cut = text.rfind("\n", start, end) + 1 or text.rfind(" ", start, end) + 1 or end
        yield text[start:cut]
        start = cut
    yield text[start:] if start else text
