"""What a run does beside computing the right votes: resume, dropouts, many clients, refusals."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedprllm_secure.artifacts import count_sparsity
from fedprllm_secure.data.windows import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.federation import Federation
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines, local_variant
from fedprllm_secure.variants import scaled
from fedprllm_secure.work import FEDERATED, BlockRecord, WorkFolder
from protocols import Direction, Step
from tests.fedprllm_secure.conftest import Checkpoints, Watching
from tests.fedprllm_secure.oracle import Oracle, count_votes
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

WINDOWS = random_windows(3, 3, 12, seed=3)


class Interrupted(Exception):
    """The run was killed."""


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoints) -> StreamedModel:
    """A LLaMA of three blocks, in float64."""
    return StreamedModel(checkpoint("llama", torch.float64), device=CPU, dtype=torch.float64)


@pytest.fixture(scope="module")
def oracle(checkpoint: Checkpoints) -> Oracle:
    """The same LLaMA in the oracle's hands."""
    return Oracle(checkpoint("llama", torch.float64))


def block_tensors(folder: Path) -> dict[str, Tensor]:
    """Read every tensor that finished blocks left."""
    return {
        f"{file.name}/{name}": tensor
        for file in folder.glob("block-*.safetensors")
        for name, tensor in load_file(file).items()
    }


def opened_sessions(folder: Path) -> int:
    """Read how many session numbers were taken."""
    return json.loads((folder / "sessions.json").read_text())["opened"]


RESUMED = pytest.mark.parametrize("propagate", ["local", "global", "dense"])


@RESUMED
@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_run_goes_on_after_the_last_finished_block(
    model: StreamedModel, tmp_path: Path, propagate: str, done: int
) -> None:
    """Interrupted between blocks and resumed, a run leaves the same bytes and repeats no session."""
    method, sessions = make_method("0.45", propagate), Counter()
    baselines = Baselines(central=True, local_only=(1,), public=random_windows(1, 2, 12, seed=8).ids, magnitude=True)
    options = {"baselines": baselines, "batch_windows": 4}
    run_federation(model, WINDOWS, method, tmp_path / "whole", **options)

    def stop(phase: str, finished: int, total: int) -> None:
        if finished == done:
            raise Interrupted

    def watch(block: int, entry: Any) -> None:
        sessions[block] += entry.step == Step.SUBMIT and entry.direction is Direction.RECEIVED

    work = WorkFolder(tmp_path / "parts")
    with pytest.raises(Interrupted):
        Federation(model, WINDOWS, method, work, progress=stop, transcript=Watching(watch), **options).run()
    before = {block: count for block, count in sessions.items() if count}
    assert sorted(before) == list(range(done))
    # A new process: the model is opened anew and has recorded nothing.
    fresh = StreamedModel(model.checkpoint.folder, device=CPU, dtype=torch.float64)
    Federation(fresh, WINDOWS, method, WorkFolder(tmp_path / "parts"), transcript=Watching(watch), **options).run()
    assert {block: sessions[block] for block in before} == before
    assert sorted(sessions) == [0, 1, 2]
    assert len(set(sessions.values())) == 1
    assert opened_sessions(tmp_path / "parts") == (3 if propagate == "global" else 3 + 3 - done)
    assert_same(block_tensors(tmp_path / "parts"), block_tensors(tmp_path / "whole"))


@RESUMED
@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SUBMIT], ids=["advertise", "submit"])
def test_an_interrupted_session_is_not_continued_under_its_number(
    model: StreamedModel, tmp_path: Path, propagate: str, step: Step
) -> None:
    """A block interrupted amid its session starts over with a new number, and so do all that were opened with it."""
    method = make_method("0.45", propagate)

    def stop(block: int, entry: Any) -> None:
        if block == 1 and entry.step == step and entry.direction is Direction.RECEIVED:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_federation(model, WINDOWS, method, tmp_path / "parts", transcript=Watching(stop))
    finished = WorkFolder(tmp_path / "parts").finished_blocks()
    opened = 2 if propagate == "global" else 3
    assert finished == (0 if propagate != "global" and step is Step.ADVERTISE else 1)
    assert opened_sessions(tmp_path / "parts") == opened
    run_federation(model, WINDOWS, method, tmp_path / "parts")
    assert opened_sessions(tmp_path / "parts") == opened + 3 - finished
    run_federation(model, WINDOWS, method, tmp_path / "whole")
    assert_same(block_tensors(tmp_path / "parts"), block_tensors(tmp_path / "whole"))


def test_a_finished_run_is_not_repeated(model: StreamedModel, tmp_path: Path) -> None:
    """Running again in a finished folder opens no session."""
    run_federation(model, WINDOWS, make_method(), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    run_federation(model, WINDOWS, make_method(), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_session_numbers_never_repeat(tmp_path: Path) -> None:
    """Numbers go on over folders opened anew."""
    numbers = [WorkFolder(tmp_path / "work").next_session_number() for _ in range(5)]
    assert numbers == [0, 1, 2, 3, 4]
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE, Step.SUBMIT], ids=lambda step: step.name.lower())
def test_a_clients_votes_go_with_it(model: StreamedModel, oracle: Oracle, tmp_path: Path, step: Step) -> None:
    """A dropped client is no survivor, its votes are not in the totals, and scaling divides by those left."""
    work = run_federation(
        model,
        WINDOWS,
        make_method("0.45", "local"),
        tmp_path,
        batch_windows=4,
        dropouts=lambda block: {step: frozenset({1})} if block == 1 else {},
    )
    assert [work.record(index).survivors for index in range(3)] == [[0, 1, 2], [0, 2], [0, 1, 2]]
    clients = oracle.local_rounds([WINDOWS.of(client) for client in range(3)], "0.45", "row", prune=True).masks
    everyone, without = count_votes(clients), count_votes([clients[0], clients[2]])
    votes = {name: (without if ".layers.1." in name else everyone)[name] for name in everyone}
    assert_same(totals(model, work), votes)
    assert_same(prune_masks(model, work), oracle.server(votes, "0.45", "layer", "magnitude", 0))
    edit = scaled(model, work)
    for index, matrix in matrices_of(model):
        left = 2 if index == 1 else 3
        expected = oracle.weights[matrix.name] * (left - votes[matrix.name]) / left
        found = edit(index, matrix, oracle.weights[matrix.name])
        kept = ~work.prune_mask(index, matrix)
        torch.testing.assert_close(found[kept], expected[kept], rtol=1e-14, atol=0)
        assert not found[~kept].any()


@pytest.mark.parametrize("clients", [200, pytest.param(300, marks=pytest.mark.slow)])
def test_many_unanimous_clients(checkpoint: Checkpoints, tmp_path: Path, clients: int) -> None:
    """Votes of more clients than a byte counts, signed or not, neither wrap nor lose their order."""
    model = StreamedModel(checkpoint("llama", torch.float64, blocks=1), device=CPU)
    window = random_windows(1, 1, 4, seed=1).ids
    windows = Windows(window.repeat(clients, 1), num_clients=clients, per_client=1, length=4)
    method = make_method("0.5", "dense", group="row", local_group="row")
    work = run_federation(
        model, windows, method, tmp_path, batch_windows=64, baselines=Baselines(local_only=(0, clients - 1))
    )
    alone = prune_masks(model, work, local_variant(0))
    assert_same(prune_masks(model, work, local_variant(clients - 1)), alone)
    assert_same(prune_masks(model, work), alone)
    assert_same(totals(model, work), {name: mask.to(torch.int64) * clients for name, mask in alone.items()})
    assert work.record(0).survivors == list(range(clients))


def broken_opt(checkpoint: Checkpoints, folder: Path, tensor: str, position: int) -> StreamedModel:
    """Copy the OPT checkpoint with one entry (or row) of a tensor at infinity."""
    source = checkpoint("opt", torch.float32)
    for file in source.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(source / "model.safetensors")
    tensors[tensor][position] = math.inf
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return StreamedModel(folder, device=CPU)


def test_activations_that_overflow_are_refused(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """The message names matrix, channel and client; the blocks before stay finished."""
    broken = broken_opt(checkpoint, tmp_path, "model.decoder.layers.1.fc1.bias", 5)
    with pytest.raises(
        InputError, match=r"entering model\.decoder\.layers\.1\.fc2, channel 5, are not finite for client 0"
    ):
        run_federation(broken, random_windows(2, 1, 8), make_method("0.5", "dense"), tmp_path / "work")
    assert WorkFolder(tmp_path / "work").finished_blocks() == 1


def test_the_client_whose_activations_overflow_is_named(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """Only the client whose text has the token is named, and no block counts as finished."""
    broken = broken_opt(checkpoint, tmp_path, "model.decoder.embed_tokens.weight", 96)
    ids = random_windows(3, 2, 8).ids.clamp(max=90)
    ids[3, 2] = 96
    with pytest.raises(InputError, match=r"channel \d+, are not finite for client 1"):
        run_federation(broken, Windows(ids, num_clients=3, per_client=2, length=8), make_method(), tmp_path / "work")
    assert WorkFolder(tmp_path / "work").finished_blocks() == 0


def test_central_under_dense_is_one_client_with_all_windows(model: StreamedModel, tmp_path: Path) -> None:
    """Adding up the clients' sums gives what one party with all windows computes."""
    method = make_method("0.45", "dense", group="row")
    work = run_federation(model, WINDOWS, method, tmp_path / "many", baselines=Baselines(central=True))
    pooled = Windows(WINDOWS.ids, num_clients=1, per_client=9, length=12)
    one = run_federation(model, pooled, method, tmp_path / "one", batch_windows=2)
    assert_same(prune_masks(model, work, "central"), prune_masks(model, one))


def test_baselines_do_not_touch_the_federation(model: StreamedModel, tmp_path: Path) -> None:
    """The same votes with and without baselines, under every name asked for."""
    baselines = Baselines(central=True, local_only=(0, 2), public=random_windows(1, 1, 12).ids, magnitude=True)
    for propagate in ("local", "global", "dense"):
        method = make_method("0.45", propagate)
        plain = run_federation(model, WINDOWS, method, tmp_path / propagate / "plain")
        work = run_federation(model, WINDOWS, method, tmp_path / propagate / "all", baselines=baselines)
        assert set(work.variants()) == {FEDERATED, "central", "public", "magnitude", "local-0", "local-2"}
        assert plain.variants() == [FEDERATED]
        assert_same(totals(model, work), totals(model, plain))
        assert_same(prune_masks(model, work), prune_masks(model, plain))


def test_the_magnitude_baseline_needs_no_data(model: StreamedModel, oracle: Oracle, tmp_path: Path) -> None:
    """It removes the smallest weights of every local group; so does the magnitude pruner at every client."""
    method = make_method("0.5", "dense", pruner="magnitude")
    work = run_federation(model, WINDOWS, method, tmp_path, baselines=Baselines(magnitude=True))
    masks = prune_masks(model, work, "magnitude")
    for name, mask in masks.items():
        order = oracle.weights[name].abs().argsort(dim=1, stable=True)[:, : mask.shape[1] // 2]
        assert torch.equal(mask, torch.zeros_like(mask).scatter(1, order, True))
    assert_same(totals(model, work), {name: 3 * mask.to(torch.int64) for name, mask in masks.items()})


def test_public_windows_of_another_length_are_refused(model: StreamedModel, tmp_path: Path) -> None:
    """The message gives both lengths."""
    baselines = Baselines(public=random_windows(1, 1, 10).ids)
    with pytest.raises(InputError, match="public windows have 10 tokens, clients' 12"):
        Federation(model, WINDOWS, make_method(), WorkFolder(tmp_path), baselines=baselines)


@pytest.mark.parametrize("whose", ["the clients' windows", "the public windows"])
def test_tokens_that_the_model_lacks_are_refused(model: StreamedModel, tmp_path: Path, whose: str) -> None:
    """The message says whose windows hold them, and no session is opened."""
    unknown = random_windows(3, 3, 12, seed=3)
    unknown.ids[4, 7] = 97
    lowest = int(unknown.ids.min())
    is_public = whose == "the public windows"
    baselines = Baselines(public=unknown.ids if is_public else None)
    with pytest.raises(InputError, match=f"{whose} hold token ids from {lowest} to 97, the model knows 0 to 96"):
        run_federation(model, WINDOWS if is_public else unknown, make_method(), tmp_path, baselines=baselines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stranger", [-1, 3, 7])
def test_a_stranger_cannot_prune_alone(model: StreamedModel, tmp_path: Path, stranger: int) -> None:
    """Clients are numbered from 0, and the message names the one that is none."""
    baselines = Baselines(local_only=(1, stranger))
    with pytest.raises(InputError, match=f"local_only={stranger} must be one of the 3 clients, from 0"):
        Federation(model, WINDOWS, make_method(), WorkFolder(tmp_path), baselines=baselines)


def test_public_windows_that_are_none_are_refused(model: StreamedModel, tmp_path: Path) -> None:
    """Nothing could be calibrated on no window."""
    baselines = Baselines(public=WINDOWS.ids[:0])
    with pytest.raises(InputError, match="public windows must be at least one; give None for no public baseline"):
        Federation(model, WINDOWS, make_method(), WorkFolder(tmp_path), baselines=baselines)


def test_a_pattern_that_fits_no_matrix_is_refused_before_any_session(model: StreamedModel, tmp_path: Path) -> None:
    """32 inputs are no multiple of 5."""
    with pytest.raises(InputError, match=r"5 does not divide the 32 inputs of model\.layers\.0\.self_attn\.q_proj"):
        run_federation(model, WINDOWS, make_method("2:5"), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert not (tmp_path / "sessions.json").exists()


@pytest.mark.parametrize("field", ["pruner", "group", "local_group", "ties", "payload", "protocol"])
def test_unknown_names_are_refused(field: str) -> None:
    """The message names the field and lists what there is."""
    with pytest.raises(InputError, match=rf"{field}=other must be one of \w+"):
        make_method(**{field: "other"})


def test_a_block_file_cut_short_is_refused(model: StreamedModel, tmp_path: Path) -> None:
    """Every way of reading it names the file and says what to do."""
    work = run_federation(model, WINDOWS, make_method(), tmp_path)
    file = tmp_path / "block-0001.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    index, matrix = next(entry for entry in matrices_of(model) if entry[0] == 1)
    for read in (
        work.record,
        work.variants,
        lambda _: work.totals(index, matrix),
        lambda _: work.prune_mask(index, matrix),
    ):
        with pytest.raises(InputError, match=r"block-0001\.safetensors cannot be read or was cut short"):
            read(1)


def test_hidden_states_cut_short_are_refused(model: StreamedModel, tmp_path: Path) -> None:
    """A resumed run does not go on from half a file."""

    def stop(phase: str, finished: int, total: int) -> None:
        if finished == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_federation(model, WINDOWS, make_method(), tmp_path, progress=stop)
    file = tmp_path / "hidden-0002.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"hidden-0002\.bin has \d+ bytes instead of \d+: it was cut short"):
        run_federation(model, WINDOWS, make_method(), tmp_path)


def test_only_the_newest_hidden_states_are_kept(model: StreamedModel, tmp_path: Path) -> None:
    """Finished blocks leave their own file; hidden states are kept once, and nothing is half written."""
    run_federation(model, WINDOWS, make_method(), tmp_path)
    blocks = [f"block-{index:04d}.safetensors" for index in range(3)]
    claim = ["federation.json", "hidden-0003.bin", "key", "lock", "sessions.json", "submitted.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*blocks, *claim]


@pytest.mark.parametrize("highest", [0, 255, 256, 32767, 32768, 10**6, 2**31 - 1, 2**31])
def test_totals_of_every_size_are_kept_exactly(model: StreamedModel, tmp_path: Path, highest: int) -> None:
    """Totals are stored as narrow as they fit, and read back as they were."""
    federation = Federation(model, WINDOWS, make_method(), WorkFolder(tmp_path))
    (_, matrix), *_ = matrices_of(model)
    votes = torch.full(matrix.shape, highest, dtype=torch.int64)
    votes[0, 0] = 0
    masks = {FEDERATED: {matrix.name: torch.rand(matrix.shape) < 0.5}}
    federation.work.save_block(0, BlockRecord([0, 1]), {matrix.name: votes}, masks)
    stored = federation.work.totals(0, matrix)
    assert stored.dtype == (torch.int32 if highest < 2**31 else torch.int64)
    assert torch.equal(stored.to(torch.int64), votes)
    assert torch.equal(federation.work.prune_mask(0, matrix), masks[FEDERATED][matrix.name])
    assert federation.work.record(0).survivors == [0, 1]


def test_counted_sparsity(model: StreamedModel, tmp_path: Path) -> None:
    """The weights removed, and those all clients voted for that stay, are counted from masks and totals."""
    work = run_federation(model, WINDOWS, make_method("0.3"), tmp_path)
    masks, votes = prune_masks(model, work), totals(model, work)
    found = count_sparsity(model, work)
    removed, prunable = sum(int(m.sum()) for m in masks.values()), sum(m.numel() for m in masks.values())
    assert (found["removed_weights"], found["prunable_weights"]) == (removed, prunable)
    assert found["achieved_fraction"] == removed / prunable
    assert found["unanimous_but_kept_weights"] == sum(int(((votes[n] == 3) & ~masks[n]).sum()) for n in masks)
    assert found["fraction_by_matrix"] == {name: mask.sum().item() / mask.numel() for name, mask in masks.items()}


def test_the_callbacks_tell_how_far_it_is(model: StreamedModel, tmp_path: Path) -> None:
    """Progress counts blocks from 0 to all."""
    seen: list[tuple[str, int, int]] = []
    run_federation(model, WINDOWS, make_method(), tmp_path, progress=lambda *args: seen.append(args))
    assert seen == [("prune", done, 3) for done in range(4)]
