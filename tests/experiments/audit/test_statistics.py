"""Kept statistics of windows: what a calibration would give, read again, and named so that a name tells nothing."""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.audit.machine_key import KEY_BYTES
from experiments.audit.statistics import WindowStatistics
from fedprllm_secure.calibration import InputEnergy, InputRecorder
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.work import WorkFolder
from tests.experiments.audit.tiny_audit import draw_ids, survey, target


def calibrated(model: StreamedModel, windows: Tensor) -> list[InputEnergy]:
    """Calibrate every block on each window by itself, without any of the audit's or a run's machinery."""
    with model.outer():
        hidden = [model.embed(window[None]) for window in windows]
    blocks = []
    for index in range(model.num_blocks):
        sums = InputEnergy(len(windows))
        with model.block(index) as block, torch.no_grad():
            recorder = InputRecorder(prunable_matrices(model, index), block, sums)
            with recorder.watching():
                for number, states in enumerate(hidden):
                    output = recorder.run(model, index, states, torch.tensor([number]), keep_output=True)
                    assert output is not None
                    hidden[number] = output
        blocks.append(sums)
    return blocks


def folders(cache: Path) -> set[str]:
    """Name the folders of a cache."""
    return {entry.name for entry in cache.iterdir() if entry.is_dir()}


@pytest.fixture
def forward_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The block of every forward pass."""
    calls: list[int] = []
    forward = StreamedModel.forward

    def counted(self: StreamedModel, index: int, hidden: Tensor, **rest: object) -> Tensor:
        calls.append(index)
        return forward(self, index, hidden, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(StreamedModel, "forward", counted)
    return calls


def test_energies_are_those_of_a_calibration(model: StreamedModel, ids: Tensor, statistics: WindowStatistics) -> None:
    """Every window's in every channel of every block, where ``channels`` says that they are."""
    expected = calibrated(model, ids)
    stop = 0
    for (index, source), place in statistics.channels.items():
        assert place.start == stop
        stop = place.stop
        assert np.allclose(statistics.energies[: len(ids), place], expected[index].energies[source].numpy(), rtol=1e-5)

    assert statistics.energies.dtype == np.float64
    assert statistics.energies.shape[1] == stop
    assert {index for index, _ in statistics.channels} == {0, 1}


def test_a_view_is_of_its_windows_alone(statistics: WindowStatistics) -> None:
    """Sums over the windows named, without those marked as none; the server's view has no energies."""
    for block in statistics.blocks():
        (query, *_) = block.matrices
        view = block.view(np.array([4, -1, 2]), (query,))
        place = statistics.channels[block.index, view.source(query)]
        energy = view.energy(query)

        assert energy is not None
        assert np.array_equal(energy.numpy(), statistics.energies[[4, 2], place].sum(0))
        assert view.matrices == (query,)
        assert set(view.energies) == {view.source(query)}  # nothing else was added up
        assert block.view().energies == {}
        assert block.view().matrices == block.matrices


def test_a_matrix_that_nothing_entered_is_named(statistics: WindowStatistics) -> None:
    """Where a view is asked for it, as everywhere; not before."""
    for block in statistics.blocks():
        (query, *_) = block.matrices
        source = block.view().source(query)
        sums = InputEnergy(5)
        sums.sources = block.sums.sources
        sums.energies = {name: each for name, each in block.sums.energies.items() if name != source}
        sums.tokens = block.sums.tokens
        view = replace(block, sums=sums).view(np.array([0]), (query,))

        with pytest.raises(InputError, match=re.escape(query.name)):
            view.energy(query)


def test_the_same_windows_are_read_and_not_passed_again(
    model: StreamedModel, ids: Tensor, cache: Path, statistics: WindowStatistics, forward_passes: list[int]
) -> None:
    """A second audit costs no forward pass and gets the same figures."""
    before = folders(cache)
    again = survey(model, ids, cache)

    assert forward_passes == []
    assert folders(cache) == before
    assert np.array_equal(again.energies, statistics.energies)


def test_other_windows_are_passed_through_the_model(
    model: StreamedModel, tmp_path: Path, forward_passes: list[int]
) -> None:
    """Every block, in order, and progress is told."""
    steps: list[tuple[str, int, int]] = []
    survey(model, draw_ids(2, seed=3), tmp_path, steps=steps)

    assert set(forward_passes) == {0, 1}
    assert steps == [("survey", 0, 2), ("survey", 1, 2), ("survey", 2, 2)]


def test_each_text_model_and_basis_has_a_folder_of_its_own(model: StreamedModel, tmp_path: Path) -> None:
    """Other windows, another order, another length, public text, or other public text: never another's figures."""
    one = draw_ids(2)
    survey(model, one, tmp_path)
    for others in (draw_ids(2, seed=1), one.flip(0), one[:, :6], one.view(4, 6)):
        survey(model, others, tmp_path)
    for seed in (7, 8):
        survey(model, one, tmp_path, privacy=target("central"), public=draw_ids(32, seed=seed))

    assert len(folders(tmp_path)) == 7


def test_a_name_tells_nobody_the_text(model: StreamedModel, ids: Tensor, tmp_path: Path) -> None:
    """Under another key the same windows have another name, and no plain hash of them stands anywhere."""
    names = []
    for place in ("one", "other"):
        survey(model, ids[:2], tmp_path / place)
        names += folders(tmp_path / place)
    plain = {
        getattr(hashlib, law)(given).hexdigest()[:16]
        for law in ("sha256", "sha1", "md5", "blake2b")
        for given in (
            ids[:2].numpy().tobytes(),
            *(row.numpy().tobytes() for row in ids[:2]),
            ids[:2].numpy().astype("<i4").tobytes(),
        )
    }

    assert len(names) == len(set(names)) == 2
    for file in tmp_path.rglob("*"):
        assert not any(digest in file.name for digest in plain)
    assert len({(tmp_path / place / "key").read_bytes() for place in ("one", "other")}) == 2


def test_only_this_user_may_enter(model: StreamedModel, tmp_path: Path) -> None:
    """Key, folder of statistics and cache; the key is drawn once, and nothing is left over of drawing it."""
    survey(model, draw_ids(1), tmp_path / "new")
    key = tmp_path / "new" / "key"
    drawn = key.read_bytes()
    survey(model, draw_ids(1, seed=2), tmp_path / "new")

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    for name in folders(tmp_path / "new"):
        assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o700
    assert len(drawn) == KEY_BYTES
    assert key.read_bytes() == drawn
    assert [each.name for each in (tmp_path / "new").iterdir() if each.is_file()] == ["key"]


def test_another_process_at_the_same_windows_is_waited_for_by_nobody(
    model: StreamedModel, ids: Tensor, statistics: WindowStatistics, cache: Path
) -> None:
    """The command says so and ends."""
    with (
        WorkFolder(statistics.federation.work.folder).locked(),
        pytest.raises(InputError, match="another process is at work here"),
    ):
        survey(model, ids, cache)
