"""Whole runs under differential privacy: what is kept, what is drawn once, what is charged, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fedprllm_secure.data.windows import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.federation import Federation
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines
from fedprllm_secure.privacy import BudgetRefused, Release, epsilon_of
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import WorkFolder
from protocols import Direction, Step
from tests.fedprllm_secure.conftest import Checkpoints, Watching
from tests.fedprllm_secure.tiny_models import (
    CPU,
    assert_same,
    make_method,
    matrices_of,
    prune_masks,
    random_windows,
    run_federation,
    totals,
)

WINDOWS = random_windows(5, 2, 12, seed=3)
PUBLIC = random_windows(1, 40, 12, seed=8).ids
THRESHOLDS = Thresholds(recovery_threshold=4, minimum_survivors=4, assumed_colluders=1)
HARDLY_ANY = {"epsilon": None, "noise_multiplier": 1e-6}


class Interrupted(Exception):
    """The run was killed."""


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoints) -> StreamedModel:
    """A LLaMA of three blocks, in float64."""
    return StreamedModel(checkpoint("llama", torch.float64), device=CPU, dtype=torch.float64)


def target(place: str = "central", **changes: Any) -> PrivacyTarget:
    """A target of epsilon 2 about clients."""
    fields: dict[str, Any] = {"place": place, "adjacency": "client-zero-out", "delta": 1e-5, "epsilon": 2.0}
    return PrivacyTarget(**(fields | changes))


def method(
    place: str = "central", *, payload: str = "votes", propagate: str = "local", sparsity: str = "0.5", **changes
):
    """A private method."""
    protocol = "additive" if place == "distributed" else "plain"
    privacy = target(place, **changes)
    return make_method(sparsity, propagate, payload=payload, protocol=protocol, privacy=privacy)


def run(model: StreamedModel, folder: Path, chosen: Any, *, windows: Windows = WINDOWS, **options: Any) -> WorkFolder:
    """Run it with thresholds that leave room for one colluder."""
    return run_federation(model, windows, chosen, folder, thresholds=THRESHOLDS, **options)


@pytest.mark.parametrize("place", ["central", "distributed"])
@pytest.mark.parametrize("propagate", ["local", "dense", "global"])
@pytest.mark.parametrize("sparsity", ["0.5", "0.7", "2:4"])
def test_with_hardly_any_noise_votes_give_the_mask_of_exact_votes(
    model: StreamedModel, tmp_path: Path, place: str, propagate: str, sparsity: str
) -> None:
    """Centred, noised and summed, they are put in the same order."""
    noisy = run(model, tmp_path / "a", method(place, propagate=propagate, sparsity=sparsity, **HARDLY_ANY))
    exact = run(model, tmp_path / "b", make_method(sparsity, propagate))

    assert_same(prune_masks(model, noisy), prune_masks(model, exact))


def test_only_noisy_totals_are_written(model: StreamedModel, tmp_path: Path) -> None:
    """What a run leaves are totals of centred votes with noise of the stated size on them."""
    chosen = method("central")
    federation = Federation(model, WINDOWS, chosen, WorkFolder(tmp_path / "a"), thresholds=THRESHOLDS)
    federation.run()
    exact = totals(model, run(model, tmp_path / "b", make_method("0.5")))
    low, step = federation.payload.public()["centre"]
    noise = torch.cat(
        [(total - (step * exact[name] - 5 * low)).flatten() for name, total in totals(model, federation.work).items()]
    ).double()
    expected = float(federation.noises[0].full)

    assert (low, step) == (1, 2)
    assert abs(float(noise.var()) / expected - 1) < 0.1
    assert epsilon_of([each.release for each in federation.noises], 1e-5) <= 2.0


@pytest.mark.parametrize("payload", ["votes", "statistics"])
def test_noise_is_drawn_once_a_release(model: StreamedModel, tmp_path: Path, payload: str) -> None:
    """Stored noisy totals are read back after an interruption, never drawn again."""
    options: dict[str, Any] = {"baselines": Baselines(public=PUBLIC)} if payload == "statistics" else {}
    propagate = "dense" if payload == "statistics" else "local"
    chosen = method("central", payload=payload, propagate=propagate)

    def stop(phase: str, done: int, total: int) -> None:
        if phase == "prune" and done == 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(model, tmp_path, chosen, progress=stop, **options)
    before = {name: WorkFolder(tmp_path).total(0, name) for name in WorkFolder(tmp_path).totals_layout(0)}
    work = run(model, tmp_path, chosen, **options)

    assert before
    assert_same({name: work.total(0, name) for name in work.totals_layout(0)}, before)


def test_two_runs_draw_different_noise(model: StreamedModel, tmp_path: Path) -> None:
    """The seed of a method reaches ties, never noise."""
    one, other = (run(model, tmp_path / name, method("distributed")) for name in ("a", "b"))

    assert any((a != b).any() for a, b in zip(totals(model, one).values(), totals(model, other).values(), strict=True))


@pytest.mark.parametrize(("payload", "propagate", "releases"), [("votes", "local", 3), ("statistics", "dense", 1)])
def test_every_client_is_charged_before_its_message_leaves(
    model: StreamedModel, tmp_path: Path, payload: str, propagate: str, releases: int
) -> None:
    """Once a session, under an identity of its own, with the release that the claim is computed from."""
    events: list[tuple[str, int]] = []
    charged: list[tuple[int, Release, bytes]] = []

    def charge(client: int, release: Release, identity: bytes) -> None:
        events.append(("charge", client))
        charged.append((client, release, identity))

    def watch(place: int, entry: Any) -> None:
        if entry.step == Step.SUBMIT and entry.direction is Direction.RECEIVED:
            events.append(("submit", entry.client))

    chosen = method("distributed", payload=payload, propagate=propagate)
    federation = Federation(
        model,
        WINDOWS,
        chosen,
        WorkFolder(tmp_path),
        thresholds=THRESHOLDS,
        baselines=Baselines(public=PUBLIC),
        charge=charge,
        transcript=Watching(watch),
    )
    federation.run()

    assert len(charged) == 5 * releases
    assert len({(client, identity) for client, _, identity in charged}) == len(charged)
    assert [release for client, release, _ in charged if client == 0] == federation.releases
    for client in range(5):
        own = [kind for kind, who in events if who == client]
        assert own[0] == "charge"
        assert own.count("charge") == releases


@pytest.mark.parametrize(("payload", "releases"), [("votes", 3), ("statistics", 1)])
def test_a_session_held_again_is_one_more_release(
    model: StreamedModel, tmp_path: Path, payload: str, releases: int
) -> None:
    """What clients sent before an interruption was let out, whatever became of it: ledger and claim count it."""
    charged: list[bytes] = []

    def stop(place: int, entry: Any) -> None:
        if entry.step == Step.SUBMIT and entry.direction is Direction.RECEIVED and entry.client == 1:
            raise Interrupted

    propagate = "dense" if payload == "statistics" else "local"
    chosen = method("distributed", payload=payload, propagate=propagate)
    options: dict[str, Any] = {"thresholds": THRESHOLDS, "baselines": Baselines(public=PUBLIC)}
    options["charge"] = lambda client, release, identity: charged.append(identity) if client == 0 else None
    with pytest.raises(Interrupted):
        Federation(model, WINDOWS, chosen, WorkFolder(tmp_path), transcript=Watching(stop), **options).run()
    federation = Federation(model, WINDOWS, chosen, WorkFolder(tmp_path), **options)
    federation.run()

    assert len(federation.releases) == releases
    assert len(federation.releases_made) == len(set(charged)) == releases + 1
    assert epsilon_of(federation.releases_made, 1e-5) > epsilon_of(federation.releases, 1e-5)


@pytest.mark.parametrize(
    ("payload", "noise", "each"), [("votes", "skellam", 1), ("units", "skellam", 1), ("units", "gumbel", 2)]
)
def test_what_is_left_to_release_is_of_unfinished_blocks(
    model: StreamedModel, tmp_path: Path, payload: str, noise: str, each: int
) -> None:
    """However many releases a block makes: all of them before a run, the later blocks' amid it, none after it."""

    def stop(phase: str, done: int, total: int) -> None:
        if done == 1:
            raise Interrupted

    chosen = method(payload=payload, noise=noise)
    options: dict[str, Any] = {"thresholds": THRESHOLDS}
    federation = Federation(model, WINDOWS, chosen, WorkFolder(tmp_path), progress=stop, **options)
    assert len(federation.releases) == 3 * each
    assert federation.releases_left == federation.releases
    with pytest.raises(Interrupted):
        federation.run()
    assert federation.releases_left == federation.releases[each:]

    again = Federation(model, WINDOWS, chosen, WorkFolder(tmp_path), **options)
    assert again.releases_left == again.releases[each:]
    again.run()
    assert again.releases_left == []


def test_a_stored_sum_of_a_survey_leaves_nothing_to_release(model: StreamedModel, tmp_path: Path) -> None:
    """From its one session on, though no block is pruned yet."""

    def stop(phase: str, done: int, total: int) -> None:
        if phase == stopping:
            raise Interrupted

    stopping = "survey"
    options: dict[str, Any] = {"thresholds": THRESHOLDS, "baselines": Baselines(public=PUBLIC), "progress": stop}
    chosen = method(payload="statistics", propagate="dense")
    federation = Federation(model, WINDOWS, chosen, WorkFolder(tmp_path), **options)
    for stopping, left in (("survey", 1), ("prune", 0)):  # noqa: B007 - the closure reads it
        with pytest.raises(Interrupted):
            federation.run()
        assert len(federation.releases_left) == left
    assert len(federation.releases) == 1
    assert federation.finished_blocks() == 0


def test_a_refused_client_sends_nothing(model: StreamedModel, tmp_path: Path) -> None:
    """A budget that would be overspent stops the run before the vector is made into messages."""
    sent: list[int] = []

    def charge(client: int, release: Release, identity: bytes) -> None:
        if client == 2:
            raise BudgetRefused("nothing is left")

    def watch(place: int, entry: Any) -> None:
        if entry.step == Step.SUBMIT and entry.direction is Direction.RECEIVED:
            sent.append(entry.client)

    with pytest.raises(BudgetRefused, match="nothing is left"):
        run(model, tmp_path, method("distributed"), charge=charge, transcript=Watching(watch))
    assert set(sent) == {0, 1}


def test_without_a_target_releases_are_exact(model: StreamedModel, tmp_path: Path) -> None:
    """What a ledger is charged then is infinite."""
    federation = Federation(model, WINDOWS, make_method(), WorkFolder(tmp_path))

    assert [release.mechanism for release in federation.releases] == ["exact"] * 3


def expected_log_energies(model: StreamedModel, folder: Path) -> dict[str, np.ndarray]:
    """Project the clients' mean residual on all directions of the public windows, by a dense decomposition."""
    sources, parts, priors = [], [], []
    for index in range(model.num_blocks):
        for name, energy in load_file(folder / f"survey-{index:04d}.safetensors").items():
            if name.startswith("energy/"):
                logs = np.log(energy.numpy() / 12)
                rows = logs - logs[20:50].mean(0)  # 10 windows of clients, 10 held out, 30 of the prior, 40 synthetic
                sources.append(f"{index}/{name.removeprefix('energy/')}")
                parts.append(rows - rows.mean(1, keepdims=True))
                priors.append(np.log(energy.numpy()[20:50].mean(0)))
    _, _, directions = np.linalg.svd(np.concatenate(parts, 1)[20:90], full_matrices=False)
    mean = np.concatenate(parts, 1)[:10].mean(0)
    shift = directions.T @ (directions @ mean)
    shifts = np.split(shift, np.cumsum([part.shape[1] for part in parts])[:-1])
    return dict(zip(sources, (prior + shift for prior, shift in zip(priors, shifts, strict=True)), strict=True))


@pytest.mark.parametrize("adjacency", ["window-zero-out", "client-zero-out", "window-replace", "client-replace"])
def test_noisy_statistics_follow_private_text(model: StreamedModel, tmp_path: Path, adjacency: str) -> None:
    """With hardly any noise and no clipping: Wanda on the prior shifted by the projected mean residual."""
    chosen = method("distributed", payload="statistics", propagate="dense", adjacency=adjacency, **HARDLY_ANY)
    chosen = replace(chosen, clip=100.0)
    another = Windows(WINDOWS.ids % 12, num_clients=5, per_client=2, length=12)  # a domain of few tokens
    work = run(model, tmp_path, chosen, windows=another, baselines=Baselines(public=PUBLIC))
    federated, public = prune_masks(model, work), prune_masks(model, work, "public")
    energies = expected_log_energies(model, tmp_path)
    wrong, moved = 0, 0
    for index, matrix in matrices_of(model):
        source = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
        stream = ".".join(source.get(part, part) for part in matrix.stream.split("."))
        with model.block(index) as block:
            weight = matrix.view(block.get_parameter(matrix.parameter)).detach().numpy()
        scores = np.log(np.abs(weight)) + 0.5 * energies[f"{index}/{stream}"]
        removed = np.argsort(scores, axis=1)[:, : scores.shape[1] // 2]
        expected = np.zeros(scores.shape, bool)
        np.put_along_axis(expected, removed, True, 1)
        wrong += int((federated[matrix.name].numpy() != expected).sum())
        moved += int((federated[matrix.name] != public[matrix.name]).sum())

    assert len(work.totals_layout(0)) == 1
    assert not work.totals_layout(1)
    assert wrong < 0.1 * moved  # the grid of 100 / 512 moves a few


def test_under_too_much_noise_statistics_are_the_public_prior(model: StreamedModel, tmp_path: Path) -> None:
    """Shrunk away, so that nothing is worse than no client at all."""
    chosen = method("central", payload="statistics", propagate="dense", epsilon=0.01)
    work = run(model, tmp_path, chosen, baselines=Baselines(public=PUBLIC))
    federated, public = prune_masks(model, work), prune_masks(model, work, "public")
    changed = sum(int((federated[name] != mask).sum()) for name, mask in public.items())

    # The prior is made of three quarters of the public windows; the public baseline of all of them.
    assert changed < 0.1 * sum(mask.numel() for mask in public.values())


@pytest.mark.parametrize("public", [None, PUBLIC[:31]], ids=["none", "few"])
def test_statistics_need_public_text(model: StreamedModel, tmp_path: Path, public: torch.Tensor | None) -> None:
    """Prior, basis and clip come from nothing else; the message says how much is needed."""
    chosen = method("central", payload="statistics", propagate="dense")
    with pytest.raises(InputError, match=r"needs public text for prior, basis and clip, at least 32 windows"):
        Federation(model, WINDOWS, chosen, WorkFolder(tmp_path), baselines=Baselines(public=public))


def test_statistics_of_pruned_blocks_take_no_noise(model: StreamedModel, tmp_path: Path) -> None:
    """One window would move all the others' statistics, and there is no one clip."""
    chosen = method("central", payload="statistics", propagate="global")
    with pytest.raises(InputError, match="payload=statistics takes noise with propagate=dense only"):
        Federation(model, WINDOWS, chosen, WorkFolder(tmp_path))


def test_no_vote_is_a_windows_own(model: StreamedModel, tmp_path: Path) -> None:
    """window-zero-out has no meaning for a mask that all of a client's windows made."""
    federation = Federation(model, WINDOWS, method(adjacency="window-zero-out"), WorkFolder(tmp_path))
    with pytest.raises(InputError, match="adjacency=window-zero-out has no meaning for votes"):
        federation.run()


def test_shares_that_the_server_sees_are_refused(model: StreamedModel, tmp_path: Path) -> None:
    """Distributed noise under plain protects nothing."""
    chosen = make_method(privacy=target("distributed"))
    with pytest.raises(InputError, match="dp=distributed does not go with protocol=plain"):
        run(model, tmp_path, chosen)


def test_public_text_that_is_a_clients_is_refused(model: StreamedModel, tmp_path: Path) -> None:
    """What is made of public text is released without noise; one window in common is one too many."""
    mixed = torch.cat([PUBLIC, WINDOWS.ids[3:4]])
    for payload, propagate in (("statistics", "dense"), ("votes", "local")):
        chosen = method("central", payload=payload, propagate=propagate)
        with pytest.raises(InputError, match="a client's window stands among the public windows"):
            Federation(model, WINDOWS, chosen, WorkFolder(tmp_path / payload), baselines=Baselines(public=mixed))
    Federation(model, WINDOWS, make_method(), WorkFolder(tmp_path / "exact"), baselines=Baselines(public=mixed))


def test_a_sparse_graph_claims_no_lying_server() -> None:
    """Enough honest shares in a sum are guaranteed there only if the server follows the protocol."""
    shared = target("distributed")

    assert shared.adversary("additive", assumed_colluders=2) == "server with 2 colluding clients"
    assert shared.adversary("additive", assumed_colluders=2, is_sparse=True) == (
        "server that follows the protocol, with 2 colluding clients"
    )
