"""The payload of statistics: sums are centralized Wanda, whatever the protocol; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.errors import InputError
from fedprllm_secure.federation import Federation
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines, local_variant
from fedprllm_secure.payloads import PartyView, Statistics
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.survey_state import SurveyState
from fedprllm_secure.work import WorkFolder
from protocols import Direction, Step
from tests.fedprllm_secure.conftest import Checkpoints, Watching
from tests.fedprllm_secure.tiny_models import (
    CPU,
    assert_same,
    make_method,
    prune_masks,
    random_windows,
    run_federation,
)

WINDOWS = random_windows(4, 2, 12, seed=3)
ALL = Baselines(central=True, local_only=(1,), public=random_windows(1, 3, 12, seed=8).ids, magnitude=True)


class Interrupted(Exception):
    """The run was killed."""


def model_of(checkpoint: Checkpoints, family: str = "llama") -> StreamedModel:
    """A tiny model in float32."""
    return StreamedModel(checkpoint(family, torch.float32), device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("propagate", ["dense", "global"])
@pytest.mark.parametrize("protocol", ["plain", "additive", "bfv", "ckks"])
def test_the_result_is_centralized_wanda(
    checkpoint: Checkpoints, tmp_path: Path, propagate: str, protocol: str
) -> None:
    """Bit for bit: in one session for all blocks, or in one a block along the server's own pruned blocks."""
    model = model_of(checkpoint)
    method = make_method("0.45", propagate, payload="statistics", protocol=protocol, group="row")
    work = run_federation(model, WINDOWS, method, tmp_path, baselines=Baselines(central=True))

    assert sum(work.record(index).undecided_weights for index in range(model.num_blocks)) == 0
    # Under global propagation the central baseline goes its own way from block to block, and takes the same one.
    assert_same(prune_masks(model, work), prune_masks(model, work, "central"))


@pytest.mark.parametrize("family", ["opt", "gpt2", "mixtral", "gemma2"])
def test_other_families(checkpoint: Checkpoints, tmp_path: Path, family: str) -> None:
    """Biases, transposed weights, experts that some clients never reach, local attention."""
    model = model_of(checkpoint, family)
    method = make_method("0.5", "dense", payload="statistics", protocol="additive", group="row")
    work = run_federation(model, WINDOWS, method, tmp_path, baselines=Baselines(central=True))

    assert_same(prune_masks(model, work), prune_masks(model, work, "central"))


@pytest.mark.parametrize(("sparsity", "group"), [("2:4", "row"), ("0.3", "layer"), ("0.3", "column")])
def test_groups_and_patterns_are_the_servers_choice(
    checkpoint: Checkpoints, tmp_path: Path, sparsity: str, group: str
) -> None:
    """The sums are the same; the server prunes by them as it likes."""
    model = model_of(checkpoint)
    method = make_method(sparsity, "dense", payload="statistics", group=group, local_group=group)
    work = run_federation(model, WINDOWS, method, tmp_path, baselines=Baselines(central=True))

    assert_same(prune_masks(model, work), prune_masks(model, work, "central"))


def test_baselines_are_those_of_votes(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """Local-only, public-only and magnitude do not depend on what is shared."""
    model = model_of(checkpoint)
    found = {}
    for payload in ("votes", "statistics"):
        method = make_method("0.45", "dense", payload=payload)
        work = run_federation(model, WINDOWS, method, tmp_path / payload, baselines=ALL)
        assert set(work.variants()) == {"federated", "central", "public", "magnitude", "local-1"}
        found[payload] = {name: prune_masks(model, work, name) for name in work.variants() if name != "federated"}
    for name in (local_variant(1), "public", "magnitude", "central"):
        assert_same(found["votes"][name], found["statistics"][name])


def test_dropouts_leave_the_survivors_sum(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """Without a client, the result is that of a run without it."""
    model = model_of(checkpoint)
    method = make_method("0.45", "dense", payload="statistics", protocol="additive")
    work = run_federation(model, WINDOWS, method, tmp_path / "a", dropouts=lambda _: {Step.SUBMIT: frozenset({3})})
    fewer = random_windows(4, 2, 12, seed=3)
    fewer = type(fewer)(fewer.ids[:6], num_clients=3, per_client=2, length=12)
    alone = run_federation(model, fewer, method, tmp_path / "b")

    assert work.record(1).survivors == [0, 1, 2]
    assert_same(prune_masks(model, work), prune_masks(model, alone))


@pytest.mark.parametrize("stop_at", ["survey", "session", "prune"])
def test_a_surveyed_run_goes_on_where_it_stopped(checkpoint: Checkpoints, tmp_path: Path, stop_at: str) -> None:
    """Amid the survey, amid its session, amid pruning: the same masks, and no session is repeated once it is over."""
    model = model_of(checkpoint)
    method = make_method("0.45", "dense", payload="statistics", protocol="additive")
    whole = run_federation(model, WINDOWS, method, tmp_path / "whole", baselines=ALL)

    def progress(phase: str, done: int, total: int) -> None:
        if phase == stop_at and done == 1:
            raise Interrupted

    def transcript(place: int, entry: Any) -> None:
        if stop_at == "session" and entry.step == Step.SUBMIT and entry.direction is Direction.RECEIVED:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_federation(
            model,
            WINDOWS,
            method,
            tmp_path / "parts",
            baselines=ALL,
            progress=progress,
            transcript=Watching(transcript),
        )
    work = run_federation(model_of(checkpoint), WINDOWS, method, tmp_path / "parts", baselines=ALL)
    opened = json.loads((tmp_path / "parts" / "sessions.json").read_text())["opened"]

    assert opened == (2 if stop_at == "session" else 1)
    for variant in whole.variants():
        assert_same(prune_masks(model, work, variant), prune_masks(model, whole, variant))


def test_one_session_and_every_input_once(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """q, k and v share an input, gate and up another: four vectors a block, in one session for all blocks."""
    model = model_of(checkpoint)
    method = make_method("0.45", "dense", payload="statistics")
    seen: set[int] = set()
    work = run_federation(
        model, WINDOWS, method, tmp_path, transcript=Watching(lambda place, _: seen.add(place)), baselines=Baselines()
    )
    names = [name for index in range(model.num_blocks) for name in work.totals_layout(index)]

    assert seen == {0}
    assert len(names) == 4 * model.num_blocks
    firsts = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
    assert set(names[:4]) == {f"model.layers.0.{name}.input" for name in firsts}
    assert work.record(0).cost_by_step["submit"]["client_up_max_bytes"] > 0
    assert work.record(1).cost_by_step["submit"]["client_up_max_bytes"] == 0


def test_entries_at_the_size_of_llama_7b() -> None:
    """745,472 entries instead of 6.476 billion votes."""
    shapes = {"q": (4096, 4096), "k": (4096, 4096), "v": (4096, 4096), "o": (4096, 4096)}
    shapes |= {"gate": (11008, 4096), "up": (11008, 4096), "down": (4096, 11008)}
    matrices = [SimpleNamespace(name=f"layers.0.{n}", stream=n, shape=s, region=()) for n, s in shapes.items()]
    view = PartyView(matrices, lambda _: torch.empty(0), {"k": "q", "v": "q", "up": "gate"})
    specs = Statistics(sparsity=Sparsity.parse("0.5")).specs(view)

    assert 32 * sum(spec.length for spec in specs) == 745_472
    assert 32 * sum(rows * columns for rows, columns in shapes.values()) == 6_476_005_376


def one_matrix(weight: torch.Tensor, energy: torch.Tensor | None) -> PartyView:
    """A block of one matrix, seen by one party."""
    matrix = SimpleNamespace(name="m", stream="s", shape=tuple(weight.shape), region=())
    return PartyView([matrix], lambda _: weight, {"s": "s"}, {"s": energy})


def test_an_entry_above_the_bound_is_an_error_that_names_it() -> None:
    """Never a clip: the message names layer and channel and says what would do."""
    payload = Statistics(sparsity=Sparsity.parse("0.5"), bound=2**20, exponents={"m.input": 10})
    energy = torch.tensor([1.0, 2.0**10, 1024.5], dtype=torch.float64)
    assert payload.vectors(one_matrix(torch.ones(2, 3), energy.clamp(max=1024)), None)["m.input"].max() == 2**20
    with pytest.raises(
        InputError, match=r"m\.input, channel 2: a client's energy is more than 1\.0 times.*--public-data"
    ):
        payload.vectors(one_matrix(torch.ones(2, 3), energy), None)


def test_the_unit_is_set_by_the_largest_public_channel() -> None:
    """32 times its norm, for a client of as many tokens, still fits; 46 times does not."""
    public = one_matrix(torch.ones(2, 3), torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64))
    payload = Statistics(sparsity=Sparsity.parse("0.5"), bound=2**40).prepared(public, share=0.25)
    fits = one_matrix(torch.ones(2, 3), torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64) * 0.25 * 32**2)

    assert int(payload.vectors(fits, None)["m.input"].max()) <= 2**40
    with pytest.raises(InputError, match="channel 1"):
        payload.vectors(one_matrix(torch.ones(2, 3), fits.energies["s"] * 2.1), None)


@pytest.mark.parametrize("group", ["row", "layer", "column"])
def test_rounding_moves_only_weights_that_are_counted(group: str) -> None:
    """With coarse units the result differs from the exact one only where it is said that it may."""
    generator = torch.Generator().manual_seed(0)
    for seed in range(5):
        weight = torch.randn(40, 60, generator=generator)
        energy = torch.rand(60, dtype=torch.float64, generator=generator) + 0.01
        payload = Statistics(sparsity=Sparsity.parse("0.5"), group=group, bound=2**30, exponents={"m.input": 5 + seed})
        view = one_matrix(weight, energy)
        totals = {"m.input": payload.vectors(view, None)["m.input"].numpy()}
        rounded, exact = payload.choose(view, totals, survivors=1)["m"], payload.prune(view)["m"]
        counted = payload.undecided(view, totals, survivors=1)

        assert int((rounded != exact).sum()) <= counted < weight.numel()
    finest = Statistics(sparsity=Sparsity.parse("0.5"), group=group, exponents={"m.input": 45})
    totals = {"m.input": finest.vectors(view, None)["m.input"].numpy()}
    assert finest.undecided(view, totals, survivors=1) == 0


def test_local_propagation_is_refused() -> None:
    """A client that shares no mask has no pruned block of its own."""
    with pytest.raises(InputError, match="propagate=local does not go with payload=statistics"):
        make_method("0.5", "local", payload="statistics")


def test_a_run_without_public_text_sets_the_unit_by_drawn_tokens(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """Uniform tokens are public, and the same for every party."""
    model = model_of(checkpoint)
    method = make_method("0.45", "dense", payload="statistics")
    federation = Federation(model, WINDOWS, method, WorkFolder(tmp_path / "a"), baselines=Baselines(central=True))

    assert federation.parties.public == 4
    assert federation.parties.variant(4) is None
    federation.run()
    again = run_federation(model, WINDOWS, method, tmp_path / "b", baselines=ALL)
    assert_same(prune_masks(model, federation.work), prune_masks(model, again))


def test_each_party_reads_its_own_rows_of_a_block_once(
    checkpoint: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client looks at no other's windows, and the whole of a block is read once, when it is pruned."""
    reads: list[tuple[int, slice | None]] = []
    block = SurveyState.block

    def noted(self: SurveyState, index: int, rows: slice | None = None) -> InputEnergy:
        reads.append((index, rows))
        return block(self, index, rows)

    monkeypatch.setattr(SurveyState, "block", noted)
    model = model_of(checkpoint)
    run_federation(model, WINDOWS, make_method("0.45", "dense", payload="statistics"), tmp_path, baselines=ALL)

    own = [slice(start, start + 2) for start in range(0, 8, 2)]
    for index in range(model.num_blocks):
        assert [rows for place, rows in reads if place == index] == [slice(8, 11), *own, None]


def test_rows_of_a_survey_are_read_alone(tmp_path: Path) -> None:
    """They are numbered from 0; an expert that none of them reached has no energy, though another's rows have."""
    sums = InputEnergy(5)
    sums.sources = {"q": "q", "expert": "expert"}
    sums.add("q", torch.arange(5), torch.arange(20.0).view(5, 4), 3)
    sums.add("expert", torch.tensor([4]), torch.ones(1, 2), 1)
    state = SurveyState(tmp_path, num_segments=5)
    state.save_block(0, sums, {})

    part = state.block(0, slice(1, 3)).of(slice(None))
    assert part["expert"] is None
    assert part["q"] is not None
    assert part["q"].tolist() == [12, 14, 16, 18]
    assert state.block(0, slice(1, 3)).sources == sums.sources
    whole = state.block(0)
    assert torch.equal(whole.energies["q"], sums.energies["q"])
    assert torch.equal(whole.tokens["expert"], sums.tokens["expert"])
