"""The resume state of a run: what each finished block left behind, and the hidden states that enter the next one.

A block is finished when its file has its name; files appear by rename, after what they rest on is on disk. A later run
with the same configuration reads the totals of finished blocks and never repeats their sessions. The number of
sessions opened is written down before the first message of a session can leave, so no session number serves twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedprllm_secure.durable import write_durably
from fedprllm_secure.errors import InputError
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.models.checkpoint import TensorWriter
from fedprllm_secure.models.matrices import PrunableMatrix

FEDERATED = "federated"


class OtherRun(InputError):
    """A folder holds the state of another run.

    Attributes:
        name: what differs.
        former: its value in the run that the folder holds; None where only a digest of it is known.
        now: its value in this run; None likewise.
    """

    def __init__(self, folder: Path, name: str, former: Any = None, now: Any = None) -> None:
        """Say what differs."""
        self.name, self.former, self.now = name, former, now
        difference = f"with {name}={former}, not {now}" if former != now else f"with other {name}"
        super().__init__(f"{folder} holds a run {difference}; name another folder")


@dataclass(slots=True)
class BlockRecord:
    """The public figures of a finished block.

    Attributes:
        survivors: clients whose votes were counted.
        unseen_experts: (client, expert matrix) pairs that fell back on magnitude for want of tokens.
        undecided_weights: weights whose order at the cutoff hangs on the rounding of shared statistics.
        seconds: by phase, and ``pruning`` for the block as a whole.
        cost_by_step: by protocol step, the bytes up and down and the seconds of the client with the most, and the bytes
            in and out and the seconds of the server.
        agreed: what the parties of its session agreed on beside the run's settings, such as the clip of statistics.
    """

    survivors: list[int]
    unseen_experts: int = 0
    undecided_weights: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    cost_by_step: dict[str, dict[str, float]] = field(default_factory=dict)
    agreed: dict[str, Any] = field(default_factory=dict)


class WorkFolder:
    """A folder (mode 0700) that holds one run's state."""

    def __init__(self, folder: Path) -> None:
        """Open or make the folder; from here on only its owner may enter: it holds activations of private text."""
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._lock = FileLock(folder / "lock", blocking=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out for the length of a ``with``; may be nested.

        Raises:
            InputError: another process is at work here.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{self.folder}: another process is at work here; wait for it or name another folder"
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def claim(
        self,
        claimant: str,
        config: Mapping[str, Any],
        *,
        texts: Mapping[str, Tensor | None],
        digests: Mapping[str, str],
    ) -> None:
        """Make the folder this run's, or make sure that it is.

        Args:
            claimant: who asks; each claimant has settings of its own, and all must agree.
            config: settings of the run, as JSON can hold them.
            texts: token ids by name. Private text leaves no plain hash behind, not even here: what is kept is an HMAC
                under a key that was drawn for this folder and goes with it.
            digests: other digests by name.

        Raises:
            OtherRun: the folder holds another run.
        """
        config = json.loads(json.dumps(config))  # as it will be read back
        file, key_file = self.folder / f"{claimant}.json", self.folder / "key"
        former = json.loads(file.read_text()) if file.exists() else None
        if not key_file.exists():
            write_durably(key_file, secrets.token_bytes(32), mode=0o600)
        key = key_file.read_bytes()
        named = {name: None if ids is None else _keyed_digest(key, ids) for name, ids in texts.items()} | dict(digests)
        if former is None:
            write_durably(file, json.dumps({"config": config, "named": named}).encode())
            return
        for name in sorted({*former["config"], *config}):
            if former["config"].get(name) != config.get(name):
                raise OtherRun(self.folder, name, former["config"].get(name), config.get(name))
        for name in sorted({*former["named"], *named}):
            if former["named"].get(name) != named.get(name):
                raise OtherRun(self.folder, name)

    def next_session_number(self) -> int:
        """Take a session number that was never taken before, and remember so before returning."""
        file = self.folder / "sessions.json"
        number = json.loads(file.read_text())["opened"] if file.exists() else 0
        write_durably(file, json.dumps({"opened": number + 1}).encode())
        return number

    def note_submissions(self, place: int) -> None:
        """Remember, before the first submission of a session leaves, that there is one more about a place."""
        counts = self.sessions_by_place()
        counts[place] = counts.get(place, 0) + 1
        write_durably(self.folder / "submitted.json", json.dumps(counts).encode())

    def sessions_by_place(self) -> dict[int, int]:
        """Count the sessions in which clients submitted, by place: more than one where one was interrupted."""
        file = self.folder / "submitted.json"
        return {int(place): count for place, count in json.loads(file.read_text()).items()} if file.exists() else {}

    def finished_blocks(self, *, needs_states: bool = True) -> int:
        """Count the blocks, from the first on, that need no work any more.

        Args:
            needs_states: whether the next block needs the hidden states that finished ones left.

        Raises:
            InputError: the hidden states that enter the next block are gone.
        """
        count = 0
        while self._block_file(count).exists():
            count += 1
        # They were on disk before the block counted as finished, and are needed: sessions are not run again for them.
        if needs_states and count and not self._hidden_file(count).exists():
            raise InputError(
                f"{self._hidden_file(count)} is missing, which finished blocks left behind; start over with --overwrite"
            )
        return count

    def save_block(
        self,
        index: int,
        record: BlockRecord,
        totals: Mapping[str, Tensor],
        prune_masks: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Store a block's totals, by vector name, and the prune masks of every variant; the block is finished then."""
        tensors = {f"totals/{name}": _smallest(total) for name, total in totals.items()}
        for variant, masks in prune_masks.items():
            tensors |= {f"{variant}/{name}": _pack(prune_mask) for name, prune_mask in masks.items()}
        layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
        metadata = {"record": json.dumps(asdict(record))}
        with TensorWriter(self._block_file(index), layout, metadata=metadata) as writer:
            for name, tensor in tensors.items():
                writer.write(name, tensor)

    def save_states(self, index: int, states: HiddenStates) -> None:
        """Store the hidden states that enter block ``index``."""
        states.save(self._hidden_file(index))

    def has_states(self, index: int) -> bool:
        """Say whether the hidden states that enter block ``index`` are stored."""
        return self._hidden_file(index).exists()

    def drop_states(self, index: int) -> None:
        """Remove the hidden states that entered block ``index``, once nothing rests on them."""
        self._hidden_file(index).unlink(missing_ok=True)

    def load_states(self, index: int, states: HiddenStates) -> None:
        """Fill the hidden states that enter block ``index``."""
        states.load(self._hidden_file(index))

    def record(self, index: int) -> BlockRecord:
        """Read a finished block's figures."""
        with self._opened(index) as opened:
            return BlockRecord(**json.loads(opened.metadata()["record"]))

    def totals(self, index: int, matrix: PrunableMatrix) -> Tensor:
        """Read a matrix's totals of votes, int32 (out, in); int64 where noise took them past that."""
        return self.total(index, matrix.name).view(matrix.shape)

    def total(self, index: int, name: str) -> Tensor:
        """Read the totals of a vector, (length,) int32, or int64 where that is not enough."""
        with self._opened(index) as opened:
            stored = opened.get_tensor(f"totals/{name}")
        return stored if stored.dtype == torch.int64 else stored.to(torch.int32)

    def totals_layout(self, index: int) -> dict[str, tuple[int, torch.dtype]]:
        """List length and dtype of a block's totals by vector name, as :meth:`total` gives them."""
        with self._opened(index) as opened:
            slices = {key: opened.get_slice(key) for key in opened.keys() if key.startswith("totals/")}  # noqa: SIM118
            return {
                key.removeprefix("totals/"): (
                    stored.get_shape()[0],
                    torch.int64 if stored.get_dtype() == "I64" else torch.int32,
                )
                for key, stored in slices.items()
            }

    def prune_mask(self, index: int, matrix: PrunableMatrix, variant: str = FEDERATED) -> Tensor:
        """Read a variant's prune mask of a matrix, bool (out, in)."""
        with self._opened(index) as opened:
            return _unpack(opened.get_tensor(f"{variant}/{matrix.name}"), matrix.shape)

    def mask_digest(self, variant: str = FEDERATED) -> bytes:
        """Condense a variant's prune masks of all stored blocks; equal masks give equal digests."""
        found, index = hashlib.sha256(), 0
        while self._block_file(index).exists():
            with self._opened(index) as opened:
                for key in sorted(opened.keys()):
                    if key.startswith(f"{variant}/"):
                        packed = opened.get_tensor(key)
                        found.update(f"{index} {key.partition('/')[2]} {len(packed)} ".encode())
                        found.update(packed.numpy().data)
            index += 1
        return found.digest()

    def variants(self, index: int = 0) -> list[str]:
        """List the variants whose prune masks were stored."""
        with self._opened(index) as opened:
            found = dict.fromkeys(key.partition("/")[0] for key in opened.keys())  # noqa: SIM118 - no mapping
        return [name for name in found if name != "totals"]

    def clear(self, keep: Sequence[str] = ()) -> None:
        """Remove the state."""
        for file in self.folder.iterdir():
            if file.name not in keep:
                file.unlink()
        if not keep:
            self.folder.rmdir()

    def _opened(self, index: int) -> Any:
        try:
            return safe_open(self._block_file(index), framework="pt")
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{self._block_file(index)} cannot be read or was cut short ({error}); start over with --overwrite"
            ) from error

    def _block_file(self, index: int) -> Path:
        return self.folder / f"block-{index:04d}.safetensors"

    def _hidden_file(self, index: int) -> Path:
        return self.folder / f"hidden-{index:04d}.bin"


def _keyed_digest(key: bytes, ids: Tensor) -> str:
    named = f"{ids.dtype} {tuple(ids.shape)} ".encode() + ids.contiguous().numpy().tobytes()
    return hmac.new(key, named, hashlib.sha256).hexdigest()


def _smallest(total: Tensor) -> Tensor:
    lowest, highest = (int(total.min()), int(total.max())) if total.numel() else (0, 0)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        limits = torch.iinfo(dtype)
        if limits.min <= lowest and highest <= limits.max:
            break
    return total.reshape(-1).to(dtype)


def _pack(prune_mask: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(prune_mask.cpu().numpy().reshape(-1)))


def _unpack(packed: Tensor, shape: tuple[int, int]) -> Tensor:
    bits = np.unpackbits(packed.numpy(), count=shape[0] * shape[1])
    return torch.from_numpy(bits).view(torch.bool).view(shape)
