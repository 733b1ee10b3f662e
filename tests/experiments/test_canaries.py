"""``prune --canaries``: pairs of windows, fair coins, and a run that really uses what the coins say."""

from __future__ import annotations

import json
import os
import random
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer

from experiments.canaries import Coins, Partners, Slot
from fedprllm_secure.data import Partition, Windows, cut_windows, read_documents, split_documents
from fedprllm_secure.errors import InputError
from fedprllm_secure.federation import Federation
from fedprllm_secure.work import WorkFolder
from tests.experiments.conftest import LENGTH, VOCABULARY, Inputs, Ran

Prune = Callable[..., Ran]
FEW: dict[str, Any] = {"baselines": "", "eval_data": None}
DP: dict[str, Any] = {"dp": "central", "epsilon": "4", "delta": "1e-5", "adjacency": "client-replace"}
DIGEST = "a" * 64


def windows_of(first: int, clients: int = 3, per_client: int = 2) -> Windows:
    """Number windows of three tokens from ``first`` on."""
    ids = torch.arange(first, first + clients * per_client)[:, None] * 10 + torch.arange(3)
    return Windows(ids, num_clients=clients, per_client=per_client, length=3)


def partners(cut: Windows, *, wanted: int, each: int = 2) -> Partners:
    """Make partners of windows of every client's part."""
    further = [windows_of(100 * (client + 1), 1, each).ids for client in range(cut.num_clients)]
    return Partners(cut, further, wanted=wanted)


@pytest.mark.parametrize("wanted", [1, 4, 6])
def test_a_slot_pairs_the_window_that_was_cut_with_a_fresh_one_of_the_same_part(wanted: int) -> None:
    """As many different slots as asked for, each with a partner of its own that no client holds."""
    cut = windows_of(0)
    coins = partners(cut, wanted=wanted).draw(model_sha256=DIGEST)
    fresh = [slot.windows[1] for slot in coins.slots]

    assert (coins.model_sha256, coins.window_length) == (DIGEST, 3)
    assert len({(slot.client, slot.position) for slot in coins.slots}) == len(set(fresh)) == len(coins.slots) == wanted
    for slot in coins.slots:
        assert list(slot.windows[0]) == cut.of(slot.client)[slot.position].tolist()
        assert slot.windows[1][0] // 1000 == slot.client + 1
        assert list(slot.windows[1]) not in cut.ids.tolist()


def test_coins_are_fair_and_slots_are_drawn() -> None:
    """Over many draws each coin falls either way about as often, and each slot is drawn about as often."""
    drawn = partners(windows_of(0), wanted=2)
    generator = random.Random(0)
    slots = [slot for _ in range(600) for slot in drawn.draw(model_sha256=DIGEST, generator=generator).slots]

    assert sum(slot.coin for slot in slots) == pytest.approx(600, abs=90)  # five standard deviations
    for place in [(client, position) for client in range(3) for position in range(2)]:
        found = [slot for slot in slots if (slot.client, slot.position) == place]
        assert len(found) == pytest.approx(200, abs=70)
        assert sum(slot.coin for slot in found) == pytest.approx(len(found) / 2, abs=40)


def test_draws_differ() -> None:
    """The operating system draws: no two runs have the same coins but by chance of 2**-24."""
    drawn = partners(windows_of(0, 12), wanted=24)

    assert drawn.draw(model_sha256=DIGEST) != drawn.draw(model_sha256=DIGEST)


def test_the_run_uses_what_the_coins_say() -> None:
    """Every slot holds its first window or its second; all others stay as they were cut."""
    cut = windows_of(0)
    coins = Coins(
        DIGEST,
        3,
        (
            Slot(0, 1, (tuple(cut.of(0)[1].tolist()), (7, 8, 9)), 0),
            Slot(2, 0, (tuple(cut.of(2)[0].tolist()), (4, 5, 6)), 1),
        ),
    )
    expected = cut.ids.clone()
    expected[1] = torch.tensor([7, 8, 9])
    before = cut.ids.clone()

    assert torch.equal(coins.used(cut).ids, expected)
    assert torch.equal(cut.ids, before)


def test_windows_that_occur_twice_are_no_partners() -> None:
    """What some client holds, or what another slot was given, makes no pair; the next window of the text does."""
    cut = windows_of(0)
    fresh = windows_of(50, 1, 3).ids
    further = [torch.cat([cut.ids[5:], fresh[:1], fresh[:1], fresh[1:]]), fresh, torch.zeros(0, 3, dtype=torch.int64)]
    coins = Partners(cut, further, wanted=2).draw(model_sha256=DIGEST)

    assert [(slot.client, slot.windows[1]) for slot in coins.slots] == [
        (0, tuple(fresh[number].tolist())) for number in (0, 1)
    ] or [slot.windows[1] for slot in coins.slots] == [tuple(fresh[number].tolist()) for number in (1, 0)]
    with pytest.raises(InputError, match=r"--canaries 3 needs as many further windows, .* --data has 2 to pair with"):
        Partners(cut, further, wanted=3)


def test_windows_of_all_clients_may_be_one_lot() -> None:
    """Of windows that are cut already it is not known whose part they are of: any slot may have them."""
    cut, further = windows_of(0), windows_of(50, 1, 6).ids
    coins = Partners(cut, [further], wanted=6).draw(model_sha256=DIGEST)

    assert sorted(slot.windows[1] for slot in coins.slots) == [tuple(window) for window in further.tolist()]
    with pytest.raises(InputError, match="--data has 5 to pair with theirs"):
        Partners(cut, [further[1:]], wanted=6)


def test_coins_are_read_back(tmp_path: Path) -> None:
    """What is saved is read, and only its owner reads it."""
    coins = partners(windows_of(0), wanted=4).draw(model_sha256=DIGEST)
    former = os.umask(0)
    try:
        coins.save(tmp_path / "coins.json")
    finally:
        os.umask(former)

    assert Coins.read(tmp_path / "coins.json") == coins
    assert stat.S_IMODE((tmp_path / "coins.json").stat().st_mode) == 0o600


def test_printing_coins_shows_none() -> None:
    """A log of slots holds neither windows nor coins."""
    shown = repr(Slot(1, 0, ((11, 12), (13, 14)), 1))

    assert "client=1" in shown
    assert not any(word in shown for word in ("11", "13", "coin"))


SLOT = {"client": 0, "position": 0, "windows": [[1, 2, 3], [4, 5, 6]], "coin": 1}


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"schema": 2}, "schema=2 must be 1"),
        ({"slots": []}, "slots=0 must be different ones, at least 1"),
        ({"slots": [SLOT, SLOT]}, "slots=2 must be different ones"),
        ({"slots": [SLOT | {"coin": 2}]}, "coin must be 0 or 1"),
        ({"slots": [SLOT | {"client": -1}]}, "client=-1 and position=0 must be at least 0"),
        ({"slots": [SLOT | {"windows": [[1, 2, 3], [1, 2, 3]]}]}, "must be two different ones"),
        ({"slots": [SLOT | {"windows": [[1, 2, 3], [1, 2]]}]}, "must have window_length_tokens=3 tokens each"),
        ({"slots": [SLOT | {"windows": [[1, 2, 3]]}]}, "not enough values"),
        ({"slots": 3}, "not iterable"),
        ({"slots": [{"client": 0}]}, "windows"),
    ],
)
def test_a_file_of_no_coins_is_an_error(tmp_path: Path, change: dict[str, Any], pattern: str) -> None:
    """Another schema, and slots that are none."""
    written = {"schema": 1, "model_sha256": DIGEST, "window_length_tokens": 3, "slots": [SLOT]}
    file = tmp_path / "coins.json"
    file.write_text(json.dumps(written))
    assert Coins.read(file).slots[0].used == (1, 2, 3)

    file.write_text(json.dumps(written | change))
    with pytest.raises(InputError, match=rf"coins\.json holds no coins of a run \(.*{pattern}"):
        Coins.read(file)


def test_coins_of_other_windows_are_refused() -> None:
    """Coins are about the very windows that were cut when they were drawn."""
    coins = partners(windows_of(0), wanted=6).draw(model_sha256=DIGEST)
    for other in (windows_of(1), windows_of(0, 2), windows_of(0, 3, 1)):
        with pytest.raises(InputError, match=r"coins\.json: client \d has another window \d now; start over"):
            coins.used(other)


# --- The command.


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Watch which windows runs prune with."""
    seen: list[Tensor] = []
    original = Federation.__init__

    def watch(self: Federation, model: Any, windows: Windows, *rest: Any, **options: Any) -> None:
        seen.append(windows.ids)
        original(self, model, windows, *rest, **options)

    monkeypatch.setattr(Federation, "__init__", watch)
    return seen


def cut_of(inputs: Inputs) -> Windows:
    """Cut the clients' windows as a run without canaries does."""
    parts = split_documents(read_documents(inputs.text, split="train"), Partition("iid"), num_clients=3, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(inputs.model)
    return cut_windows(parts, tokenizer, length=LENGTH, per_client=2, vocabulary_size=VOCABULARY)


def test_a_run_leaves_its_coins(
    prune: Prune, inputs: Inputs, used: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows that the run pruned with are those of the coins; the result says how many, not which."""
    monkeypatch.setattr("experiments.canaries.secrets.SystemRandom", lambda: random.Random(2))  # coins of both kinds
    out = tmp_path / "run"
    assert prune(out, canaries=4, save_transcript=True, **FEW).status == 0
    result, coins, cut = json.loads((out / "result.json").read_text()), Coins.read(out / "coins.json"), cut_of(inputs)

    assert len(coins.slots) == result["config"]["canaries"] == 4
    assert {slot.coin for slot in coins.slots} == {0, 1}
    assert (coins.model_sha256, coins.window_length) == (result["model"]["sha256"], LENGTH)
    assert torch.equal(used[0], coins.used(cut).ids)
    assert not {slot.windows[1] for slot in coins.slots} & set(map(tuple, cut.ids.tolist()))
    assert "a coin decided for 4 of the 6 windows whether it or a fresh one is in; coins.json says" in str(
        result["notes"]
    )
    assert stat.S_IMODE((out / "coins.json").stat().st_mode) == 0o600
    assert not list((out / "transcript").rglob("*coins*"))
    assert not (out / "work").exists()


def test_a_finished_run_keeps_its_coins(prune: Prune, tmp_path: Path) -> None:
    """The same command does nothing; another number of canaries, or none, is another run."""
    out = tmp_path / "run"
    assert prune(out, canaries=2, **FEW).status == 0
    before = (out / "coins.json").read_bytes()
    assert prune(out, canaries=2, **FEW).status == 0
    for other in (3, None):
        ran = prune(out, canaries=other, **FEW)
        assert ran.status == 2
        told = "without --canaries" if other is None else other
        assert f"holds a run with --canaries 2, not {told}" in ran.line
    assert (out / "coins.json").read_bytes() == before

    assert prune(out, overwrite=True, **FEW).status == 0
    assert not (out / "coins.json").exists()


@pytest.mark.parametrize("when", ["first block", "before the first block"])
def test_a_run_that_goes_on_keeps_its_coins(
    prune: Prune, used: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Interrupted and continued, a run uses the same windows and leaves the coins that were drawn first."""
    out = tmp_path / "run"
    original = WorkFolder.save_block

    def stop(self: WorkFolder, index: int, *rest: Any) -> None:
        if when == "first block":
            original(self, index, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save_block", stop)
        assert prune(out, canaries=6, **FEW).status == 130
    drawn = Coins.read(out / "work" / "coins.json")
    assert stat.S_IMODE((out / "work" / "coins.json").stat().st_mode) == 0o600
    ran = prune(out, canaries=5, **FEW)
    assert ran.status == 2
    assert "holds a run with --canaries 6, not 5" in ran.line
    assert prune(out, canaries=6, **FEW).status == 0

    assert Coins.read(out / "coins.json") == drawn
    assert torch.equal(used[0], used[1])


def test_coins_that_were_replaced_are_noticed(prune: Prune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on with the windows that it began with, or not at all."""
    out = tmp_path / "run"

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save_block", stop)
        assert prune(out, canaries=1, **FEW).status == 130
    file = out / "work" / "coins.json"
    written = json.loads(file.read_text())
    written["slots"][0]["coin"] ^= 1
    file.write_text(json.dumps(written))
    ran = prune(out, canaries=1, **FEW)

    assert ran.status == 2
    assert "holds a run with other" in ran.line
    assert file.exists()


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"canaries": 0}, "argument --canaries: '0' must be a whole number of at least 1"),
        ({"canaries": 7}, "--canaries 7 must be at most 6, the windows of 3 clients with 2 each"),
        (
            {"canaries": 5, "windows_per_client": 200, "clients": 1, "window_length": 16},
            "client 0 has .* tokens and needs 3200",
        ),
        ({"canaries": 6, "data": "windows"}, r"--canaries 6 needs 12 windows in .*: 6 of the clients and 6 that no cl"),
    ],
)
def test_what_cannot_be_is_refused(
    prune: Prune, inputs: Inputs, tmp_path: Path, changes: dict[str, Any], pattern: str
) -> None:
    """More slots than windows, too little text, windows without others: one line, and nothing is left behind."""
    if changes.get("data") == "windows":
        changes = changes | {"data": inputs.folder / "windows.safetensors", "window_length": None}
    ran = prune(tmp_path / "run", **FEW | changes)

    assert ran.status == 2
    assert re.search(pattern, ran.line)
    assert not (tmp_path / "run").exists()


def test_too_little_further_text_is_refused(prune: Prune, inputs: Inputs, tmp_path: Path) -> None:
    """The error counts the windows that there are, and a finished folder under --overwrite stays as it was."""
    out = tmp_path / "run"
    assert prune(out, **FEW).status == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    asked = {"data": inputs.folder / "natural", "partition": "natural", "clients": 4, "windows_per_client": 30}
    ran = prune(out, canaries=120, overwrite=True, **FEW | asked)

    assert ran.status == 2
    assert re.search(r"--canaries 120 needs as many .* the clients' 120 .* --data has 81 to pair with", ran.line)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_windows_already_cut_lend_the_rows_after_the_clients(prune: Prune, used: list[Tensor], tmp_path: Path) -> None:
    """The first rows are the clients'; those that follow are partners."""
    ids = torch.randint(2, VOCABULARY, (9, LENGTH), generator=torch.Generator().manual_seed(5))
    save_file({"windows": ids}, tmp_path / "windows.safetensors")
    asked = FEW | {"data": tmp_path / "windows.safetensors", "window_length": None}
    assert prune(tmp_path / "run", canaries=3, **asked).status == 0
    coins = Coins.read(tmp_path / "run" / "coins.json")

    assert {slot.windows[1] for slot in coins.slots} == set(map(tuple, ids[6:].tolist()))
    assert torch.equal(used[0], coins.used(Windows(ids[:6], num_clients=3, per_client=2, length=LENGTH)).ids)
    # Without canaries, more rows than the clients hold are a mistake, as before.
    assert prune(tmp_path / "other", **asked).status == 2


def test_under_a_claim_coins_are_simulation_only(prune: Prune, tmp_path: Path) -> None:
    """What epsilon covers says nothing of coins but their number; that they lie on disk is said where it belongs."""
    out = tmp_path / "run"
    assert prune(out, canaries=2, clients="5", **FEW | DP).status == 0
    result = json.loads((out / "result.json").read_text())

    assert result["simulation_only"]["coins"].startswith("coins.json holds windows of clients")
    assert any("coins.json" in each for each in result["privacy"]["not_covered"])
    assert prune(tmp_path / "other", clients="5", **FEW | DP).status == 0
    assert "coins" not in json.loads((tmp_path / "other" / "result.json").read_text())["simulation_only"]
