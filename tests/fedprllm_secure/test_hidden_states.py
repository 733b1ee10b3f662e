"""Hidden states on both sides of the border between memory and disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.hidden_states import HiddenStates

CPU = torch.device("cpu")
SHAPE = (2, 3)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def make(rows: int, resident: int, dtype: torch.dtype = torch.float32) -> HiddenStates:
    """Make room for rows, so many of them in memory."""
    return HiddenStates(rows, SHAPE, dtype, memory_limit_bytes=resident * 6 * dtype.itemsize)


def ramp(rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows that all differ."""
    return torch.arange(rows * 6).view(rows, *SHAPE).to(dtype)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_border_does_not_show(data: st.DataObject) -> None:
    """Any order of writes and reads gives what a plain tensor would."""
    rows = data.draw(st.integers(1, 12))
    dtype = data.draw(st.sampled_from(DTYPES))
    plain, states = torch.zeros(rows, *SHAPE, dtype=dtype), make(rows, data.draw(st.integers(0, 12)), dtype)
    states.write(0, plain)
    for step in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, rows - 1))
        stop = data.draw(st.integers(start + 1, rows))
        values = ramp(stop - start, dtype) + step
        plain[start:stop] = values
        states.write(start, values)
        first = data.draw(st.integers(0, rows - 1))
        last = data.draw(st.integers(first + 1, rows))
        assert torch.equal(states.read(slice(first, last), CPU, dtype), plain[first:last])


@pytest.mark.parametrize(("resident", "spilled"), [(9, 0), (5, 0), (3, 2), (0, 5)])
def test_spilled_bytes(resident: int, spilled: int) -> None:
    """Rows past the limit lie on disk."""
    assert make(5, resident).spilled_bytes == spilled * 24


@pytest.mark.parametrize("resident", [0, 20, 40], ids=["disk", "both", "memory"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_save_and_load(tmp_path: Path, resident: int, dtype: torch.dtype) -> None:
    """A saved file is read back whatever the limit then is."""
    states, again = make(40, resident, dtype), make(40, 7, dtype)
    states.write(0, ramp(40, dtype))
    states.save(tmp_path / "states")
    again.load(tmp_path / "states")
    assert torch.equal(again.read(slice(0, 40), CPU, dtype), ramp(40, dtype))
    assert [file.name for file in tmp_path.iterdir()] == ["states"]


@pytest.mark.parametrize("change", [-1, 1, -24])
def test_a_file_of_another_length_is_refused(tmp_path: Path, change: int) -> None:
    """A file cut short or grown is no file of these hidden states."""
    states = make(5, 5)
    states.write(0, ramp(5))
    states.save(tmp_path / "states")
    content = (tmp_path / "states").read_bytes() + b"\0"
    (tmp_path / "states").write_bytes(content[: 5 * 24 + change])
    with pytest.raises(InputError, match=rf"has {5 * 24 + change} bytes instead of 120: it was cut short"):
        states.load(tmp_path / "states")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A missing file counts as empty."""
    with pytest.raises(InputError, match="has 0 bytes instead of 120"):
        make(5, 5).load(tmp_path / "states")


def test_reads_convert() -> None:
    """States are kept in one dtype and read in another."""
    states = make(2, 1, torch.bfloat16)
    states.write(0, torch.full((2, *SHAPE), 1.0 + 2**-12))
    found = states.read(slice(0, 2), CPU, torch.float64)
    assert found.dtype == torch.float64
    assert torch.equal(found, torch.ones(2, *SHAPE, dtype=torch.float64))


def test_the_temporary_file_is_closed_with_the_object() -> None:
    """Nothing is left to the garbage collector to warn of, and the folder shows no file."""
    states = make(2, 0)
    file = states._file
    assert file is not None
    del states
    assert file.closed


def test_what_does_not_fit_lies_in_the_folder_named(tmp_path: Path) -> None:
    """The temporary file is made there, and nowhere else if the folder is gone."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        HiddenStates(5, SHAPE, torch.float32, memory_limit_bytes=0, folder=tmp_path / "nowhere")


@pytest.mark.parametrize(("resident", "reserved"), [(0, 5 * 24), (2, 3 * 24), (4, 24)])
def test_room_for_all_rows_on_disk_is_set_aside_at_once(tmp_path: Path, resident: int, reserved: int) -> None:
    """Before anything is written the file has the size that it will need."""
    states = HiddenStates(5, SHAPE, torch.float32, memory_limit_bytes=resident * 24, folder=tmp_path)
    assert states._file is not None
    assert os.fstat(states._file.fileno()).st_size == reserved
