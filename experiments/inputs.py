"""Turns the flags that name models and texts into values: the one place that knows the word ``demo``."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoTokenizer

from experiments.demo import DEMO_MODEL
from experiments.demo.corpus import load_modules
from fedprllm_secure.data import (
    CORPORA,
    Document,
    NoSuchSource,
    Partition,
    Windows,
    characters_for,
    covered_bytes,
    cut_evaluation,
    cut_further,
    cut_windows,
    read_documents,
    read_windows,
    split_documents,
    windows_shape,
)
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT_LENGTH = 2048
DEMO_LENGTH = 256
MOST_PRIOR_WINDOWS = 1024


def open_model(flags: argparse.Namespace) -> StreamedModel:
    """Open ``--model`` on ``--device``.

    Raises:
        InputError: there is no such model or device, or its digest is another.
    """
    device = pick_device(flags.device)
    source = DEMO_MODEL if flags.model == "demo" else flags.model
    model = StreamedModel(source, device=device, dtype=DTYPES.get(flags.dtype))
    pinned = flags.model_sha256
    if pinned and pinned.lower() != model.checkpoint.sha256:
        raise InputError(
            f"--model-sha256 {pinned}: the model's digest is {model.checkpoint.sha256}; this is not the model that was "
            "pinned, or the digest is mistyped"
        )
    return model


def pick_device(name: str) -> torch.device:
    """Choose the device; ``auto`` takes CUDA where there is one.

    Raises:
        InputError: CUDA is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA device is available here; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def open_tokenizer(model: StreamedModel) -> Any:
    """Load the tokenizer that lies beside the model.

    Raises:
        InputError: there is none.
    """
    try:
        return AutoTokenizer.from_pretrained(model.checkpoint.folder)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--model: {model.checkpoint.folder} has no usable tokenizer ({reason}); give --data and --eval-data as "
            ".safetensors windows, or put its tokenizer beside the model"
        ) from error


def window_length(flags: argparse.Namespace, model: StreamedModel) -> int:
    """Choose the window length: as asked, that of windows already cut, or 2048 capped by the model's context.

    Raises:
        InputError: longer than the model's context.
    """
    context = model.context_length
    length = flags.window_length
    if length is None and is_cut(getattr(flags, "data", None)):
        length = windows_shape(Path(flags.data))[1]
    if length is None and flags.model == "demo":
        length = DEMO_LENGTH
    length = length or min(DEFAULT_LENGTH, context or DEFAULT_LENGTH)
    if length < 2 or (context and length > context):
        most = f"to the model's context of {context} tokens" if context else "tokens on"
        raise InputError(f"--window-length {length} must be from 2 {most}")
    return int(length)


def is_cut(source: str | None) -> bool:
    """Say whether a source holds windows already cut."""
    return source is not None and source.endswith(".safetensors")


def shared_text(flags: argparse.Namespace) -> list[str]:
    """Say which of the sources are one and the same file or folder, so that nobody reads too much into a perplexity."""
    named = {"--data": flags.data, "--public-data": flags.public_data, "--eval-data": flags.eval_data}
    local = {
        flag: Path(source).expanduser().resolve()
        for flag, source in named.items()
        if source and Path(source).expanduser().exists()
    }
    return [
        f"{one} and {other} name the same text: what is measured on it is no evidence about unseen text"
        for one, other in combinations(local, 2)
        if local[one] == local[other]
    ]


def _refuse_cutting(flags: argparse.Namespace) -> None:
    """Refuse flags that would say how windows are cut where they are cut already."""
    asked = {
        "--partition": flags.partition != "iid",
        "--text-field": flags.text_field is not None,
        "--client-field": flags.client_field is not None,
        "--label-field": flags.label_field is not None,
    }
    for flag, is_asked in asked.items():
        if is_asked:
            raise InputError(f"{flag} does not go with --data {flags.data}, whose windows are cut and dealt already")


def client_windows(flags: argparse.Namespace, model: StreamedModel, length: int, notes: list[str]) -> Windows:
    """Read or cut every client's calibration windows; what the user should know of the choice goes to ``notes``.

    Raises:
        fedprllm_secure.data.DataError: the text cannot be read, or is too short.
    """
    if is_cut(flags.data):
        _refuse_cutting(flags)
        return read_windows(
            Path(flags.data),
            num_clients=flags.clients,
            per_client=flags.windows_per_client,
            length=length,
            vocabulary_size=model.vocabulary_size,
        )
    return _cut(_parts(flags, length, notes), flags, model, length)


def windows_and_further(
    flags: argparse.Namespace, model: StreamedModel, length: int, notes: list[str], *, canaries: int
) -> tuple[Windows, list[Tensor]]:
    """Read or cut windows as :func:`client_windows`, and further ones of the same source that no client holds.

    Args:
        flags: of the command.
        model: the public model.
        length: tokens a window.
        notes: receives what the user should know of the choice.
        canaries: how many further windows are wanted over all clients.

    Returns:
        The clients' windows, and int64 (windows, length) of further ones: those of each client's part, as many as it
        can have slots for; or, where windows are cut already, the rows that follow the clients', for all of them.

    Raises:
        fedprllm_secure.data.DataError: as :func:`client_windows`.
        InputError: windows that are cut already are no more than the clients hold.
    """
    if is_cut(flags.data):
        _refuse_cutting(flags)
        return _read_with_further(flags, model, length, canaries)
    most = min(canaries, flags.windows_per_client)
    parts = _parts(flags, length, notes, further=most)
    further = cut_further(
        parts,
        open_tokenizer(model),
        length=length,
        after=flags.windows_per_client,
        most=most,
        vocabulary_size=model.vocabulary_size,
    )
    return _cut(parts, flags, model, length), further


def _read_with_further(
    flags: argparse.Namespace, model: StreamedModel, length: int, canaries: int
) -> tuple[Windows, list[Tensor]]:
    own, (rows, _) = flags.clients * flags.windows_per_client, windows_shape(Path(flags.data))
    if rows < own + canaries:
        raise InputError(
            f"--canaries {canaries} needs {own + canaries} windows in {flags.data}: {own} of the clients and "
            f"{canaries} that no client holds, after them; it holds {rows}. Give text instead, or save more rows"
        )
    ids = read_windows(
        Path(flags.data), num_clients=1, per_client=rows, length=length, vocabulary_size=model.vocabulary_size
    ).ids
    held = Windows(ids[:own], num_clients=flags.clients, per_client=flags.windows_per_client, length=length)
    return held, [ids[own:]]


def _cut(parts: list[list[Document]], flags: argparse.Namespace, model: StreamedModel, length: int) -> Windows:
    return cut_windows(
        parts,
        open_tokenizer(model),
        length=length,
        per_client=flags.windows_per_client,
        vocabulary_size=model.vocabulary_size,
    )


def _parts(flags: argparse.Namespace, length: int, notes: list[str], *, further: int = 0) -> list[list[Document]]:
    """Split the clients' text, enough for their windows and so many further ones each."""
    needed = characters_for((flags.windows_per_client + further) * length)
    names: set[str | None] = set()
    parts = split_documents(
        _naming(_documents(flags, flags.data, "train"), names),
        _partition(flags.partition),
        num_clients=flags.clients,
        seed=flags.seed,
        characters_per_client=needed if _is_stream(flags.data) else None,
    )
    if flags.partition == "natural" and len(names) > flags.clients:
        notes.append(
            f"{len(names)} owners of text were found; those with the most text are the {flags.clients} clients"
        )
    return parts


def public_windows(flags: argparse.Namespace, model: StreamedModel, length: int, count: int) -> Tensor | None:
    """Cut public windows, or give None where no public text is named.

    As many as ``--public-windows`` says, by default ``count``, or up to 1024 where a prior is made of them.
    """
    source = flags.public_data or ("demo" if flags.data == "demo" else None)
    if source is None:
        return None
    if flags.dp != "none":
        _refuse_private(flags, "--public-data", flags.public_data)
    if flags.public_windows is None and makes_prior(flags):
        return _as_many_public_windows(flags, model, source, length)
    wanted = flags.public_windows or count
    if is_cut(source):
        return read_windows(
            Path(source), num_clients=1, per_client=wanted, length=length, vocabulary_size=model.vocabulary_size
        ).ids
    documents: Iterable[Document] = _documents(flags, source, "public")
    return cut_windows(
        [documents], open_tokenizer(model), length=length, per_client=wanted, vocabulary_size=model.vocabulary_size
    ).ids


def _refuse_private(flags: argparse.Namespace, flag: str, source: str | None) -> None:
    """Refuse, under differential privacy, clients' text in a place where text is taken to be public.

    Raises:
        InputError: it is named there.
    """
    if source is None or source == "demo" or flags.data == "demo":  # the demo's parts are apart
        return
    same_file = (
        Path(source).expanduser().exists()
        and Path(source).expanduser().resolve() == Path(flags.data).expanduser().resolve()
    )
    if source == flags.data or same_file:
        raise InputError(
            f"{flag} {source} is the clients' text: what is made of it or measured on it is not covered by --dp; name "
            "other text"
        )


def makes_prior(flags: argparse.Namespace) -> bool:
    """Say whether public text is what private statistics are compared with."""
    return flags.payload == "statistics" and flags.dp != "none"


def _as_many_public_windows(flags: argparse.Namespace, model: StreamedModel, source: str, length: int) -> Tensor:
    if is_cut(source):
        rows = min(windows_shape(Path(source))[0], MOST_PRIOR_WINDOWS)
        return read_windows(
            Path(source), num_clients=1, per_client=rows, length=length, vocabulary_size=model.vocabulary_size
        ).ids
    return cut_evaluation(
        _documents(flags, source, "public"),
        open_tokenizer(model),
        length=length,
        limit=MOST_PRIOR_WINDOWS,
        vocabulary_size=model.vocabulary_size,
    )


def evaluation_windows(
    flags: argparse.Namespace, model: StreamedModel, length: int
) -> tuple[Tensor, int | None] | None:
    """Cut the evaluation windows and count the bytes of text they cover; None where no text is named."""
    data = getattr(flags, "data", None)
    source = flags.eval_data or (data if data == "demo" or data in CORPORA else None)
    if source is None and data is None and flags.model == "demo":
        source = "demo"
    if getattr(flags, "dp", "none") != "none" and flags.eval_data not in CORPORA:  # presets have test splits
        _refuse_private(flags, "--eval-data", flags.eval_data)
    if source is None:
        return None
    if is_cut(source):
        rows, _ = windows_shape(Path(source))
        full = read_windows(
            Path(source), num_clients=1, per_client=rows, length=length, vocabulary_size=model.vocabulary_size
        )
        return full.ids[: flags.eval_windows], None
    tokenizer = open_tokenizer(model)
    ids = cut_evaluation(
        _documents(flags, source, "test"),
        tokenizer,
        length=length,
        limit=flags.eval_windows,
        vocabulary_size=model.vocabulary_size,
    )
    return ids, covered_bytes(ids, tokenizer)


def _naming(documents: Iterable[Document], names: set[str | None]) -> Iterator[Document]:
    for document in documents:
        names.add(document.client)
        yield document


def _partition(text: str) -> Partition:
    try:
        return Partition.parse(text)
    except ValueError as error:
        raise InputError(f"--partition: {error}") from error


def _is_stream(source: str) -> bool:
    return source in CORPORA or not (source == "demo" or Path(source).expanduser().exists())


def _has_fields(source: str) -> bool:
    return not (source in CORPORA or source.endswith(".txt") or Path(source).expanduser().is_dir())


def _documents(flags: argparse.Namespace, source: str, role: Literal["train", "public", "test"]) -> Iterator[Document]:
    if source == "demo":
        side = {"train": "private", "public": "public", "test": "evaluation"}[role]
        modules = [module for module in load_modules() if module.split == side]
        if role != "train":
            # In path order the first windows would all come from asyncio; a fixed hash order samples the library.
            modules.sort(key=lambda module: hashlib.sha256(module.path.encode()).digest())
        return (Document(text=m.text, client=m.package, label=m.package) for m in modules if m.text.strip())
    try:
        return read_documents(
            source,
            split="test" if role == "test" else "train",
            # One flag serves all files; presets and plain text know their own field.
            text_field=getattr(flags, "text_field", None) if _has_fields(source) else None,
            client_field=getattr(flags, "client_field", None) if role == "train" else None,
            label_field=getattr(flags, "label_field", None) if role == "train" else None,
        )
    except NoSuchSource as error:
        raise NoSuchSource(f"{error}; or demo, or a .safetensors file of windows that are cut already") from error


def client_documents(flags: argparse.Namespace) -> Iterator[Document]:
    """Stream the clients' text, with what it says of clients and labels.

    Raises:
        fedprllm_secure.data.DataError: the text cannot be read.
    """
    return _documents(flags, flags.data, "train")
