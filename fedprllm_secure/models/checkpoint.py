"""Checkpoints on disk: which tensors a model folder holds, read one by one, and a copy written one by one.

Knows safetensors files and nothing of networks. Tensors are read by their byte ranges, never mapped, so that a model
larger than memory passes through.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedprllm_secure.durable import partial_name, publish
from fedprllm_secure.errors import InputError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# What a causal language model is loaded from; never the duplicate weights of other frameworks.
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
HEADER_LIMIT_BYTES = 100_000_000


def model_folder(source: str | Path) -> Path:
    """Find a model's folder: a local path as it is, a hub name by way of its downloaded snapshot.

    Raises:
        InputError: no such folder and no such hub model, or the hub cannot be reached.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    # A hub name is "owner/name" or "name"; anything else can only have been meant as a path.
    if str(source).startswith((".", "/", "~")) or str(source).count("/") > 1:
        raise InputError(f"--model {source}: there is no such folder; give a model folder or a hub name (owner/name)")
    try:
        return Path(snapshot_download(str(source), allow_patterns=HUB_FILES))
    except Exception as error:  # the hub client raises a dozen unrelated classes for "could not be had"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"--model {source}: neither a local folder nor a hub model that could be downloaded "
            f"({type(error).__name__}: {reason[:200]}); check the name and the network, or give a folder"
        ) from error


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: its file, shape, dtype, and byte range within the file."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    stop: int

    @property
    def num_bytes(self) -> int:
        """Bytes on disk."""
        return self.stop - self.start


class Checkpoint:
    """The tensors of a model folder, by their names on disk."""

    def __init__(self, folder: Path) -> None:
        """Read the headers of every weight file; no weights yet.

        Raises:
            InputError: the folder has no safetensors weights, or a file is cut short or not safetensors.
        """
        self.folder = folder
        self.files = _weight_files(folder)
        self.tensors: dict[str, StoredTensor] = {}
        for file in self.files:
            self.tensors.update(read_header(file))

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read tensors into memory, in the dtype they are stored in."""
        # Read, not mapped: mapped pages would stay resident beside the tensors made from them.
        found = {}
        with ExitStack() as stack:
            opened: dict[Path, BinaryIO] = {}
            for name in names:
                stored = self.tensors[name]
                if stored.file not in opened:
                    opened[stored.file] = stack.enter_context(stored.file.open("rb", buffering=0))
                found[name] = _read_tensor(opened[stored.file], stored)
        return found

    @cached_property
    def sha256(self) -> str:
        """Digest the configuration and the bytes of every weight file, in name order: what a user can pin."""
        return _digest_of((self.folder / "config.json", *self.files))

    @cached_property
    def tokenizer_sha256(self) -> str:
        """Digest the tokenizer's files, those that the folder has, with their names."""
        return _digest_of(self.folder / name for name in TOKENIZER_FILES if (self.folder / name).exists())


def _digest_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.name.encode()).digest())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _read_tensor(opened: BinaryIO, stored: StoredTensor) -> Tensor:
    tensor = torch.empty(stored.shape, dtype=stored.dtype)
    view, done = tensor.view(-1).view(torch.uint8).numpy().data if tensor.numel() else memoryview(b""), 0
    opened.seek(stored.start)
    while done < len(view):  # the system hands over at most 2 GiB at a time
        count = opened.readinto(view[done:])  # type: ignore[attr-defined] # an unbuffered file has it
        if not count:
            raise InputError(f"{stored.file} was cut short while it was read")
        done += count
    return tensor


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Read a safetensors header and check that the file is as long as it says.

    Raises:
        InputError: the file is missing, cut short, or not safetensors.
    """
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    try:
        with safe_open(file, framework="pt"):  # the library's own validation: offsets, overlaps, length
            pass
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, HEADER_LIMIT_BYTES)))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as safetensors, or was cut short ({error})") from error
    header.pop("__metadata__", None)
    unknown = {name: entry["dtype"] for name, entry in header.items() if entry["dtype"] not in DTYPES}
    if unknown:
        name, dtype = next(iter(unknown.items()))
        raise InputError(
            f"{file} holds {name} as {dtype}: quantised checkpoints cannot be pruned; give a 16/32-bit one"
        )
    return {
        name: StoredTensor(
            file=file,
            shape=tuple(entry["shape"]),
            dtype=DTYPES[entry["dtype"]],
            start=8 + length + entry["data_offsets"][0],
            stop=8 + length + entry["data_offsets"][1],
        )
        for name, entry in header.items()
    }


class TensorWriter:
    """Writes one safetensors file tensor by tensor, so that nothing is held beyond the tensor at hand.

    The names, shapes and dtypes are fixed first (they are the header); tensors then come in that order. The file
    appears under its name only when :meth:`close` has made it whole.
    """

    def __init__(
        self, file: Path, layout: Mapping[str, tuple[tuple[int, ...], torch.dtype]], *, metadata: Mapping[str, str]
    ) -> None:
        """Open a temporary file beside ``file`` and write the header."""
        self._file, self._partial = file, partial_name(file)
        self._pending = dict(layout)
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        offset = 0
        for name, (shape, dtype) in layout.items():
            size = torch.Size(shape).numel() * dtype.itemsize
            header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        encoded = json.dumps(header).encode()
        encoded += b" " * (-len(encoded) % 8)
        self._stream: BinaryIO = self._partial.open("wb")
        self._stream.write(struct.pack("<Q", len(encoded)) + encoded)

    def write(self, name: str, tensor: Tensor) -> None:
        """Append the next tensor.

        Raises:
            ValueError: it is not the next one of the layout, or has another shape or dtype.
        """
        expected, (shape, dtype) = next(iter(self._pending.items()))
        if (name, tuple(tensor.shape), tensor.dtype) != (expected, tuple(shape), dtype):
            raise ValueError(
                f"tensor {name} {tuple(tensor.shape)} {tensor.dtype} must be {expected} {tuple(shape)} {dtype}"
            )
        del self._pending[name]
        flat = tensor.detach().cpu().contiguous().view(-1)
        if flat.numel():
            self._stream.write(flat.view(torch.uint8).numpy().data)

    def close(self) -> None:
        """Make the file whole and give it its name.

        Raises:
            ValueError: tensors of the layout are missing.
        """
        if self._pending:
            raise ValueError(f"{len(self._pending)} tensors not written, the first {next(iter(self._pending))}")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        publish(self._partial, self._file)

    def __enter__(self) -> TensorWriter:
        """Write within a ``with``: the file is closed at its end, and discarded if an exception leaves it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()

    def discard(self) -> None:
        """Drop what was written and not made whole."""
        with suppress(OSError):  # closing flushes, which a full disk refuses again
            self._stream.close()
        self._partial.unlink(missing_ok=True)


def copy_edited(checkpoint: Checkpoint, out: Path, edit: Callable[[str, Tensor], Tensor]) -> None:
    """Copy every weight file of a checkpoint, each tensor passed through ``edit(name, tensor)``.

    Names, files, shapes and dtypes stay; an edit returns the same shape and dtype.
    """
    for file in checkpoint.files:
        own = {name: tensor for name, tensor in checkpoint.tensors.items() if tensor.file == file}
        layout = {name: (tensor.shape, tensor.dtype) for name, tensor in own.items()}
        with TensorWriter(out / file.name, layout, metadata={"format": "pt"}) as writer:
            for name in own:
                writer.write(name, edit(name, checkpoint.read([name])[name]))


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if not (folder / INDEX).exists():
        raise InputError(
            f"{folder} has no {WEIGHTS}: weights are streamed from safetensors; re-save the model with "
            "save_pretrained, or name another revision"
        )
    try:
        names = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{folder / INDEX} is not a weight index ({error})") from error
    return [folder / name for name in sorted(names)]
