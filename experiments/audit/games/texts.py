"""The windows of a game: each client's from text of its own, or from text of its domain; the attacker's from others."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from experiments import inputs
from experiments.audit.games.board import Board
from fedprllm_secure.data import Document, Partition, TooLittleText, characters_for, cut_windows, split_documents
from fedprllm_secure.errors import InputError


def own_windows(board: Board, *, parts: int, per_part: int) -> Tensor:
    """Deal text evenly to parts (`--partition iid`), and cut windows of each.

    Returns:
        int64 (parts, windows of a part, tokens).

    Raises:
        InputError: the text is too short.
    """
    changed = {"clients": parts, "windows_per_client": per_part, "partition": "iid"}
    dealt = argparse.Namespace(**vars(board.flags) | changed)
    try:
        ids = inputs.client_windows(dealt, board.model, board.length, []).ids
    except TooLittleText as error:
        raise TooLittleText(
            f"--data {board.flags.data} is too short for {parts * per_part} windows of {board.length} tokens, "
            f"{per_part} from each of {parts} parts, which --game {board.flags.game} takes; lower --victims, "
            "--windows-per-client or --window-length, or give more text"
        ) from error
    return ids.reshape(parts, per_part, board.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainTexts:
    """Windows of domains.

    Attributes:
        ids: int64 (windows, tokens).
        names: of the domains.
        victims: int64 (domains, windows), windows by number that clients hold.
        own: likewise, that the attacker holds.
    """

    ids: Tensor = field(repr=False)
    names: tuple[str, ...]
    victims: np.ndarray
    own: np.ndarray


def domain_windows(board: Board, *, domains: int, count: int) -> DomainTexts:
    """Cut windows of the domains with the most text, for clients and attacker from different pieces of it.

    A domain is what `--label-field` says of a text, a file of a folder, or a package of the demo's library. Its texts
    are cut into pieces of up to an eighth of it, which go to either side at random: both may hold pieces of one long
    document, never the same piece.

    Args:
        board: the ground.
        domains: how many.
        count: windows of each domain on each side.

    Raises:
        InputError: texts do not say their domain, there are fewer domains, or one has too little text.
    """
    texts = _most_text(inputs.client_documents(board.flags), domains, enough=2 * characters_for(count * board.length))
    cut = []
    for name, documents in texts.items():
        try:
            sides = split_documents(documents, Partition("iid"), num_clients=2, seed=board.flags.seed)
            windows = cut_windows(
                sides,
                inputs.open_tokenizer(board.model),
                length=board.length,
                per_client=count,
                vocabulary_size=board.model.vocabulary_size,
            )
        except TooLittleText as error:
            raise TooLittleText(
                f"domain {name!r} of --data {board.flags.data} is too short for {count} windows of {board.length} "
                "tokens for clients and as many for the attacker; lower --victims, --windows-per-client, "
                "--window-length or --domains, or give more text"
            ) from error
        cut.append(windows.ids)
    numbers = np.arange(domains * 2 * count).reshape(domains, 2, count)
    return DomainTexts(ids=torch.cat(cut), names=tuple(texts), victims=numbers[:, 0], own=numbers[:, 1])


def _most_text(documents: Iterable[Document], domains: int, *, enough: int) -> Mapping[str, list[Document]]:
    """Find the domains with the most text; reading stops once so many have enough characters."""
    found: defaultdict[str, list[Document]] = defaultdict(list)
    characters: defaultdict[str, int] = defaultdict(int)
    for document in documents:
        name = document.client if document.label is None else document.label
        if name is None:
            raise InputError(
                "--game domain must know what each text is about: give --label-field NAME, or for --data a folder with "
                "a .txt file for each domain"
            )
        found[name].append(document)
        characters[name] += len(document.text)
        if sum(each >= enough for each in characters.values()) >= domains:
            break
    if len(found) < domains:
        raise InputError(f"--domains {domains} must be at most {len(found)}, the domains that the text has")
    names = sorted(found, key=lambda name: (-characters[name], name))[:domains]
    return {name: found[name] for name in names}
