"""Model and windows of a run, opened and cut once for all runs of a process that name the very same ones.

Each value is kept under the flags that it is made of and the sizes and times of the files that they name, so that a
file which changes between two runs is read again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

from experiments import inputs
from fedprllm_secure.data import Windows
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.shared_work import Key, SharedWork, tensor_bytes

MODEL = ("model", "model_sha256", "device", "dtype")
TEXT = ("model", "data", "text_field", "window_length")
WINDOWS = (*TEXT, "client_field", "label_field", "clients", "windows_per_client", "partition", "seed")
# Whether public and evaluation text may be the clients' hangs on the protection, so that is looked at each time.
PUBLIC = (*TEXT, "public_data", "public_windows", "clients", "windows_per_client", "dp", "payload")
EVALUATION = (*TEXT, "eval_data", "eval_windows", "dp")
SOURCES = ("model", "data", "public_data", "eval_data")
NO_BYTES = 0  # of a model that streams its weights, and of nothing


def open_model(flags: argparse.Namespace, shared: SharedWork) -> StreamedModel:
    """Open the model as :func:`~experiments.inputs.open_model`, or take the one that is open."""
    return shared.get(
        lambda: _key("model", flags, MODEL), lambda: inputs.open_model(flags), num_bytes=lambda _: NO_BYTES
    )


def client_windows(
    flags: argparse.Namespace, model: StreamedModel, length: int, notes: list[str], shared: SharedWork
) -> Windows:
    """Read or cut windows as :func:`~experiments.inputs.client_windows`."""

    def cut() -> tuple[Windows, list[str]]:
        said: list[str] = []
        return inputs.client_windows(flags, model, length, said), said

    windows, said = shared.get(
        lambda: _key("windows", flags, WINDOWS), cut, num_bytes=lambda value: tensor_bytes(value[0].ids)
    )
    notes += said
    return windows


def public_windows(
    flags: argparse.Namespace, model: StreamedModel, length: int, count: int, shared: SharedWork
) -> Tensor | None:
    """Cut windows as :func:`~experiments.inputs.public_windows`."""
    return shared.get(
        lambda: _key("public windows", flags, PUBLIC),
        lambda: inputs.public_windows(flags, model, length, count),
        num_bytes=lambda value: NO_BYTES if value is None else tensor_bytes(value),
    )


def evaluation_windows(
    flags: argparse.Namespace, model: StreamedModel, length: int, shared: SharedWork
) -> tuple[Tensor, int | None] | None:
    """Cut windows as :func:`~experiments.inputs.evaluation_windows`."""
    return shared.get(
        lambda: _key("evaluation windows", flags, EVALUATION),
        lambda: inputs.evaluation_windows(flags, model, length),
        num_bytes=lambda value: NO_BYTES if value is None else tensor_bytes(value[0]),
    )


def _key(what: str, flags: argparse.Namespace, names: tuple[str, ...]) -> Key:
    stamps = tuple(_stamp(getattr(flags, name)) for name in SOURCES if name in names)
    return (what, *(getattr(flags, name) for name in names), stamps)


def files_of(source: str | None) -> list[Path]:
    """List the files that a source names, in order, but for hidden ones; none of what is no path."""
    place = None if source is None else Path(source).expanduser()
    if place is None or not place.exists():
        return []
    if not place.is_dir():
        return [place]
    files = (file for file in place.rglob("*") if file.is_file() and not file.name.startswith("."))
    return sorted(files)


def _stamp(source: str | None) -> tuple[tuple[str | int, ...], ...]:
    """List name, number, size and times of change of a source's files.

    A file that is replaced has another number, and one that is written another time of its inode's change, whatever
    time of its content a copy has kept.
    """
    found = [(str(file), file.stat()) for file in files_of(source)]
    return tuple((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in found)
