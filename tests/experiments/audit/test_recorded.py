"""``fedprllm audit RUN_DIR``: views cut from what a run left, the attacker's worlds, grading, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from experiments import inputs as flags_to_inputs
from experiments.audit.plan import Contributions
from experiments.audit.recorded import RecordedRun
from experiments.audit.recorded_game import RecordedGame, labelled_worlds, pairs_and_others, play
from experiments.audit.recorded_report import least_chance
from experiments.audit.recorded_texts import windows_apart
from experiments.audit.statistics import WindowStatistics
from experiments.audit.victims import VoteSessions
from experiments.audit.worlds import Worlds
from experiments.audit.worlds_rows import MatrixRows
from experiments.canaries import Coins, Slot
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel
from tests.experiments.audit.tiny_audit import survey
from tests.experiments.conftest import Inputs, Ran, run_main
from tests.fedprllm_secure.tiny_models import CPU

CANARIES, CLIENTS, PER_CLIENT = 5, 3, 2
SMALL = {"--labelled-runs": 8, "--reference-runs": 8, "--population": 12, "--strangers": 2, "--attacks": "similarity"}
CLAIMED = {"dp": "distributed", "protocol": "additive", "delta": "1e-5", "noise_multiplier": "0.5"}


def coins_of(run: Path) -> Coins:
    """Read a run's coins."""
    return Coins.read(run / "coins.json")


def rewrite(file: Path, **changes: Any) -> None:
    """Change the configuration in a result."""
    result = json.loads(file.read_text())
    result["config"] |= changes
    file.write_text(json.dumps(result))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs) -> Callable[..., Path]:
    """Make runs with coins that fell either way, each once: ``recorded(flag=value)``; never written to by a test."""
    folder, made = tmp_path_factory.mktemp("runs"), dict[str, Path]()

    def make(**changed: object) -> Path:
        name = repr(sorted(changed.items()))
        while name not in made:
            run = folder / str(len(list(folder.iterdir())))
            flags = {"canaries": CANARIES, "save_transcript": True, "baselines": "", "propagate": "dense"} | changed
            ran = run_main(*inputs.arguments(run, **flags))
            assert ran.status == 0, ran.stderr
            if flags["canaries"] is None or len({slot.coin for slot in coins_of(run).slots}) == 2:
                made[name] = run
        return made[name]

    return make


@pytest.fixture(scope="session")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Audit a run: ``audit(run, out, **{"--flag": value})``."""
    cache = tmp_path_factory.mktemp("kept")

    def command(run: Path, out: Path, **changed: object) -> Ran:
        flags = SMALL | {"--cache": cache, "--device": "cpu"} | changed
        return run_main("audit", run, "--out", out, "--json", *(f"{name}={value}" for name, value in flags.items()))

    return command


@pytest.fixture(scope="session")
def own_model(inputs: Inputs) -> StreamedModel:
    """The model of the runs."""
    return StreamedModel(inputs.model, device=CPU)


def own_flags(run: RecordedRun) -> Namespace:
    """Give a run's flags."""
    return run.flags(Namespace(model=None, data=None, model_sha256=None, device="cpu"))


def used_windows(run: RecordedRun, model: StreamedModel) -> Tensor:
    """Cut the windows that the clients of a run really used."""
    flags = own_flags(run)
    held, _ = flags_to_inputs.windows_and_further(flags, model, run.coins.window_length, [], canaries=CANARIES)
    return run.coins.used(held).ids


def sessions_of(run: RecordedRun, statistics: WindowStatistics, folder: Path) -> VoteSessions:
    """Give sessions such as the run's."""
    return VoteSessions(
        statistics,
        num_clients=run.clients,
        method=run.method(),
        thresholds=run.thresholds(),
        colluders=0,
        folder=folder,
    )


@pytest.mark.parametrize("protocol", ["plain", "additive", "bfv"])
def test_what_is_cut_from_a_run_is_what_its_clients_decided(
    recorded: Callable[..., Path], own_model: StreamedModel, tmp_path: Path, protocol: str
) -> None:
    """Masks, where the server sees them, and totals and choice equal those of worlds with the windows really used."""
    run = RecordedRun.read(recorded(protocol=protocol))
    statistics = survey(own_model, used_windows(run, own_model), tmp_path / "kept")
    sessions = sessions_of(run, statistics, tmp_path / "sessions")
    groups = np.arange(CLIENTS * PER_CLIENT)[:, None]
    nobody = np.empty((1, 0))
    world = Worlds(
        contributions=groups.reshape(1, CLIENTS, PER_CLIENT),
        coins=nobody.astype(np.int8),
        clients_of=nobody.astype(np.int64),
    )
    for block in statistics.blocks():
        seen = run.seen(block, sessions)
        assert (seen.masks is not None) == (protocol == "plain")
        for matrix in block.matrices:
            maker = MatrixRows(block, matrix, sessions.payload, groups)
            masks = np.stack(list(maker.clients(world, 0)))
            totals = masks.astype(np.int64).sum(0)[None]
            if seen.masks is not None:
                assert np.array_equal(seen.masks[matrix.name], masks)
            assert np.array_equal(seen.totals[matrix.name], totals)
            assert np.array_equal(seen.choice[matrix.name], maker.choice(totals, clients=CLIENTS))


def test_released_totals_are_read_where_they_were_saved(
    recorded: Callable[..., Path], own_model: StreamedModel, tmp_path: Path
) -> None:
    """Under central noise they are votes near the exact totals; without the file that view is not there."""
    central = {"dp": "central", "delta": "1e-5", "noise_multiplier": "0.5", "adjacency": "window-replace"}
    run = RecordedRun.read(recorded(**central, save_votes=True))
    statistics = survey(own_model, used_windows(run, own_model), tmp_path / "kept")
    sessions = sessions_of(run, statistics, tmp_path / "sessions")
    noise_sd = sessions.noise_sd("released", clients=CLIENTS)
    for block in statistics.blocks():
        seen = run.seen(block, sessions)
        for matrix in block.matrices:
            totals, noise = seen.totals[matrix.name], seen.released[matrix.name] - seen.totals[matrix.name]
            assert set(np.unique(totals)) <= set(range(CLIENTS + 1))
            assert 0.8 * noise_sd < noise.std() < 1.2 * noise_sd
            assert abs(noise.mean()) < 0.3 * noise_sd
    assert "released" in RecordedRun.read(recorded(**central)).hidden()


def laid_out(run: RecordedRun, model: StreamedModel) -> tuple[Tensor, Tensor, Contributions]:
    """Give the attacker's own windows, all windows, and who is who."""
    apart = windows_apart(run, own_flags(run), model, wanted=14, generator=np.random.default_rng(0))
    return apart, *pairs_and_others(run, apart, strangers=2)


def test_pairs_stand_where_they_stand_in_the_run(recorded: Callable[..., Path], own_model: StreamedModel) -> None:
    """In a labelled world a coin's window fills the run's own slot; others are the attacker's, each once a world."""
    run = RecordedRun.read(recorded())
    _, ids, contributions = laid_out(run, own_model)
    worlds = labelled_worlds(
        np.random.default_rng(0), 40, run=run, targets=contributions.targets, population=contributions.population
    )
    assert worlds.contributions.shape == (40, CLIENTS, PER_CLIENT)
    for held, coins, clients in zip(worlds.contributions, worlds.coins, worlds.clients_of, strict=True):
        assert len(set(held.reshape(-1).tolist())) == CLIENTS * PER_CLIENT
        asked = set()
        for slot, coin, client in zip(run.coins.slots, coins, clients, strict=True):
            assert client == slot.client
            window = ids[held[slot.client, slot.position]].tolist()
            assert window == list(slot.windows[0] if coin else slot.windows[1])
            asked.add(held[slot.client, slot.position])
        assert set(held.reshape(-1).tolist()) - asked <= set(contributions.population.tolist())
    assert 0.3 < worlds.coins.mean() < 0.7
    assert not np.intersect1d(contributions.population, contributions.known).size


def test_the_attacker_holds_no_text_of_the_run(recorded: Callable[..., Path], own_model: StreamedModel) -> None:
    """No window of its own repeats as much as half a window of the run or of a pair, wherever it stands."""
    run = RecordedRun.read(recorded())
    apart, _, _ = laid_out(run, own_model)
    used = {tuple(window) for window in used_windows(run, own_model).tolist()}
    wider = Namespace(
        **vars(own_flags(run)) | {"windows_per_client": 2 * PER_CLIENT}
    )  # theirs, and what can be partners
    used |= {
        tuple(window) for window in flags_to_inputs.client_windows(wider, own_model, len(apart[0]), []).ids.tolist()
    }
    taken = used | {window for slot in run.coins.slots for window in slot.windows}
    assert len({tuple(window) for window in apart.tolist()}) == len(apart) == 14
    half = run.coins.window_length // 2
    pieces = {window[start : start + half] for window in taken for start in range(len(window) - half + 1)}
    shared = [any(tuple(w[s : s + half]) in pieces for s in range(len(w) - half + 1)) for w in apart.tolist()]
    assert sum(shared) <= 1  # such words repeat by chance


def test_windows_that_repeat_the_run_are_left_out(
    recorded: Callable[..., Path], own_model: StreamedModel, tmp_path: Path
) -> None:
    """Of windows already cut, those after the clients' are taken, less partners and repetitions."""
    length = coins_of(recorded()).window_length
    draw = torch.randint(2, 300, (40, length), generator=torch.Generator().manual_seed(1))
    draw[30] = draw[0]  # what a client holds, once more
    file = tmp_path / "windows.safetensors"
    save_file({"windows": draw.numpy()}, file)
    run = RecordedRun.read(recorded(data=file))
    apart = windows_apart(run, own_flags(run), own_model, wanted=100, generator=np.random.default_rng(0))
    expected = [window for number, window in enumerate(draw.tolist()) if number > 10 and number != 30]
    assert sorted(apart.tolist()) == sorted(expected)


def test_other_text_than_the_runs_is_refused(recorded: Callable[..., Path], inputs: Inputs, audit: Any, tmp_path: Path):
    """Text that the run's windows were not cut from says nothing of what its clients took."""
    ran = audit(recorded(), tmp_path / "out", **{"--data": inputs.public_text})
    assert ran.status == 2
    assert "is not the text that the run's windows were cut from, or has changed" in ran.line


def test_coins_are_for_grading_alone(recorded: Callable[..., Path], audit: Any, tmp_path: Path) -> None:
    """With every coin turned over scores stay as they are, so an AUC becomes what is missing to 1."""
    run = recorded()
    turned = shutil.copytree(run, tmp_path / "turned")
    coins = coins_of(run)
    slots = tuple(Slot(each.client, each.position, each.windows, 1 - each.coin) for each in coins.slots)
    Coins(coins.model_sha256, coins.window_length, slots).save(turned / "coins.json")
    flags = {"--attacks": "similarity,score-test,learned"}
    found = [json.loads(audit(each, tmp_path / f"out-{each.name}", **flags).stdout) for each in (run, turned)]
    assert {cell["sees"] for cell in found[0]["cells"]} == {"masks", "prune mask"}
    for one, other in zip(*(each["cells"] for each in found), strict=True):
        assert len(one["attacks"]) == 4
        for ahead, behind in zip(one["attacks"], other["attacks"], strict=True):
            assert ahead["auc"]["value"] == pytest.approx(1 - behind["auc"]["value"])
            assert ahead["members"] == behind["non_members"]


def test_a_mask_tells_which_window_made_it(recorded: Callable[..., Path], own_model: StreamedModel, tmp_path: Path):
    """With a client's own mask in view, most coins of windows that never met their partner are told rightly."""
    run = RecordedRun.read(recorded(windows_per_client=1, clients=8, canaries=8))
    apart = windows_apart(run, own_flags(run), own_model, wanted=30, generator=np.random.default_rng(0))
    ids, contributions = pairs_and_others(run, apart, strangers=2)
    game = RecordedGame.drawn(
        run,
        survey(own_model, ids, tmp_path / "kept"),
        contributions,
        labelled=16,
        reference=8,
        generator=np.random.default_rng(0),
    )
    scored = play(game, attacks=["similarity"]).scored["masks"]
    right = (scored.scores["similarity"] > 0) == (scored.job.truth.coins == 1)
    assert scored.job.truth.in_play.sum() == 8
    assert right[scored.job.truth.in_play].all()


def test_a_claim_of_the_game_is_compared(recorded: Callable[..., Path], audit: Any, tmp_path: Path) -> None:
    """Under noise for window-replace every view is held against the run's own claim, which counts what was repeated."""
    run = shutil.copytree(recorded(**CLAIMED, adjacency="window-replace"), tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["privacy"]["epsilon"] *= 1.5  # a session was held twice, say
    (run / "result.json").write_text(json.dumps(result))
    found = json.loads(audit(run, tmp_path / "out").stdout)
    privacy = json.loads((run / "result.json").read_text())["privacy"]
    assert {cell["adversary"] for cell in found["cells"]} == {"server", "public observer"}
    for cell in found["cells"]:
        assert cell["claim"]["epsilon"] == privacy["epsilon"]
        assert cell["claim"]["adversary"] == privacy["adversary"]
        assert cell["no_claim"] is None
    assert found["not_seen"] == {"server and colluders": "what colluders submitted is not in a transcript"}


def test_another_claim_is_not(recorded: Callable[..., Path], audit: Any, tmp_path: Path) -> None:
    """A claim about clients is not about the windows that coins decide."""
    found = json.loads(audit(recorded(**CLAIMED, adjacency="client-replace"), tmp_path / "out").stdout)
    for cell in found["cells"]:
        assert cell["claim"] is None
        assert cell["no_claim"] == "the claim is of client-replace, the game of window-replace"


@pytest.mark.parametrize(("schedule", "propagate"), [("one-shot", "local"), ("iterative", "global")])
def test_other_propagation_is_said(
    recorded: Callable[..., Path], audit: Any, tmp_path: Path, schedule: str, propagate: str
) -> None:
    """Where later blocks depend on pruning before them, the report says that only block 0 is exact."""
    ran = audit(recorded(schedule=schedule, propagate=propagate), tmp_path / "out")
    said = json.loads(ran.stdout)["game"]["propagation"]
    assert said.startswith(f"{propagate}: the attacker's worlds are exact for block 0 alone")


def test_tables_and_a_second_time(recorded: Callable[..., Path], audit: Any, tmp_path: Path, cli: Any) -> None:
    """Tables name attacks and what is not claimed; the same command again does nothing."""
    flags = [f"{name}={value}" for name, value in SMALL.items()]
    command = ["audit", recorded(protocol="bfv"), "--out", tmp_path / "out", f"--cache={tmp_path / 'kept'}", *flags]
    ran = cli(*command)
    assert ran.status == 0, ran.stderr
    for text in ("similarity", "no claim: no differential privacy", "no key is in a transcript", "nothing was chosen"):
        assert text in " ".join(ran.stdout.split())
    assert (
        "more right guesses than luck makes, corrected for" in " ".join(ran.stdout.split()) or "by luck" in ran.stdout
    )
    assert "already done" in cli(*command).stdout


def test_another_run_in_the_same_folder_is_not_done_already(
    recorded: Callable[..., Path], audit: Any, tmp_path: Path
) -> None:
    """What was audited is known by a digest under a key that is not in the report; --overwrite audits it anew."""
    run = shutil.copytree(recorded(), tmp_path / "run")
    first = audit(run, tmp_path / "out")
    again = audit(run, tmp_path / "out")
    digest = json.loads(first.stdout)["files_hmac"]
    message = min((run / "transcript" / "block-0001").glob("*.bin")).relative_to(run)
    names = ("result.json", "coins.json", "prune_masks.safetensors", "transcript/block-0000/plan.json", message)
    contents = [(run / name).read_bytes() for name in names[:2]]
    assert (first.status, again.stdout) == (0, first.stdout)
    for plain in (*contents, b"".join(contents), b"".join(hashlib.sha256(each).digest() for each in contents)):
        assert hashlib.sha256(plain).hexdigest() != digest
    for name in names:
        (run / name).write_bytes((run / name).read_bytes() + b" ")
        ran = audit(run, tmp_path / "out")
        assert ran.status == 2
        assert ran.line.endswith(
            f"--out {tmp_path / 'out'} holds an audit of files that have changed since, or whose key lies in another "
            "--cache; name another folder or add --overwrite"
        )
        shutil.copy(recorded() / name, run / name)
    (run / "votes.safetensors").write_bytes(b"votes")
    assert audit(run, tmp_path / "out").status == 2
    (run / "votes.safetensors").unlink()
    assert audit(run, tmp_path / "out").status == 0
    (run / "result.json").write_bytes((run / "result.json").read_bytes() + b" ")
    flags = (f"{name}={value}" for name, value in (SMALL | {"--cache": tmp_path / "kept"}).items())
    assert run_main("audit", run, "--out", tmp_path / "out", "--overwrite", "--device=cpu", *flags).status == 0


def test_attacks_on_one_run_are_set_beside_the_simple_one(
    recorded: Callable[..., Path], audit: Any, tmp_path: Path
) -> None:
    """Without an interval, since there is one run; where there is no simple attack, with the reason."""
    flags = {"--attacks": "similarity,simple-test"}
    found = json.loads(audit(recorded(), tmp_path / "out", **flags).stdout)
    cells = {cell["sees"]: {each["attack"]: each for each in cell["attacks"]} for cell in found["cells"]}
    comparison = cells["masks"]["similarity"]["against_simple"]
    difference = cells["masks"]["similarity"]["auc"]["value"] - cells["masks"]["simple-test"]["auc"]["value"]
    if comparison["figure"] == "AUC":
        assert comparison["difference"]["value"] == pytest.approx(difference)
        assert comparison["difference"]["reason"] == "an interval needs 2 runs, here is 1"
    else:
        assert comparison["difference"]["reason"].startswith("both AUCs are 0.99 or more, and 1 runs")
    reason = cells["prune mask"]["similarity"]["against_simple"]["difference"]["reason"]
    assert reason == "simple-test does not read rows of the kind choice"


@pytest.mark.parametrize(
    ("p_values", "says"),
    [
        ({"masks; blind": 1.0, "masks; similarity": 1.0}, "no attack made more right guesses than luck makes"),
        ({"masks; blind": 1.0, "masks; similarity": 0.02}, "corrected for 2 tries: 0.02 (masks; similarity)"),
    ],
)
def test_the_last_line_names_an_attack_only_where_one_did_better(p_values: dict[str, float], says: str) -> None:
    """At a chance of 1 none did, least of all the blind one."""
    assert says in least_chance(p_values)
    assert ("blind" in least_chance(p_values)) is False


@pytest.mark.parametrize(
    ("flag", "changed"), [("--canaries K", {"canaries": None}), ("--save-transcript", {"save_transcript": None})]
)
def test_a_run_without_coins_or_transcript_is_refused(
    recorded: Callable[..., Path], audit: Any, tmp_path: Path, flag: str, changed: dict[str, Any]
) -> None:
    """Nothing can be graded; the error names the flags that it takes."""
    ran = audit(recorded(**changed), tmp_path / "out")
    assert ran.status == 2
    assert f"is a run without {flag}: " in ran.line
    assert ran.line.endswith("run fedprllm prune --canaries K --save-transcript")


def test_a_run_whose_coins_are_gone_is_refused(recorded: Callable[..., Path], audit: Any, tmp_path: Path) -> None:
    """The error names the command that makes them."""
    run = shutil.copytree(recorded(), tmp_path / "run")
    (run / "coins.json").unlink()
    ran = audit(run, tmp_path / "out")
    assert ran.status == 2
    assert f"{run / 'coins.json'} holds no coins of a run" in ran.line
    assert ran.line.endswith("fedprllm prune --canaries K --save-transcript makes it")


def test_runs_that_cannot_be_audited_are_refused(
    recorded: Callable[..., Path], own_model: StreamedModel, tmp_path: Path
) -> None:
    """No run, one of other payloads, and one whose coins all fell alike."""
    with pytest.raises(InputError, match="holds no finished run of fedprllm prune"):
        RecordedRun.read(tmp_path)
    run = shutil.copytree(recorded(), tmp_path / "run")
    coins = coins_of(run)
    slots = tuple(Slot(each.client, each.position, each.windows, 1) for each in coins.slots)
    Coins(coins.model_sha256, coins.window_length, slots).save(run / "coins.json")
    with pytest.raises(InputError, match="all coins fell alike"):
        RecordedRun.read(run)
    rewrite(run / "result.json", payload="statistics")
    with pytest.raises(InputError, match="is a run of --payload statistics; only transcripts of votes"):
        RecordedRun.read(run)


def spoil_session(run: Path) -> None:
    """Lose a session."""
    shutil.rmtree(run / "transcript" / "block-0001")


def spoil_messages(run: Path) -> None:
    """Lose all but the first messages of a session."""
    for file in sorted((run / "transcript" / "block-0000").glob("*.bin"))[4:]:
        file.unlink()


def spoil_masks(run: Path) -> None:
    """Cut the prune masks short."""
    (run / "prune_masks.safetensors").write_bytes(b"short")


def spoil_shapes(run: Path) -> None:
    """Keep one row of every prune mask."""
    first = {name: np.ascontiguousarray(mask[:1]) for name, mask in load_file(run / "prune_masks.safetensors").items()}
    save_file(first, run / "prune_masks.safetensors")


def spoil_plan(run: Path) -> None:
    """Put the plan of another block's session in a session's place."""
    other = run / "transcript" / "block-0001" / "plan.json"
    shutil.copy(other, run / "transcript" / "block-0000" / "plan.json")


def spoil_choice(run: Path) -> None:
    """Keep one prune mask's number of weights, but turn its rows round."""
    masks = load_file(run / "prune_masks.safetensors")
    name = max(masks)
    masks[name] = np.ascontiguousarray(masks[name][::-1])
    save_file(masks, run / "prune_masks.safetensors")


def spoil_protocol(run: Path) -> None:
    """Say that the run was of another protocol than its transcript."""
    rewrite(run / "result.json", protocol="additive")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_choice, "transcript choose; they are not of one run"),
        (spoil_protocol, "is a session of the protocol plain, "),
        (spoil_session, "transcript has no session of block 1"),
        (spoil_messages, "cannot be followed"),
        (spoil_masks, "prune_masks.safetensors cannot be read"),
        (spoil_shapes, "has shape"),
        (spoil_plan, "is a session of another model or of other clients than result.json says"),
    ],
)
def test_a_spoilt_run_is_refused(
    recorded: Callable[..., Path], audit: Any, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    """What is missing or does not fit is named."""
    run = shutil.copytree(recorded(), tmp_path / "run")
    spoil(run)
    ran = audit(run, tmp_path / "out")
    assert ran.status == 2
    assert message in ran.line


@pytest.mark.parametrize("epsilon", [float("nan"), float("inf"), -1.0, "1", True, [1.0]])
def test_an_epsilon_that_is_none_is_refused(recorded: Callable[..., Path], tmp_path: Path, epsilon: object) -> None:
    """A claim is a finite number from 0 up; null stands for none, of noise too small, and a missing one is refused."""
    run = shutil.copytree(recorded(**CLAIMED, adjacency="window-replace"), tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    for value, message in ((epsilon, "must be a finite number from 0 up"), (None, "")):
        result["privacy"]["epsilon"] = value
        (run / "result.json").write_text(json.dumps(result))
        if not message:
            assert RecordedRun.read(run).result["privacy"]["epsilon"] is None
            continue
        with pytest.raises(InputError, match=message):
            RecordedRun.read(run)
    del result["privacy"]["epsilon"]
    (run / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"privacy\.epsilon is missing"):
        RecordedRun.read(run)


@pytest.mark.parametrize("name", ["clients", "windows_per_client"])
@pytest.mark.parametrize("value", [None, 0, "3", True])
def test_a_result_without_counts_is_refused(
    recorded: Callable[..., Path], audit: Any, tmp_path: Path, name: str, value: object
) -> None:
    """A count that is missing, or is none, is named in one line."""
    run = shutil.copytree(recorded(), tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["config"] |= {name: value}
    if value is None:
        del result["config"][name]
    (run / "result.json").write_text(json.dumps(result))
    ran = audit(run, tmp_path / "out")
    assert ran.status == 2
    assert f"result.json: config.{name}={value!r} must be an integer from 1 up" in ran.line


def test_a_run_that_clients_left_is_refused(recorded: Callable[..., Path], audit: Any, tmp_path: Path) -> None:
    """A coin of a client that left decided nothing."""
    ran = audit(recorded(dropout="0.3", seed=2), tmp_path / "out")
    assert ran.status == 2
    assert "clients left; their coins decided nothing there. Audit a run without --dropout" in ran.line


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--clients", 4, "--clients does not go with RUN_DIR"),
        ("--runs", 3, "--runs does not go with RUN_DIR"),
        ("--runs", 64, "--runs does not go with RUN_DIR"),
        ("--clients", 8, "--clients does not go with RUN_DIR"),
        ("--dtype", "auto", "--dtype does not go with RUN_DIR"),
        ("--kind", "masks", "--kind does not go with RUN_DIR"),
        ("--labelled-runs", 7, "--labelled-runs 7 must be at least 8"),
        ("--strangers", 1, "--strangers 1 must be at least 2"),
        ("--population", 5, "must leave at least 6 windows, those of a run"),
        ("--population", 5000, "--population and --strangers ask for 5002 windows beside those of the run"),
    ],
)
def test_flags_that_do_not_go(
    recorded: Callable[..., Path], audit: Any, tmp_path: Path, flag: str, value: int, message: str
) -> None:
    """What the run says itself is not said again, and too little is refused."""
    ran = audit(recorded(), tmp_path / "out", **{flag: value})
    assert ran.status == 2
    assert message in ran.line


def test_another_model_is_refused(recorded: Callable[..., Path], audit: Any, tmp_path: Path, inputs: Inputs) -> None:
    """A model of other weights did not make those masks."""
    other = shutil.copytree(inputs.model, tmp_path / "model")
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 2
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    ran = audit(recorded(), tmp_path / "out", **{"--model": other})
    assert ran.status == 2
    assert "is another model than that of" in ran.line


def test_without_a_run_model_and_text_are_needed(tmp_path: Path, cli: Any, inputs: Inputs) -> None:
    """Without a run to name them, --model and --data must be given."""
    ran = cli("audit", "--out", tmp_path / "out")
    assert ran.status == 2
    assert "the following arguments are required: --model, --data (see fedprllm" in ran.line
    ran = cli("audit", "--out", tmp_path / "out", "--model", inputs.model)
    assert "the following arguments are required: --data (see fedprllm" in ran.line
