"""The ledger's file: whole at every moment, its owner's alone, and never begun again unnoticed."""

from __future__ import annotations

import hmac
import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.budget import Budget, BudgetRefused
from fedprllm_secure.privacy.ledger import Ledger
from fedprllm_secure.privacy.ledger_file import LedgerFile
from tests.fedprllm_secure.privacy.releases import noisy
from tests.other_process import lock_held_elsewhere

WINDOWS = torch.arange(20).view(5, 4)
BUDGET = Budget(3.0, 1e-5, "client-zero-out")
RELEASE = noisy(l1=500, l2_squared=2500, variance=2500 * 16 * noisy().variance / 100)  # eight fit
KILLED = 9


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with one charge."""
    ledger = Ledger(tmp_path / "own" / "ledger.json", patience_seconds=0.05)
    ledger.open_account("a", WINDOWS, budget=BUDGET)
    ledger.charge("a", RELEASE, identity=b"first")
    return ledger


def beside(ledger: Ledger, ending: str) -> Path:
    """Name a file that lies beside the ledger."""
    return ledger.file.with_name(f"{ledger.file.name}.{ending}")


def test_only_the_owner_may_read(ledger: Ledger) -> None:
    """The folder that is made is 0700, each file in it 0600, whatever the umask."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ledger.file.parent.iterdir()}

    assert stat.S_IMODE(ledger.file.parent.stat().st_mode) == 0o700
    assert modes == {"ledger.json": 0o600, "ledger.json.key": 0o600, "ledger.json.lock": 0o600}
    assert len(beside(ledger, "key").read_bytes()) == 32


@pytest.mark.parametrize(
    ("which", "mode", "complaint"),
    [
        ("ledger.json", 0o640, "ledger.json has mode 640: others may read it; chmod 600 it"),
        ("ledger.json", 0o604, "ledger.json has mode 604: others may read it; chmod 600 it"),
        ("ledger.json.key", 0o640, "ledger.json.key has mode 640: others may read it; chmod 600 it"),
        ("", 0o777, "has mode 777: others may write there; chmod 700 it, or name a file in another folder"),
        ("", 0o720, "has mode 720: others may write there"),
    ],
)
def test_what_others_may_touch_is_refused(ledger: Ledger, which: str, mode: int, complaint: str) -> None:
    """A key that others read names windows for them; a folder that others write may hold another ledger tomorrow."""
    (ledger.file.parent / which).chmod(mode)
    with pytest.raises(InputError, match=complaint):
        ledger.spent("a")


def test_a_folder_that_others_may_only_look_into_will_do(tmp_path: Path) -> None:
    """Names are no secret, and a folder of the user's is left as it is."""
    tmp_path.chmod(0o755)
    Ledger(tmp_path / "ledger.json").open_account("a", WINDOWS, budget=BUDGET)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def edited(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Change the content, and write it back as it was laid out."""

    def edit(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content, indent=1) + "\n")

    return edit


def cut(file: Path) -> None:
    """Cut the file in the middle."""
    os.truncate(file, file.stat().st_size // 2)


EDITED = "was edited, damaged or moved here without its key; put back the file and its key"
CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "is no ledger or was cut short .*; put it back from a copy"),
    "empty": (lambda file: file.write_bytes(b""), "is no ledger or was cut short"),
    "binary": (lambda file: file.write_bytes(b"\xff\xfe\x00"), "is no ledger or was cut short"),
    "a list": (lambda file: file.write_text("[]"), "is no ledger; name another file"),
    "other JSON": (lambda file: file.write_text("{}"), "is a ledger of version None, not 1"),
    "version": (
        edited(lambda found: found.update(version=2)),
        "is a ledger of version 2, not 1; use the release it is",
    ),
    "budget": (edited(lambda found: found["accounts"][0]["budget"].update(epsilon=300.0)), EDITED),
    "no charges": (edited(lambda found: found["charges"].clear()), EDITED),
    "noise": (edited(lambda found: found["charges"][0]["release"].update(variance="900000000/1")), EDITED),
    "state": (edited(lambda found: found["charges"][0].update(state="failed")), EDITED),
    "windows": (edited(lambda found: found["accounts"][0]["windows"].pop()), EDITED),
    "seal": (edited(lambda found: found.update(seal="0" * 64)), EDITED),
    "strange seal": (edited(lambda found: found.update(seal="\ud800")), EDITED),
    "no seal": (edited(lambda found: found.pop("seal")), EDITED),
    "more": (edited(lambda found: found.update(more=1)), EDITED),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_file_that_was_touched_is_refused_and_left_as_it_is(ledger: Ledger, kind: str) -> None:
    """By every method; nothing is begun anew."""
    corrupt, complaint = CORRUPTIONS[kind]
    corrupt(ledger.file)
    found = ledger.file.read_bytes()

    for ask in (
        lambda: ledger.charge("a", RELEASE, identity=b"second"),
        lambda: ledger.open_account("b", WINDOWS, budget=BUDGET),
        lambda: ledger.mark(b"first", "failed"),
        lambda: ledger.spent("a"),
    ):
        with pytest.raises(InputError, match=complaint):
            ask()
    assert ledger.file.read_bytes() == found


def test_layout_and_order_of_fields_do_not_matter(ledger: Ledger) -> None:
    """The seal is on what the file says."""
    content = json.loads(ledger.file.read_text())
    ledger.file.write_text(json.dumps(dict(reversed(content.items()))))

    assert len(ledger.spent("a").charges) == 1


def test_sealed_nonsense_is_refused(ledger: Ledger) -> None:
    """A file that this code did not write, though it has the key."""
    for content in (
        {"accounts": []},
        {"accounts": [], "charges": [{}]},
        {
            "accounts": [
                {"name": "a", "opened": "", "budget": {"epsilon": -1, "delta": 1, "adjacency": ""}, "windows": []}
            ]
        },
        {"accounts": 3, "charges": []},
    ):
        with ledger.locked():
            LedgerFile(ledger.file)  # another object does not disturb
            ledger._file.write(content)
        with pytest.raises(InputError, match="holds what this release cannot read"):
            ledger.spent("a")


@pytest.mark.parametrize("wrong", ["account", "state"])
def test_a_charge_belongs_to_an_account_and_has_a_state(ledger: Ledger, wrong: str) -> None:
    """Also where the seal is right."""
    with ledger.locked():
        content = ledger._file.read()
        content["charges"][0][wrong] = "other"
        ledger._file.write(content)
    with pytest.raises(InputError, match=r"cannot read: a charge of '.*' in state"):
        ledger.spent("a")


def test_a_ledger_that_is_gone_is_not_begun_again(ledger: Ledger) -> None:
    """Its key stayed: what was spent would be forgotten."""
    ledger.file.unlink()
    for ask in (
        lambda: ledger.charge("a", RELEASE, identity=b"second"),
        lambda: ledger.open_account("a", WINDOWS, budget=BUDGET),
        lambda: ledger.book(),
    ):
        with pytest.raises(InputError, match="is gone and its key is still there: what was spent would be forgotten"):
            ask()
    assert not ledger.file.exists()


def test_a_key_that_is_gone_short_or_another_is_refused(ledger: Ledger) -> None:
    """Without its key a ledger cannot be trusted."""
    key = beside(ledger, "key")
    whole = key.read_bytes()
    key.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="key has 31 bytes, not 32; put it back from a copy"):
        ledger.spent("a")
    key.write_bytes(bytes(32))
    with pytest.raises(InputError, match=EDITED):
        ledger.spent("a")
    key.unlink()
    with pytest.raises(InputError, match=r"key is missing, without which .* cannot be read; put it back"):
        ledger.spent("a")
    key.touch(mode=0o600)
    key.write_bytes(whole)
    assert len(ledger.spent("a").charges) == 1


def test_no_ledger_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Asking for one that was never begun makes neither a folder nor a lock."""
    ledger = Ledger(tmp_path / "none" / "ledger.json")
    for ask in (
        lambda: ledger.book(),
        lambda: ledger.charge("a", RELEASE, identity=b"1"),
        lambda: ledger.mark(b"1", "sent"),
    ):
        with pytest.raises(InputError, match=r"no ledger at .*ledger.json; check the path, or open a data set"):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_waits_and_is_then_refused(ledger: Ledger) -> None:
    """While another process is at work nothing is charged; when it is done the same call succeeds."""
    with (
        lock_held_elsewhere(beside(ledger, "lock")),
        pytest.raises(InputError, match="another process is at work on it; try again when it is done"),
    ):
        ledger.charge("a", RELEASE, identity=b"second")
    ledger.charge("a", RELEASE, identity=b"second")
    assert len(ledger.book().charges) == 2


def test_the_lock_may_be_nested(ledger: Ledger) -> None:
    """Several calls can be made one."""
    with ledger.locked():
        with ledger.locked():
            ledger.charge("a", RELEASE, identity=b"second")
        with pytest.raises(InputError, match="another process"):
            Ledger(ledger.file, patience_seconds=0.05).spent("a")
    assert len(Ledger(ledger.file, patience_seconds=0.05).spent("a").charges) == 2


def test_charges_at_once_do_not_overspend(ledger: Ledger) -> None:
    """Of forty charges from four sides exactly those go through that fit: one was there, seven more."""

    def charge(number: int) -> bool:
        try:
            Ledger(ledger.file, patience_seconds=30).charge("a", RELEASE, identity=bytes([number]))
        except BudgetRefused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        went = list(pool.map(charge, range(40)))

    assert sum(went) == 7
    assert len(ledger.book().charges) == 8


def test_a_link_leads_to_the_one_ledger(ledger: Ledger, tmp_path: Path) -> None:
    """A ledger reached by another name is the same, lock and key included."""
    link = tmp_path / "link.json"
    link.symlink_to(ledger.file)
    Ledger(link).charge("a", RELEASE, identity=b"second")

    assert link.is_symlink()
    assert len(ledger.book().charges) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"link.json", "own"}


def test_windows_keep_their_names(ledger: Ledger) -> None:
    """HMAC-SHA256 under the key over length and ids, 8 bytes each: what was charged once is known for good."""
    key = beside(ledger, "key").read_bytes()
    told = b"fedprllm/v1/window/" + b"".join(number.to_bytes(8, "little") for number in [4, *WINDOWS[2].tolist()])

    assert hmac.new(key, told, "sha256").hexdigest() in ledger.account("a").windows
    assert len(set(ledger.account("a").windows)) == len(WINDOWS)


@pytest.mark.parametrize(
    "windows",
    [WINDOWS.float(), WINDOWS > 3, WINDOWS[0], WINDOWS.to(torch.complex64)],
    ids=["float", "bool", "1-d", "complex"],
)
def test_windows_are_rows_of_integers(ledger: Ledger, windows: torch.Tensor) -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(ValueError, match=r"it must be integers \(windows, tokens\)"):
        ledger.open_account("b", windows, budget=BUDGET)


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do work in a child that ends, as by a power cut, before the given step that touches the disk.

    Returns:
        Whether it was killed; else it came through.
    """
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(original: Callable) -> Callable:
            def step_of_disk(*given: object, **named: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(KILLED)
                return original(*given, **named)

            return step_of_disk

        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "write_bytes"), (Path, "touch"), (Path, "unlink")):
            setattr(owner, name, counted(getattr(owner, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


def test_a_kill_amid_a_charge_leaves_it_whole_or_not_begun(ledger: Ledger) -> None:
    """At every step; the same call afterwards completes it, once."""
    seen, step = set(), 0
    while True:
        before = len(ledger.book().charges)
        identity = bytes([step])
        killed = killed_at(step, lambda name=identity: Ledger(ledger.file).charge("a", RELEASE, identity=name))
        after = len(ledger.book().charges)

        assert after - before in ((0, 1) if killed else (1,))
        seen.add(after - before)
        ledger.charge("a", RELEASE, identity=identity)
        assert len(ledger.book().charges) == before + 1
        if not killed:
            break
        step += 1
    assert step == 6  # made, written, on disk, named, its name on disk, cleared away
    assert seen == {0, 1}


def test_a_kill_amid_the_beginning_leaves_a_ledger_or_none(tmp_path: Path) -> None:
    """At every step; the same call afterwards completes it."""
    step, killed = 0, True
    while killed:
        file = tmp_path / str(step) / "ledger.json"
        killed = killed_at(step, lambda file=file: Ledger(file).open_account("a", WINDOWS, budget=BUDGET))
        ledger = Ledger(file)
        ledger.open_account("a", WINDOWS, budget=BUDGET)
        ledger.charge("a", RELEASE, identity=b"1")

        assert len(ledger.spent("a").charges) == 1
        assert {path.name.removeprefix("ledger.json") for path in ledger.file.parent.iterdir()} == {"", ".key", ".lock"}
        step += 1
    assert step > 15
