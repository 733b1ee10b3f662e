"""Calibration windows: fixed-length token id sequences, the same number for every client.

Windows are cut from plain joined streams (:mod:`fedprllm_secure.data.tokens`): no beginning-of-text token is put in
front of a window, as the windows that the Wanda and GPTQ code draws from inside a text have none either. Public
windows are the windows of one client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedprllm_secure.data.documents import DataError, Document, TooLittleText
from fedprllm_secure.data.tokens import take_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WINDOWS_KEY = "windows"
INTEGER_DTYPES = frozenset({"I8", "U8", "I16", "U16", "I32", "U32", "I64"})


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The clients' calibration windows.

    Attributes:
        ids: int64 (num_clients * per_client, length), token ids >= 0; client c owns rows
            ``c * per_client`` to ``(c + 1) * per_client - 1``.
        num_clients: at least 1.
        per_client: windows a client, at least 1.
        length: tokens a window, at least 1.

    Raises:
        ValueError: a count is below 1, or ``ids`` has another shape, another type or a negative entry.
    """

    ids: Tensor
    num_clients: int
    per_client: int
    length: int

    def __post_init__(self) -> None:
        """Check counts, shape, type and sign."""
        _check_counts(num_clients=self.num_clients, per_client=self.per_client, length=self.length)
        shape = (self.num_clients * self.per_client, self.length)
        if tuple(self.ids.shape) != shape or self.ids.dtype != torch.int64:
            raise ValueError(f"ids is {self.ids.dtype} {tuple(self.ids.shape)}; it must be torch.int64 {shape}")
        if bool((self.ids < 0).any()):
            raise ValueError(f"ids has the negative entry {int(self.ids.min())}; token ids are >= 0")

    def of(self, client: int) -> Tensor:
        """Return one client's windows, int64 (per_client, length), a view.

        Raises:
            IndexError: ``client`` is not in [0, num_clients).
        """
        if not 0 <= client < self.num_clients:
            raise IndexError(f"client={client} must be in [0, {self.num_clients})")
        return self.ids[client * self.per_client : (client + 1) * self.per_client]


def cut_windows(
    parts: Sequence[Iterable[Document]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    length: int,
    per_client: int,
    vocabulary_size: int,
) -> Windows:
    """Cut each client's first windows from its own documents.

    A client's windows do not overlap and follow each other in its stream; no more documents are taken and no more
    text is tokenised than the windows need.

    Args:
        parts: each client's documents, in order.
        tokenizer: the model's tokenizer.
        length: tokens a window.
        per_client: windows a client.
        vocabulary_size: rows of the model's embedding; every token id must be below.

    Raises:
        DataError: a client has too little text, or the tokenizer makes an id that the model does not have.
        ValueError: a count is below 1.
    """
    _check_counts(num_clients=len(parts), per_client=per_client, length=length)
    needed = per_client * length
    streams = []
    for client, documents in enumerate(parts):
        tokens = take_tokens(documents, tokenizer, count=needed)
        if len(tokens) < needed:
            raise TooLittleText(
                f"client {client} has {len(tokens)} tokens and needs {needed} ({per_client} windows of {length}); "
                "lower --windows-per-client, --window-length or --clients, or give more text"
            )
        streams.append(tokens)
    ids = torch.tensor(streams, dtype=torch.int64).reshape(-1, length)  # (num_clients * per_client, length)
    check_vocabulary(ids, vocabulary_size, place="the tokenizer's output")
    return Windows(ids, num_clients=len(parts), per_client=per_client, length=length)


def cut_further(
    parts: Sequence[Iterable[Document]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    length: int,
    after: int,
    most: int,
    vocabulary_size: int,
) -> list[Tensor]:
    """Cut the windows of each client's documents that come after its first ones.

    Args:
        parts: each client's documents, in order, as given to :func:`cut_windows`.
        tokenizer: the model's tokenizer.
        length: tokens a window.
        after: windows of each client to leave out: those that :func:`cut_windows` gave it.
        most: windows to cut of each client's text; fewer where it ends.
        vocabulary_size: rows of the model's embedding; every token id must be below.

    Returns:
        For each client int64 (windows, length), from no window to ``most``.

    Raises:
        DataError: the tokenizer makes an id that the model does not have.
        ValueError: a count is below 1.
    """
    _check_counts(num_clients=len(parts), after=after, length=length, most=most)
    found = []
    for documents in parts:
        tokens = take_tokens(documents, tokenizer, count=(after + most) * length)[after * length :]
        whole = len(tokens) // length * length
        ids = torch.tensor(tokens[:whole], dtype=torch.int64).reshape(-1, length)  # (windows, length)
        check_vocabulary(ids, vocabulary_size, place="the tokenizer's output")
        found.append(ids)
    return found


def windows_shape(path: str | Path) -> tuple[int, int]:
    """Read (rows, length) of a file of windows from its header, without reading the windows.

    Raises:
        DataError: the file cannot be read or has no integer tensor ``windows`` of two dimensions.
    """
    return _peek(Path(path))


def read_windows(path: str | Path, *, num_clients: int, per_client: int, length: int, vocabulary_size: int) -> Windows:
    """Read windows that are cut already from a ``.safetensors`` file.

    Args:
        path: holds an integer tensor ``windows`` (num_clients * per_client, length).
        num_clients: clients that the file is for.
        per_client: windows a client.
        length: tokens a window.
        vocabulary_size: rows of the model's embedding; every token id must be below.

    Raises:
        DataError: the file cannot be read, is cut short, or holds other windows than these.
        ValueError: a count is below 1.
    """
    _check_counts(num_clients=num_clients, per_client=per_client, length=length)
    path = Path(path)
    found, wanted = _peek(path), (num_clients * per_client, length)
    if found != wanted:
        raise DataError(
            f"{path} holds windows of shape {found}, not {wanted} for {num_clients} clients x {per_client} windows of "
            f"{length}; give --window-length {found[1]} and --clients times --windows-per-client equal to {found[0]}"
        )
    with safe_open(path, framework="pt") as file:
        ids = file.get_tensor(WINDOWS_KEY).to(torch.int64)
    check_vocabulary(ids, vocabulary_size, place=str(path))
    return Windows(ids, num_clients=num_clients, per_client=per_client, length=length)


def check_vocabulary(ids: Tensor, vocabulary_size: int, *, place: str) -> None:
    """Check that every token id, int64 (rows, length), is one that the model has.

    Raises:
        DataError: an id is outside [0, vocabulary_size); names the first such row.
    """
    outside = (ids < 0) | (ids >= vocabulary_size)
    if bool(outside.any()):
        row, column = (int(index) for index in outside.nonzero()[0])
        raise DataError(
            f"{place}, row {row}: token id {int(ids[row, column])} is outside the model's vocabulary of "
            f"{vocabulary_size}; use the tokenizer that belongs to the model"
        )


def _peek(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise DataError(f"no file of windows at {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            keys = sorted(file.keys())
            if WINDOWS_KEY not in keys:
                raise DataError(f"{path} has the tensors {keys}; save the windows as {WINDOWS_KEY!r}")
            tensor = file.get_slice(WINDOWS_KEY)
            shape, dtype = tuple(tensor.get_shape()), tensor.get_dtype()
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read windows from {path}: {error}; write or copy the file again") from error
    if len(shape) != 2 or dtype not in INTEGER_DTYPES:
        raise DataError(f"{path} holds windows of type {dtype} and shape {shape}; save integers (rows, length)")
    if 0 in shape:
        raise DataError(f"{path} holds windows of shape {shape}, which is none; save at least one row")
    return shape[0], shape[1]


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count} must be at least 1")
