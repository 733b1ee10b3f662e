"""A finished run of ``fedprllm prune --canaries K --save-transcript``: its settings, and what could be seen of it.

What the server saw is computed from the bytes it received (`protocols.replay`); the prune mask is the one the run
wrote. A transcript holds neither a key nor what colluders know, so those views cannot be cut from it. Coins are read
here and go no further than to the grading of scores.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from experiments.audit.matrix import What
from experiments.audit.statistics import AuditBlock
from experiments.audit.victims import Rows, SeenBlock, VoteSessions
from experiments.audit.worlds import EMPTY, Worlds
from experiments.canaries import FILE as COINS
from experiments.canaries import Coins
from experiments.transcripts import RecordedSession, read_transcript
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.thresholds import Thresholds
from protocols import PROTOCOLS, ProtocolError
from protocols.replay import ServerView, replay

RESULT, MASKS, VOTES, TRANSCRIPT = "result.json", "prune_masks.safetensors", "votes.safetensors", "transcript"
NEEDED = "fedprllm prune --canaries K --save-transcript"
COUNTS = ("clients", "windows_per_client")


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A finished run.

    Attributes:
        folder: where it lies.
        result: what its ``result.json`` says.
        coins: which slots are in question, and how their coins fell.
        sessions: of its transcript, one a block.
    """

    folder: Path
    result: Mapping[str, Any] = field(repr=False)
    coins: Coins = field(repr=False)
    sessions: tuple[RecordedSession, ...] = field(repr=False)

    @classmethod
    def read(cls, folder: Path) -> RecordedRun:
        """Read a run; no message of its transcript is read yet.

        Raises:
            InputError: it is not finished, shares other things than votes, was made without canaries or transcript, or
                its files contradict each other.
        """
        file = folder / RESULT
        try:
            result = json.loads(file.read_text())
            config, payload = dict(result["config"]), result["config"]["payload"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no finished run of fedprllm prune ({error})") from error
        if payload != "votes":
            raise InputError(f"{folder} is a run of --payload {payload}; only transcripts of votes can be audited")
        for name, flag in (("canaries", "--canaries K"), ("save_transcript", "--save-transcript")):
            if not config.get(name):
                raise InputError(
                    f"{folder} is a run without {flag}: an audit of a run needs coins to tell and what the server saw; "
                    f"run {NEEDED}"
                )
        _check_numbers(file, result)
        coins = Coins.read(folder / COINS)
        if len({slot.coin for slot in coins.slots}) < 2:
            raise InputError(f"{folder / COINS}: all coins fell alike, which nothing can be told from; use more")
        sessions = tuple(read_transcript(folder / TRANSCRIPT))
        for session in sessions:
            if session.protocol != config.get("protocol"):
                raise InputError(
                    f"{session.folder} is a session of the protocol {session.protocol}, {file} is of a run with "
                    f"--protocol {config.get('protocol')}; they are not of one run"
                )
        return cls(folder, result, coins, sessions)

    @property
    def config(self) -> Mapping[str, Any]:
        """The flags of the run."""
        found: Mapping[str, Any] = self.result["config"]
        return found

    @property
    def clients(self) -> int:
        """Parties of the run."""
        return int(self.config["clients"])

    @property
    def per_client(self) -> int:
        """Windows of each."""
        return int(self.config["windows_per_client"])

    @property
    def places(self) -> np.ndarray:
        """Number each slot in question among all windows of the run, int64 (coins,)."""
        return np.array([slot.client * self.per_client + slot.position for slot in self.coins.slots])

    def flags(self, asked: argparse.Namespace) -> argparse.Namespace:
        """Give the flags of the run, for those who read its model and text; what was asked for now goes before."""
        own = {
            "device": asked.device,
            "public_data": None,
            "eval_data": None,
            "window_length": self.coins.window_length,
        }
        named = {name: getattr(asked, name) for name in ("model", "data", "model_sha256") if getattr(asked, name)}
        return argparse.Namespace(**{**self.config, **own, **named})

    def privacy(self) -> PrivacyTarget | None:
        """Give its target of differential privacy."""
        config = self.config
        if config["dp"] == "none":
            return None
        names = ("adjacency", "delta", "noise", "epsilon", "noise_multiplier")
        return PrivacyTarget(place=config["dp"], **{name: config[name] for name in names})

    def method(self) -> Method:
        """Say how its clients and server pruned, with dense propagation, which single windows' statistics allow."""
        config = self.config
        names = ("group", "local_group")
        return Method(
            sparsity=Sparsity.parse(config["sparsity"]),
            pruner=config["pruner"],
            **{name: config[name] for name in names if config[name]},
            schedule=Schedule("one-shot", "dense"),
            ties=config["ties"],
            seed=config["seed"],
            payload="votes",
            protocol=config["protocol"],
            privacy=self.privacy(),
        )

    def thresholds(self) -> Thresholds:
        """Read the thresholds of its sessions."""
        plan = self.sessions[0].plan
        return Thresholds(
            recovery_threshold=plan.recovery_threshold,
            minimum_survivors=plan.minimum_survivors,
            assumed_colluders=plan.assumed_colluders,
            neighbours=plan.neighbours,
            beacon=plan.beacon,
        )

    def truth(self) -> Worlds:
        """Give the run as a world of which nothing but the coins is known; for grading."""
        slots = self.coins.slots
        return Worlds(
            contributions=np.full((1, self.clients, self.per_client), EMPTY, np.int64),
            coins=np.array([[slot.coin for slot in slots]], np.int8),
            clients_of=np.array([[slot.client for slot in slots]], np.int64),
        )

    def hidden(self) -> dict[What, str]:
        """Say what cannot be cut from what the run left, and why."""
        found: dict[What, str] = {"less": "what colluders submitted is not in a transcript"}
        if self.config["protocol"] != "plain":
            found["masks"] = "no key is in a transcript"
        if not (self.folder / VOTES).exists():
            found["released"] = f"{VOTES} is not there; run with --save-votes"
        return found

    def seen(self, block: AuditBlock, sessions: VoteSessions) -> SeenBlock:
        """Give what could be seen of a block of this one run.

        Args:
            block: the block.
            sessions: such as the run's were: they turn vectors back into votes.

        Raises:
            InputError: the transcript or a file is not of this model, clients left amid the session, or, without noise,
                the run's prune masks are not those that its totals choose. Under noise the totals that chose are
                released ones, not those of the transcript: nothing is compared.
        """
        view = self._view(block)

        def rows(vectors: list[Mapping[str, Any]], *, clients: int) -> Rows:
            return {
                matrix.name: np.stack(
                    [sessions.votes(each[matrix.name], clients=clients).reshape(matrix.shape) for each in vectors]
                )
                for matrix in block.matrices
            }

        totals, released = rows([view.totals], clients=self.clients), None
        if self.config["dp"] == "central" and "released" not in self.hidden():
            released = rows([read_tensors(self.folder / VOTES, block.matrices)], clients=self.clients)
        masks = None
        if view.shows_vectors:
            masks = rows([view.vectors(client) for client in range(self.clients)], clients=1)
        choice = read_tensors(self.folder / MASKS, block.matrices)
        if self.privacy() is None:
            self._check_choice(choice, view, block, sessions)
        return SeenBlock(
            masks=masks,
            totals=totals,
            released=totals if released is None else released,
            choice={name: each[None] for name, each in choice.items()},
        )

    def _check_choice(
        self, choice: Mapping[str, np.ndarray], view: ServerView, block: AuditBlock, sessions: VoteSessions
    ) -> None:
        """Refuse prune masks of another run than the transcript's, which what is told of the coins would mix up."""
        chosen = sessions.payload.choose(block.view(), view.totals, survivors=len(view.survivors))
        for name, mask in choice.items():
            if not np.array_equal(mask, chosen[name].cpu().numpy()):
                raise InputError(
                    f"{self.folder / MASKS}: {name} is not what the totals of {self.folder / TRANSCRIPT} choose; they "
                    "are not of one run"
                )

    def _view(self, block: AuditBlock) -> ServerView:
        found = next((each for each in self.sessions if each.place == block.index), None)
        if found is None:
            raise InputError(f"{self.folder / TRANSCRIPT} has no session of block {block.index}")
        expected = {matrix.name: matrix.numel for matrix in block.matrices}
        lengths = {spec.name: spec.length for spec in found.plan.vectors}
        if lengths != expected or len(found.plan.roster) != self.clients:
            raise InputError(f"{found.folder} is a session of another model or of other clients than {RESULT} says")
        try:
            view = replay(PROTOCOLS[found.protocol], found.plan, found.entries())
        except (ValueError, ProtocolError) as error:
            raise InputError(f"{found.folder} cannot be followed ({error}); save the transcript again") from error
        if len(view.survivors) < self.clients:
            raise InputError(
                f"{found.folder}: {self.clients - len(view.survivors)} clients left; their coins decided nothing "
                "there. Audit a run without --dropout"
            )
        return view


def _check_numbers(file: Path, result: Mapping[str, Any]) -> None:
    """Check the numbers of a result that an audit counts with.

    Raises:
        InputError: a count is missing or no positive integer, or the claimed epsilon is no finite number from 0 up;
            null stands for none, of noise too small for a claim.
    """
    config = result["config"]
    for name in COUNTS:
        if type(config.get(name)) is not int or config[name] < 1:
            raise InputError(f"{file}: config.{name}={config.get(name)!r} must be an integer from 1 up")
    if config.get("dp") == "none":
        return
    privacy = result.get("privacy")
    if not isinstance(privacy, dict) or "epsilon" not in privacy:
        raise InputError(f"{file}: privacy.epsilon is missing; a run with --dp {config.get('dp')} states it")
    epsilon = privacy["epsilon"]
    if epsilon is None:
        return
    if type(epsilon) not in (int, float) or not 0 <= epsilon < math.inf:
        raise InputError(f"{file}: privacy.epsilon={epsilon!r} must be a finite number from 0 up")


def read_tensors(file: Path, matrices: tuple[PrunableMatrix, ...]) -> dict[str, np.ndarray]:
    """Read the tensors of some matrices, (out, in) each.

    Raises:
        InputError: the file cannot be read, or one is missing or has another shape.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            found = {matrix.name: opened.get_tensor(matrix.name) for matrix in matrices}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read ({error})") from error
    for matrix in matrices:
        if found[matrix.name].shape != matrix.shape:
            raise InputError(f"{file}: {matrix.name} has shape {found[matrix.name].shape}, not {matrix.shape}")
    return found
