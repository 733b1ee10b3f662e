"""The sessions of a planned run: how many, of what, and their bytes as one sum."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig

from experiments.plan.sessions import Counts, PlannedRun
from experiments.plan.shapes import write_stand_in
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.residuals.clipping import grid_bound
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.thresholds import Thresholds
from protocols import Step
from protocols.costs import expected_traffic, expected_traffic_together


@pytest.fixture
def planned(inputs, tmp_path):
    """Plan a run of eight clients on the tiny model."""

    def plan(counts=None, **settings):
        method = Method(sparsity=Sparsity.parse("0.5"), **{"protocol": "additive", **settings})
        model = StreamedModel(inputs.model, device=torch.device("cpu"))
        thresholds = Thresholds.choose(method.protocol, 8)
        return PlannedRun(
            model, method, counts or Counts(clients=8, per_client=2), thresholds, folder=tmp_path / "work"
        )

    return plan


def bytes_of(traffic):
    """Take the seconds off."""
    return [{step: (each.bytes_up, each.bytes_down) for step, each in one.items()} for one in traffic]


def test_votes_take_a_session_a_block(planned):
    """As long as a block has weights."""
    run = planned()

    assert [sum(spec.length for spec in vectors) for vectors in run.vectors] == [9216, 9216]
    assert run.are_together


def test_statistics_of_the_dense_model_take_one_session(planned):
    """Four inputs a block; two sessions where the server's block comes back."""
    dense = planned(payload="statistics", schedule=Schedule("one-shot", "dense"))
    iterative = planned(payload="statistics", schedule=Schedule("iterative", "global"))

    assert [spec.length for spec in dense.vectors[0]] == [32, 32, 32, 64] * 2
    assert [[spec.length for spec in vectors] for vectors in iterative.vectors] == [[32, 32, 32, 64]] * 2
    assert not dense.are_together
    assert not iterative.are_together


@pytest.mark.parametrize("gone", [{}, {Step.SHARE: frozenset({2})}])
def test_sessions_that_look_alike_are_computed_once_and_counted_each(planned, gone):
    """The same bytes as of every session computed on its own, bundles in the first one alone."""
    run = planned()

    found = bytes_of(run.traffic(lambda _: gone))

    assert found == bytes_of(expected_traffic_together("additive", run.plans, leaving=[gone, gone]))
    assert found[1] == bytes_of([expected_traffic("additive", run.plans[1], leaving=gone)])[0]


def test_bundles_of_who_left_the_first_session(tmp_path):
    """Their bundles are counted in the next session, and not in others that look like it."""
    config = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4)
    (tmp_path / "model").mkdir()
    model = StreamedModel(write_stand_in(config, tmp_path / "model"), device=torch.device("cpu"))
    method = Method(sparsity=Sparsity.parse("0.5"), protocol="additive")
    thresholds = Thresholds.choose("additive", 8)
    run = PlannedRun(model, method, Counts(clients=8, per_client=2), thresholds, folder=tmp_path / "work")
    leaving = [{Step.ADVERTISE: frozenset({2})}, {}, {}]

    found = bytes_of(run.traffic(lambda place: leaving[place]))

    assert found == bytes_of(expected_traffic_together("additive", run.plans, leaving=leaving))
    assert found[1] != found[2]


@pytest.mark.parametrize(("adjacency", "contributions"), [("window-zero-out", 2), ("client-zero-out", 1)])
def test_private_statistics_are_bounded_by_their_contributions(planned, adjacency, contributions):
    """A client sums a clipped contribution for each of its windows, or gives one."""
    target = PrivacyTarget(place="distributed", adjacency=adjacency, delta=1e-5, epsilon=3.0)
    counts = Counts(clients=8, per_client=2, public=40)
    schedule = Schedule("one-shot", "dense")
    run = planned(counts, payload="statistics", schedule=schedule, privacy=target, rank=12)

    ((spec,),) = run.vectors

    assert (spec.length, spec.bound) == (12, contributions * grid_bound(12))
    assert spec.signed
    assert spec.headroom == run.noises[0].headroom > 0


def test_iterative_sessions_stand_alone(planned):
    """No bundles."""
    run = planned(schedule=Schedule("iterative", "global"))

    assert bytes_of(run.traffic()) == bytes_of(expected_traffic("additive", plan) for plan in run.plans)


def test_parties_are_those_of_the_run(planned):
    """Baselines that calibrate count as rows, and hold nothing."""
    run = planned(Counts(clients=8, per_client=2, public=5, central=True, local_only=3, magnitude=True))

    assert len(run.parties.ids) == 16 + 16 + 5
    assert not run.parties.ids.any()


def test_thresholds_that_protect_nobody_are_refused(inputs, tmp_path):
    """With the flag that mends it."""
    model = StreamedModel(inputs.model, device=torch.device("cpu"))
    method = Method(sparsity=Sparsity.parse("0.5"), protocol="additive")
    thresholds = Thresholds.choose("additive", 8, recovery_threshold=3)
    with pytest.raises(InputError, match=r"--protocol additive: --recovery-threshold 3 must be at least 5"):
        PlannedRun(model, method, Counts(clients=8, per_client=2), thresholds, folder=tmp_path / "work")
