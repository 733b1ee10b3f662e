"""Whole runs in which heads and neurons are voted on: exact, noisy, and by noisy choice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import perplexities
from fedprllm_secure.federation import Federation
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import unit_kinds
from fedprllm_secure.parties import Baselines
from fedprllm_secure.privacy import epsilon_of
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.smaller_model import save_smaller_model
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.variants import masked
from fedprllm_secure.work import FEDERATED, WorkFolder
from protocols import PROTOCOLS
from tests.fedprllm_secure.tiny_models import (
    CPU,
    assert_same,
    make_method,
    prune_masks,
    random_windows,
    run_federation,
)
from tests.fedprllm_secure.unit_models import UNIT_FAMILIES, save_random

# A LLaMA with 8 heads that share 4 key-value heads, and 40 neurons: 4 and 40 units a block.
WINDOWS = random_windows(5, 2, 12, seed=3)
THRESHOLDS = Thresholds(recovery_threshold=4, minimum_survivors=4, assumed_colluders=1)
COUNTS = {"heads": 4, "neurons": 40}
PROPAGATIONS = ["local", "dense", "global"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamedModel:
    """A LLaMA of two blocks."""
    folder = save_random(UNIT_FAMILIES["llama"](), tmp_path_factory.mktemp("llama"), torch.float64)
    return StreamedModel(folder, device=CPU, dtype=torch.float64)


def method(place: str | None = None, *, sparsity: str = "0.5", propagate: str = "local", **changes: Any) -> Any:
    """A method that votes on units; private if a place is given, of epsilon 2 about clients."""
    protocol = changes.pop("protocol", "additive" if place == "distributed" else "plain")
    privacy = None
    if place is not None:
        fields: dict[str, Any] = {"place": place, "adjacency": "client-zero-out", "delta": 1e-5, "epsilon": 2.0}
        privacy = PrivacyTarget(**(fields | changes))
    return make_method(sparsity, propagate, payload="units", protocol=protocol, privacy=privacy)


def run(model: StreamedModel, folder: Path, chosen: Any, **options: Any) -> WorkFolder:
    """Run it with thresholds that leave room for one colluder."""
    return run_federation(model, WINDOWS, chosen, folder, thresholds=THRESHOLDS, **options)


def removed_units(model: StreamedModel, work: WorkFolder, variant: str = FEDERATED) -> dict[str, torch.Tensor]:
    """Which units a variant removes whole, bool (units,) by kind; raises if a unit goes in part."""
    found = {}
    for index in range(model.num_blocks):
        for kind in unit_kinds(model, index):
            found[kind.name] = kind.removed(
                {member.matrix.name: work.prune_mask(index, member.matrix, variant) for member in kind.members}
            )
    return found


def stored_names(work: WorkFolder) -> set[str]:
    """Every tensor that finished blocks hold, whatever it is called."""
    names: set[str] = set()
    for file in work.folder.glob("block-*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            names |= set(opened.keys())
    return names


@pytest.fixture(scope="module")
def exact(model: StreamedModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, WorkFolder]:
    """Runs under plain without noise, by propagation."""
    place = tmp_path_factory.mktemp("exact")
    baselines = Baselines(central=True, local_only=(0, 1, 2, 3, 4))
    return {
        name: run(model, place / name, method(propagate=name), baselines=baselines if name == "local" else None)
        for name in PROPAGATIONS
    }


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "plain"])
def test_every_protocol_gives_the_units_of_plain(
    model: StreamedModel, exact: dict[str, WorkFolder], tmp_path: Path, protocol: str
) -> None:
    """Masks and totals, bit for bit."""
    found = run(model, tmp_path, method(protocol=protocol))

    assert_same(prune_masks(model, found), prune_masks(model, exact["local"]))
    for index in range(model.num_blocks):
        for kind in unit_kinds(model, index):
            assert torch.equal(found.total(index, kind.name), exact["local"].total(index, kind.name))


@pytest.mark.parametrize("propagate", PROPAGATIONS)
def test_as_many_units_go_in_every_block(model: StreamedModel, exact: dict[str, WorkFolder], propagate: str) -> None:
    """Half of the heads and half of the neurons, each whole, the ones with most votes."""
    work = exact[propagate]
    removed = removed_units(model, work)

    assert len(removed) == 2 * model.num_blocks
    for index in range(model.num_blocks):
        for kind in unit_kinds(model, index):
            gone, votes = removed[kind.name], work.total(index, kind.name)
            assert int(gone.sum()) == COUNTS[kind.kind] // 2
            assert int(votes[gone].min()) >= int(votes[~gone].max())


@pytest.mark.parametrize(("sparsity", "heads", "neurons"), [("0.24", 0, 9), ("0.25", 1, 10), ("0.75", 3, 30)])
def test_counts_are_rounded_down(model: StreamedModel, tmp_path: Path, sparsity: str, heads: int, neurons: int) -> None:
    """Per kind, in every block."""
    removed = removed_units(model, run(model, tmp_path, method(sparsity=sparsity)))

    assert [int(gone.sum()) for gone in removed.values()] == [heads, neurons] * model.num_blocks


def test_totals_are_the_sum_of_what_clients_would_remove(model: StreamedModel, exact: dict[str, WorkFolder]) -> None:
    """Each client's own decision counts 1 for a unit that it removes; the first block hangs on nothing before it."""
    work = exact["local"]
    alone = [removed_units(model, work, f"local-{client}") for client in range(5)]
    for index in range(model.num_blocks):
        for kind in unit_kinds(model, index):
            expected = torch.stack([own[kind.name] for own in alone]).sum(0)
            assert torch.equal(work.total(index, kind.name).long(), expected)
    assert len({tuple(own["model.layers.0.neurons"].tolist()) for own in alone}) > 1  # or the test shows nothing


@pytest.mark.parametrize("place", ["central", "distributed"])
@pytest.mark.parametrize("propagate", PROPAGATIONS)
@pytest.mark.parametrize("noise", ["skellam", "discrete-gaussian"])
def test_with_hardly_any_noise_units_are_those_of_exact_votes(
    model: StreamedModel, exact: dict[str, WorkFolder], tmp_path: Path, place: str, propagate: str, noise: str
) -> None:
    """Centred, noised and summed, they are put in the same order."""
    chosen = method(place, propagate=propagate, noise=noise, epsilon=None, noise_multiplier=1e-6)

    assert_same(prune_masks(model, run(model, tmp_path, chosen)), prune_masks(model, exact[propagate]))


@pytest.mark.parametrize(("sparsity", "picks"), [("0.5", [(4, 2), (40, 20)]), ("0.24", [(40, 9)])])
@pytest.mark.parametrize("propagate", PROPAGATIONS)
def test_a_noisy_choice_removes_exactly_k_and_keeps_no_totals(
    model: StreamedModel, tmp_path: Path, sparsity: str, picks: list[tuple[int, int]], propagate: str
) -> None:
    """As many of each kind as the sparsity says; each choice of at least one unit is a release."""
    work = WorkFolder(tmp_path)
    chosen = method("central", noise="gumbel", sparsity=sparsity, propagate=propagate)
    federation = Federation(model, WINDOWS, chosen, work, thresholds=THRESHOLDS)
    federation.run()
    by_name = dict(picks)

    for index in range(model.num_blocks):
        assert work.totals_layout(index) == {}
    assert {name.partition("/")[0] for name in stored_names(work)} == {FEDERATED}
    for name, gone in removed_units(model, work).items():
        assert int(gone.sum()) == by_name.get(COUNTS[name.rpartition(".")[2]], 0)
    assert [(each.dimension, each.picks) for each in federation.releases] == picks * model.num_blocks
    assert {each.mechanism for each in federation.releases} == {"gumbel-top-k"}
    assert epsilon_of(federation.releases, 1e-5) <= 2.0
    assert federation.releases_made == federation.releases
    assert not federation.noises


def test_a_choice_goes_by_votes(model: StreamedModel, exact: dict[str, WorkFolder], tmp_path: Path) -> None:
    """The more epsilon there is, the more votes the chosen units have; chosen in the dark, about half of all."""
    votes = exact["local"].total(0, "model.layers.0.neurons").double()  # the first block hangs on no choice before it
    dark = 20 * float(votes.mean())
    deviation = float(votes.std(unbiased=False)) * math.sqrt(20 * 20 / 39)  # of 20 of 40, drawn without replacement
    best = float(votes.topk(20).values.sum())
    found = {}
    for epsilon in (1e6, 1e-3):
        work = run(model, tmp_path / str(epsilon), method("central", noise="gumbel", epsilon=epsilon))
        removed = removed_units(model, work)["model.layers.0.neurons"]
        found[epsilon] = float(votes[removed].sum())

    # A choice in the dark is above the middle once in 30,000 runs.
    middle = dark + 4 * deviation
    assert found[1e-3] < middle < found[1e6] <= best


def test_choices_of_two_runs_differ(model: StreamedModel, tmp_path: Path) -> None:
    """They are drawn from the operating system's randomness, whatever the seed."""
    one, other = (run(model, tmp_path / name, method("central", noise="gumbel", epsilon=0.01)) for name in "ab")

    masks = prune_masks(model, one), prune_masks(model, other)
    assert any(not torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


@pytest.mark.parametrize(("payload", "propagate"), [("votes", "local"), ("statistics", "dense")])
def test_noisy_choices_are_of_units_alone(model: StreamedModel, tmp_path: Path, payload: str, propagate: str) -> None:
    """A mask of all weights is no choice among few things."""
    chosen = make_method("0.5", propagate, payload=payload, privacy=method("central", noise="gumbel").privacy)
    with pytest.raises(InputError, match=r"noise=gumbel goes with payload=units alone"):
        Federation(model, WINDOWS, chosen, WorkFolder(tmp_path))


def test_noisy_choices_are_the_servers() -> None:
    """Clients cannot draw shares of a choice."""
    with pytest.raises(InputError, match=r"noise=gumbel does not go with dp=distributed: a trusted server chooses"):
        method("distributed", noise="gumbel")


def test_window_zero_out_has_no_meaning_for_units(model: StreamedModel, tmp_path: Path) -> None:
    """Noisy or chosen: no vote is a window's own."""
    for noise in ("skellam", "gumbel"):
        chosen = method("central", noise=noise, adjacency="window-zero-out")
        with pytest.raises(InputError, match="adjacency=window-zero-out has no meaning for votes"):
            run(model, tmp_path / noise, chosen)


@pytest.mark.parametrize("place", [None, "central"])
def test_a_smaller_model_is_worth_what_the_masked_one_is(model: StreamedModel, tmp_path: Path, place: str) -> None:
    """Saved without the units, loaded again, it has the masked model's perplexity."""
    noise = {} if place is None else {"noise": "gumbel"}
    work = run(model, tmp_path / "work", method(place, **noise))
    save_smaller_model(model, work.prune_mask, tmp_path / "smaller", card="a card")
    smaller = StreamedModel(tmp_path / "smaller", device=CPU, dtype=torch.float64)
    windows = random_windows(1, 6, 16, seed=9).ids

    def stored(index: int, matrix: Any) -> torch.Tensor:
        return work.prune_mask(index, matrix)

    def value(of: StreamedModel, folder: Path, variant: Any) -> float:
        folder.mkdir()
        return perplexities(of, windows, {"it": variant}, folder=folder)["it"].value

    full = value(model, tmp_path / "full", masked(stored))
    small = value(smaller, tmp_path / "small", lambda *_: None)
    dense = value(model, tmp_path / "dense", lambda *_: None)

    assert math.isclose(full, small, rel_tol=1e-9)
    assert not math.isclose(full, dense, rel_tol=1e-5)
    assert smaller.checkpoint.tensors["model.layers.0.mlp.up_proj.weight"].shape == (20, 48)
