"""``prune --dp``: what it refuses, what it claims, what its result may depend on, and what ledgers are charged."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from experiments.privacy_section import claim
from fedprllm_secure.payloads import units
from fedprllm_secure.privacy import ADJACENCIES, MEANINGS, Budget, Ledger
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.sessions import OpenSession
from fedprllm_secure.work import WorkFolder
from tests.experiments.conftest import Inputs, Ran, story

Prune = Callable[..., Ran]

DP: dict[str, Any] = {
    "clients": "5",
    "dp": "central",
    "epsilon": "4",
    "delta": "1e-5",
    "adjacency": "client-zero-out",
    "baselines": "",
}
KINDS: dict[str, dict[str, Any]] = {
    "votes": {},
    "votes, distributed": {"dp": "distributed", "protocol": "additive"},
    "units, distributed": {"payload": "units", "dp": "distributed", "protocol": "additive"},
    "units, gumbel": {"payload": "units", "noise": "gumbel"},
    "statistics": {"payload": "statistics"},
    "statistics of windows, distributed": {
        "payload": "statistics",
        "dp": "distributed",
        "protocol": "additive",
        "adjacency": "window-replace",
        "noise": "discrete-gaussian",
    },
}
STATISTICS = [name for name in KINDS if name.startswith("statistics")]
DISTRIBUTED = [name for name in KINDS if name.endswith("distributed")]
GUMBEL = {"payload": "units", "noise": "gumbel"}
# Nothing else in a result may change while the noisy totals do not.
MEASURED = ("seconds", "peak_memory_bytes", "simulation_only")


def private(**changes: Any) -> dict[str, Any]:
    """The flags of a private run."""
    return DP | changes


def result_of(out: Path) -> dict[str, Any]:
    """Read a result."""
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


@pytest.fixture(scope="module")
def results(prune: Prune, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One result of each kind."""
    place = tmp_path_factory.mktemp("private")
    for number, (name, flags) in enumerate(KINDS.items()):
        ran = prune(place / str(number), **private(**flags))
        assert ran.status == 0, (name, ran.stderr)
    return {name: result_of(place / str(number)) for number, name in enumerate(KINDS)}


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"delta": None}, "--dp central needs --delta: the claim means nothing without it, so it has no default"),
        ({"adjacency": None}, "--dp central needs --adjacency: the claim means nothing without it"),
        (
            {"delta": None, "adjacency": None, "epsilon": None},
            "--dp central needs --adjacency and --delta: the claim means nothing without them, so they have no "
            "default; and either --epsilon, which finds the noise, or --noise-multiplier",
        ),
        ({"epsilon": None}, "--dp central needs either --epsilon, which finds the noise, or --noise-multiplier"),
        ({"noise_multiplier": "1"}, "--dp central needs either --epsilon, .*, or --noise-multiplier"),
        *(
            ({"dp": dp} | dict.fromkeys({"epsilon", "delta", "adjacency"} - {flag}) | given, f"--{flag} goes with --dp")
            for dp in (None, "none")
            for flag, given in (
                ("epsilon", {}),
                ("delta", {}),
                ("adjacency", {}),
                ("noise-multiplier", {"noise_multiplier": "1"}),
                ("noise", {"noise": "discrete-gaussian"}),
            )
        ),
        ({"dp": "distributed"}, "dp=distributed does not go with protocol=plain: the server would see each client's"),
        ({"adjacency": "window-zero-out"}, "adjacency=window-zero-out has no meaning for votes"),
        ({"adjacency": "window-zero-out", "payload": "units"}, "adjacency=window-zero-out has no meaning for votes"),
        ({"adjacency": "window-zero-out", **GUMBEL}, "adjacency=window-zero-out has no meaning for votes"),
        ({"adjacency": "client"}, "argument --adjacency: invalid choice"),
        ({"scale": True}, "--scale does not go with --dp: the share of clients that kept a weight is not released"),
        ({"scale": True, "payload": "units"}, "--scale goes with --payload votes, not units"),
        ({"group": "row", "payload": "units"}, "--group row does not go with --payload units"),
        ({"local_group": "row", "payload": "units"}, "--local-group row does not go with --payload units"),
        ({"noise": "gumbel"}, "--noise gumbel goes with --payload units alone"),
        ({"noise": "gumbel", "payload": "statistics"}, "--noise gumbel goes with --payload units alone"),
        ({**GUMBEL, "dp": "distributed", "protocol": "additive"}, "noise=gumbel does not go with dp=distributed"),
        ({**GUMBEL, "epsilon": None, "noise_multiplier": "1"}, "noise=gumbel takes epsilon"),
        ({**GUMBEL, "save_votes": True}, "--save-votes does not go with --noise gumbel, which publishes no totals"),
        ({**GUMBEL, "sparsity": "0.01"}, "the sparsity removes not even one unit of a kind"),
        ({"payload": "statistics", "public_data": None}, r"needs public text .* here are 0 \(--public-data\)"),
        ({"payload": "statistics", "public_windows": "31"}, "at least 32 windows of it; here are 31"),
        ({"clip": "1"}, "--clip goes with --payload statistics and --dp"),
        ({"clip": "nan", "payload": "statistics"}, "clip=nan must be above 0 and finite"),
        ({"rank": "5"}, "--rank goes with --payload statistics and --dp"),
        ({"rank": "0", "payload": "statistics"}, "argument --rank: '0' must be a whole number of at least 1"),
        ({"data_set": "clinic"}, "--data-set goes with --ledger"),
        *(({"epsilon": value}, f"epsilon={float(value)} must be above 0 and finite") for value in ("nan", "inf")),
        *(({"epsilon": value}, f"epsilon={float(value)} must be above 0 and finite") for value in ("0", "-1")),
        *(({"delta": value}, f"delta={float(value)} must be above 0 and below 1") for value in ("0", "1", "nan")),
        ({"epsilon": None, "noise_multiplier": "1e6"}, "takes noise of standard deviation .*, more than can be drawn"),
        ({"epsilon": "1e-30"}, "takes noise of standard deviation .*, more than can be drawn"),
        (
            {"dp": "distributed", "protocol": "additive", "assumed_colluders": "3", "minimum_survivors": "4"},
            "minimum_survivors=4 must be at least 2 more than assumed_colluders=3",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    prune: Prune, tmp_path: Path, changes: dict[str, Any], pattern: str
) -> None:
    """Status 2, one line that names what is wrong, and a folder that is free for the mended command."""
    ran = prune(tmp_path / "run", **private(**changes))

    assert ran.status == 2, ran.stderr
    assert re.search(pattern, ran.line), ran.line
    assert not (tmp_path / "run" / "work").exists()
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize("flag", ["rank", "clip"])
def test_flags_of_noisy_statistics_do_nothing_without_noise(prune: Prune, tmp_path: Path, flag: str) -> None:
    """So they are refused there."""
    ran = prune(tmp_path / "run", payload="statistics", **{flag: "5"})

    assert ran.status == 2
    assert f"--{flag} goes with --payload statistics and --dp" in ran.line


@pytest.mark.parametrize("kind", KINDS)
def test_the_claim_names_everything_it_rests_on(results: dict[str, dict[str, Any]], kind: str) -> None:
    """Mechanism, adjacency, adversary, epsilon and delta, colluders, what wraps, and what is not covered."""
    privacy, asked = results[kind]["privacy"], private(**KINDS[kind])
    is_distributed = kind in DISTRIBUTED

    assert privacy["dp"] == asked["dp"]
    assert privacy["mechanism"] == ("gumbel-top-k" if "gumbel" in kind else asked.get("noise", "skellam"))
    assert privacy["adjacency"] == asked["adjacency"]
    assert privacy["adjacency_means"] == MEANINGS[asked["adjacency"]]
    assert privacy["delta"] == 1e-5
    assert 3.9 < privacy["epsilon"] <= 4
    assert privacy["claim"] == f"(4, 1e-05)-differential privacy about {asked['adjacency']}"
    assert privacy["assumed_colluders"] == (1 if is_distributed else None)
    assert privacy["adversary"] == (
        "server with 1 colluding client" if is_distributed else "readers of the output; the server is trusted"
    )
    assert privacy["releases"] == privacy["releases_of_an_uninterrupted_run"]
    assert privacy["releases"] == (1 if kind in STATISTICS else 4 if "gumbel" in kind else 2)
    assert (0 < privacy["wrap_probability"] <= 2e-6) if is_distributed else privacy["wrap_probability"] == 0
    assert privacy["ledger"].startswith("none: a simulation")
    assert any("timing" in line for line in privacy["not_covered"])


@pytest.mark.parametrize("kind", [name for name in KINDS if "gumbel" not in name])
def test_noise_is_told_in_units_that_mean_something(results: dict[str, dict[str, Any]], kind: str) -> None:
    """On the grid, in votes, or in clips and log-energies; shares add up to more if nobody leaves."""
    privacy = results[kind]["privacy"]
    sensitivity, noise = privacy["sensitivity_grid_units"], privacy["noise_standard_deviation"]
    guaranteed, full = noise["guaranteed_grid_units"], noise["if_nobody_leaves_grid_units"]
    releases = privacy["releases"]

    assert guaranteed == pytest.approx(privacy["noise_multiplier"] * sensitivity["l2_of_largest_release"])
    assert sensitivity["l2"] == pytest.approx(sensitivity["l2_of_largest_release"] * math.sqrt(releases))
    assert privacy["noise_multiplier_as_one_release"] == pytest.approx(
        privacy["noise_multiplier"] / math.sqrt(releases)
    )
    # Of five clients four stay and one colludes: three shares are enough.
    assert full / guaranteed == pytest.approx(math.sqrt(5 / 3) if kind in DISTRIBUTED else 1)
    assert privacy["shares_guaranteed"] == (3 if kind in DISTRIBUTED else 1)
    reference = privacy["continuous_reference"]
    assert privacy["epsilon"] * 0.9 < reference["gaussian_epsilon"] <= privacy["epsilon"]
    assert reference["gaussian_epsilon"] <= reference["opacus_prv_epsilon"] <= reference["gaussian_epsilon"] + 0.02
    assert reference["gaussian_epsilon"] < reference["opacus_rdp_epsilon"] < 1.15 * reference["gaussian_epsilon"]
    if kind not in STATISTICS:
        assert noise["if_nobody_leaves_votes"] == full / 2  # a vote counts 2 where half of all go
        return
    clip = privacy["clip"]
    contributions = 10 if privacy["adjacency"] == "window-replace" else 5
    change = 2 if privacy["adjacency"] == "window-replace" else 1
    assert clip["set_by"] == "held-out public text"
    assert clip["contributions"] == contributions
    assert clip["grid_units"] * change == sensitivity["l2"]
    assert noise["guaranteed_clips"] == pytest.approx(privacy["noise_multiplier"] * change)
    assert noise["if_nobody_leaves_clips"] == full / clip["grid_units"]
    assert noise["if_nobody_leaves_mean_log_energy"] == pytest.approx(
        noise["if_nobody_leaves_clips"] * clip["log_energy"] / contributions
    )


def test_a_clip_that_was_given_is_the_clip(prune: Prune, tmp_path: Path) -> None:
    """To the last bit, and said to be so."""
    asked = private(payload="statistics", clip="0.7", rank="3")
    assert prune(tmp_path / "run", **asked).status == 0
    privacy = result_of(tmp_path / "run")["privacy"]

    assert privacy["clip"] == {"log_energy": 0.7, "grid_units": 64, "set_by": "--clip", "contributions": 5}


@pytest.mark.parametrize("adjacency", ["client-zero-out", "client-replace"])
def test_noise_of_a_choice_is_told_in_votes(
    prune: Prune, tmp_path: Path, results: dict[str, dict[str, Any]], adjacency: str
) -> None:
    """Its scale is the range of a participant's influence over epsilon_each; a choice has no share and no reference."""
    assert prune(tmp_path / "run", **private(**GUMBEL, adjacency=adjacency)).status == 0
    privacy = result_of(tmp_path / "run")["privacy"]
    scale = (2 if adjacency == "client-replace" else 1) / privacy["epsilon_each"]

    assert privacy["picks"] == 2 * (1 + 32)  # of 2 heads and 64 neurons in each of 2 blocks
    assert privacy["sensitivity_votes"] == {"score_range": 2 if adjacency == "client-replace" else 1}
    assert privacy["noise_standard_deviation"]["if_nobody_leaves_votes"] == pytest.approx(1.2825498 * scale)
    assert privacy["epsilon_each"] == results["units, gumbel"]["privacy"]["epsilon_each"]
    assert "continuous_reference" not in privacy


@pytest.mark.parametrize(
    ("epsilon", "shown"), [(3.4121, "3.413"), (4.0, "4"), (3.9999993, "4"), (1e-5 / 3, "3.334e-06")]
)
def test_a_claim_in_words_is_never_below_the_claim(epsilon: float, shown: str) -> None:
    """Rounded up: a smaller epsilon would not be proven."""
    target = PrivacyTarget(place="central", adjacency="client-replace", delta=1e-5, epsilon=epsilon)

    assert claim(epsilon, target) == f"({shown}, 1e-05)-differential privacy about client-replace"
    assert float(shown) >= epsilon


@pytest.mark.parametrize("as_json", [True, None])
def test_of_hardly_any_noise_nothing_is_claimed(prune: Prune, tmp_path: Path, as_json: bool | None) -> None:
    """In result, tables and model card; references that cannot be computed are none."""
    asked = private(epsilon=None, noise_multiplier="1e-4", save_model=True, json=as_json)
    ran = prune(tmp_path / "run", **asked)
    privacy = result_of(tmp_path / "run")["privacy"]

    assert ran.status == 0, ran.stderr
    assert privacy["epsilon"] is None
    assert privacy["claim"] == "none: nothing is proven of noise this small at delta 1e-05"
    assert privacy["continuous_reference"]["opacus_prv_epsilon"] is None
    assert "none: nothing is proven of noise this small" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert "nothing is proven" in " ".join(ran.stdout.split())
    assert prune(tmp_path / "run", **asked).status == 0  # and as a finished result


@pytest.mark.parametrize("kind", ["votes", "units, gumbel", "statistics"])
def test_tables_and_card_name_the_claim(prune: Prune, tmp_path: Path, kind: str) -> None:
    """With adversary, adjacency, ledger and how much noise there is."""
    ran = prune(tmp_path / "run", **private(**KINDS[kind], json=None, save_model=True))
    shown = " ".join(ran.stdout.split())
    card = (tmp_path / "run" / "model" / "README.md").read_text()

    assert ran.status == 0
    for text in (shown, card):
        assert "(4, 1e-05)-differential privacy about client-zero-out" in text
        assert "against readers of the output; the server is trusted" in text
        assert MEANINGS["client-zero-out"] in text
    assert re.search(rf"noise of standard deviation [\d.]+ {'clips' if kind in STATISTICS else 'votes'}, again", shown)
    assert "ledger: none: a simulation" in shown


def test_json_output_is_the_result(prune: Prune, tmp_path: Path) -> None:
    """Nothing else is on stdout; advice about the noise is on stderr."""
    ran = prune(tmp_path / "run", **private())

    assert json.loads(ran.stdout) == result_of(tmp_path / "run")
    assert "the prune mask will be close to a coin flip" in " ".join(ran.stderr.split())


def test_advice_does_not_name_what_is_already_done(results: dict[str, dict[str, Any]]) -> None:
    """Votes are told of units; units are not."""
    told = {kind: " ".join(results[kind]["notes"]) for kind in KINDS}

    assert "--payload units" in told["votes"]
    assert "--payload units" not in told["units, distributed"]
    assert "directions to stand above it" in told["statistics"]


def test_saved_votes_are_noisy_int64_totals(prune: Prune, tmp_path: Path) -> None:
    """Of centred votes, with noise of the stated size; exact ones are nowhere."""
    assert prune(tmp_path / "noisy", **private(save_votes=True)).status == 0
    assert prune(tmp_path / "exact", clients="5", baselines="", save_votes=True).status == 0
    noisy, exact = (load_file(tmp_path / name / "votes.safetensors") for name in ("noisy", "exact"))
    noise = torch.cat([(noisy[name] - (2 * exact[name] - 5)).flatten() for name in exact]).double()
    result = result_of(tmp_path / "noisy")
    deviation = result["privacy"]["noise_standard_deviation"]["guaranteed_grid_units"]

    assert {tensor.dtype for tensor in noisy.values()} == {torch.int64}
    assert {tensor.dtype for tensor in exact.values()} == {torch.int32}
    assert float(noise.std()) == pytest.approx(deviation, rel=0.03)
    assert "unanimous_but_kept_weights" not in result["sparsity"]  # which noisy totals cannot say


@pytest.mark.parametrize("dp", [True, False])
def test_what_private_text_alone_gives_stands_apart(prune: Prune, tmp_path: Path, dp: bool) -> None:
    """Central and local baselines, and what was counted in private text, are simulation only under a claim."""
    asked = private(baselines="central,local,public,dense") if dp else {"clients": "5", "baselines": "central,local"}
    assert prune(tmp_path / "run", **asked, save_transcript=True).status == 0
    result = result_of(tmp_path / "run")

    assert ("simulation_only" in result) == dp
    for name in ("central", "local"):
        assert (name in result["perplexity"]) != dp
    assert ("expert_votes_by_magnitude" in result["protocol"]) != dp
    if dp:
        alone = result["simulation_only"]
        assert set(alone["perplexity"]) == {"central", "local"}
        assert alone["note"].startswith("not covered by epsilon")
        assert "transcript" in alone
        assert {"dense", "public", "federated"} < set(result["perplexity"])


def test_what_was_counted_in_private_text_is_told_apart(prune: Prune, inputs: Inputs, tmp_path: Path) -> None:
    """How many owners it has is a note of the simulation, not of the result."""
    asked = private(clients="3", data=inputs.folder / "natural", partition="natural")
    assert prune(tmp_path / "run", **asked).status == 0
    result = result_of(tmp_path / "run")
    owners = "4 owners of text were found; those with the most text are the 3 clients"

    assert result["simulation_only"]["notes"] == [owners]
    assert owners not in result["notes"]


def fix_noisy_totals(patch: pytest.MonkeyPatch) -> None:
    """Let every release be drawn from a fixed seed, whatever text is behind it."""

    def fixed(length: int) -> np.ndarray:
        return np.random.default_rng(length).integers(-20, 21, length)

    def shares(self: SessionNoise, vectors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        if not self.is_distributed:
            return vectors
        return {name: torch.from_numpy(fixed(len(values))) for name, values in vectors.items()}

    def released(self: SessionNoise, totals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.is_distributed:
            return dict(totals)
        return {name: fixed(len(values)) for name, values in totals.items()}

    def choice(scores: np.ndarray, picks: int, **_: Any) -> np.ndarray:
        return np.random.default_rng(len(scores)).permutation(len(scores))[:picks]

    patch.setattr(SessionNoise, "with_share", shares)
    patch.setattr(SessionNoise, "released", released)
    patch.setattr(units, "top_k", choice)


def covered(value: Any) -> Any:
    """Drop from a result what was measured in time or memory, and what is simulation only."""
    if not isinstance(value, dict):
        return value
    return {key: covered(entry) for key, entry in value.items() if key not in (*MEASURED, "seconds_by_step")}


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_written_depends_on_text_through_noisy_totals(
    prune: Prune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Other private text and the same noisy totals give, outside simulation_only, the same files to the last bit."""
    text = tmp_path / "private.txt"
    asked = private(**KINDS[kind], data=text, baselines="central,local,public,dense,magnitude", save_model=True)
    fix_noisy_totals(monkeypatch)
    seen = []
    for seed in (1, 99):
        text.write_text(story(seed, 1200))
        ran = prune(tmp_path / "run", **asked, save_votes=None if "gumbel" in kind else True)
        assert ran.status == 0, ran.stderr
        files = {
            str(file.relative_to(tmp_path / "run")): file.read_bytes()
            for file in (tmp_path / "run").rglob("*")
            if file.is_file() and file.name != "result.json"
        }
        seen.append((covered(result_of(tmp_path / "run")), files, ran.stderr, result_of(tmp_path / "run")))
        shutil.rmtree(tmp_path / "run")
    (result, files, stderr, one), (result_too, files_too, stderr_too, other) = seen

    assert result == result_too
    assert files == files_too
    assert stderr == stderr_too
    assert {"prune_masks.safetensors", "model/model.safetensors"} <= set(files)
    assert one["simulation_only"]["perplexity"] != other["simulation_only"]["perplexity"]  # or the test shows nothing


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where the clients' ledgers are to be."""
    (tmp_path / "ledgers").mkdir(mode=0o700)
    return tmp_path / "ledgers" / "ledger.json"


def charges(file: Path, clients: int = 5) -> list[list[str]]:
    """The mechanisms that each client was charged with."""
    ledgers = (Ledger(file.with_name(f"{file.stem}-{client:04d}.json")) for client in range(clients))
    return [[charge.release.mechanism for charge in each.book().charges] for each in ledgers]


@pytest.mark.parametrize("kind", ["votes", "units, gumbel", "statistics of windows, distributed"])
def test_a_second_run_on_the_same_text_is_refused(prune: Prune, tmp_path: Path, ledger: Path, kind: str) -> None:
    """The first one took the whole budget: status 4 and one line, before anything is charged or left behind."""
    asked = private(**KINDS[kind], ledger=ledger)
    assert prune(tmp_path / "one", **asked).status == 0
    result = result_of(tmp_path / "one")
    before = charges(ledger)
    ran = prune(tmp_path / "two", **asked)

    assert before == [[result["privacy"]["mechanism"]] * result["privacy"]["releases"]] * 5
    assert result["privacy"]["ledger"] == str(ledger)
    assert ran.status == 4
    assert re.search(r"^privacy budget refused: data set .*: budget .*refused", ran.line)
    assert charges(ledger) == before
    assert not (tmp_path / "two" / "work").exists()


def test_a_finished_folder_charges_nothing(prune: Prune, tmp_path: Path, ledger: Path) -> None:
    """The same command again reads its result."""
    asked = private(ledger=ledger)
    first = prune(tmp_path / "run", **asked)
    before = charges(ledger)
    ran = prune(tmp_path / "run", **asked)

    assert (first.status, ran.status) == (0, 0)
    assert ran.stdout == first.stdout
    assert charges(ledger) == before


def test_without_noise_a_ledger_is_charged_exact_releases(prune: Prune, tmp_path: Path, ledger: Path) -> None:
    """They count as infinite: a private run on the same text finds no budget left to promise."""
    assert prune(tmp_path / "run", clients="5", baselines="", ledger=ledger).status == 0
    ran = prune(tmp_path / "private", **private(ledger=ledger))

    assert charges(ledger) == [["exact"] * 2] * 5
    assert result_of(tmp_path / "run")["privacy"]["ledger"] == str(ledger)
    assert ran.status == 4
    assert "no budget undoes a release" in ran.line


def test_text_cut_in_another_way_takes_another_name(prune: Prune, tmp_path: Path, ledger: Path) -> None:
    """The refusal says so, and --data-set gives it one."""
    asked = private(ledger=ledger)
    assert prune(tmp_path / "one", **asked).status == 0
    ran = prune(tmp_path / "two", **asked, seed="5")
    named = prune(tmp_path / "three", **asked, seed="5", data_set="another")

    assert ran.status == 2
    assert "give them another name" in ran.line
    # A new account, and refused all the same: about clients, all releases of a ledger count together.
    assert named.status == 4
    assert "'another'" in named.line


class Stop:
    """Interrupts a run after a block was stored, or before a client submits in a block's session."""

    def __init__(self, patch: pytest.MonkeyPatch, *, block: int | None = None, submission: int | None = None) -> None:
        store, submit = WorkFolder.save_block, OpenSession.submit
        submitted: list[int] = []

        def save_block(work: WorkFolder, index: int, *rest: Any) -> None:
            store(work, index, *rest)
            if index == block:
                raise KeyboardInterrupt

        def submit_or_stop(session: OpenSession, client: int, vectors: Mapping[str, torch.Tensor]) -> None:
            if len(submitted) == submission:
                raise KeyboardInterrupt
            submit(session, client, vectors)
            submitted.append(client)

        patch.setattr(WorkFolder, "save_block", save_block)
        patch.setattr(OpenSession, "submit", submit_or_stop)


def stopped(prune: Prune, out: Path, asked: dict[str, Any], **when: int) -> None:
    """Begin a run that is interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        Stop(patch, **when)
        assert prune(out, **asked).status == 130


@pytest.mark.parametrize("kind", ["votes", "units, gumbel", "votes, distributed"])
def test_finished_sessions_are_not_charged_again(prune: Prune, tmp_path: Path, ledger: Path, kind: str) -> None:
    """A run stopped between two sessions continues on the budget that one whole run takes."""
    asked = private(**KINDS[kind], ledger=ledger)
    stopped(prune, tmp_path / "run", asked, block=0)
    half = charges(ledger)
    ran = prune(tmp_path / "run", **asked)
    result = result_of(tmp_path / "run")

    assert ran.status == 0, ran.stderr
    assert charges(ledger) == [each * 2 for each in half]
    assert result["privacy"]["epsilon"] <= 4
    assert not any("held it again" in note for note in result["notes"])


def test_a_stored_sum_of_statistics_is_not_charged_again(prune: Prune, tmp_path: Path, ledger: Path) -> None:
    """Its one session is over before the first block is pruned."""
    asked = private(payload="statistics", ledger=ledger)
    stopped(prune, tmp_path / "run", asked, block=0)
    before = charges(ledger)

    assert prune(tmp_path / "run", **asked).status == 0
    assert charges(ledger) == before == [["skellam"]] * 5


def test_an_interrupted_session_is_charged_again(prune: Prune, tmp_path: Path, ledger: Path) -> None:
    """Nothing is refunded: a budget for one run refuses, a larger one is charged, and result and claim say so."""
    asked = private(ledger=ledger)
    stopped(prune, tmp_path / "refused", asked, submission=7)  # two clients into the session of block 1
    refused = prune(tmp_path / "refused", **asked)

    assert [len(each) for each in charges(ledger)] == [2, 2, 1, 1, 1]
    assert refused.status == 4
    assert "nothing is refunded" in refused.line or "nothing is left" in refused.line
    assert [len(each) for each in charges(ledger)] == [2, 2, 1, 1, 1]

    roomy = ledger.with_name("roomy.json")
    for client in range(5):
        own = Ledger(roomy.with_name(f"roomy-{client:04d}.json"))
        own.open_account("clinic", None, budget=Budget(10.0, 1e-5, "client-zero-out"))
    asked |= {"ledger": roomy, "data_set": "clinic"}
    stopped(prune, tmp_path / "run", asked, submission=7)
    ran = prune(tmp_path / "run", **asked)
    result = result_of(tmp_path / "run")

    assert ran.status == 0, ran.stderr
    assert [len(each) for each in charges(roomy)] == [3, 3, 2, 2, 2]
    assert result["privacy"]["releases"] == 3
    assert result["privacy"]["releases_of_an_uninterrupted_run"] == 2
    assert 4 < result["privacy"]["epsilon"] < 10
    assert "(4, " not in result["privacy"]["claim"]
    assert any("held it again: that is one more release, and claim and ledgers" in note for note in result["notes"])


def test_help_explains_all_four_adjacencies(cli: Callable[..., Ran], inputs: Inputs) -> None:
    """And says that there is no default, what adds noise where, and that a clip from private text is a release."""
    shown = " ".join(re.sub(r"-\n\s+", "-", cli("prune", "--help").stdout).split())
    section = shown[shown.index("differential privacy:") : shown.index("results:")]

    assert set(ADJACENCIES) == set(MEANINGS)
    for name, meaning in MEANINGS.items():
        assert f"{name}: {meaning}" in section
    for words in (
        "what the claim compares; no default",
        "of the claim, such as 1e-5; no default",
        "central: the server, which is trusted, adds the noise after the sum",
        "distributed: each client adds a share",
        "A value chosen by looking at private text is a release of its own",
        "refuse to overspend (exit status 4)",
        "simulation_only in result.json",
    ):
        assert words in section
    assert "default 0, or 1 under --dp distributed" in shown


@pytest.mark.parametrize("flag", ["public_data", "eval_data"])
def test_clients_text_is_not_taken_for_public_text(prune, inputs, tmp_path, flag):
    """Under --dp neither prior nor perplexity may be made of the clients' own file."""
    asked = {"dp": "central", "epsilon": 3, "delta": 1e-5, "adjacency": "client-replace", flag: inputs.text}
    ran = prune(tmp_path / "run", **asked)

    assert ran.status == 2
    assert f"--{flag.replace('_', '-')}" in ran.line
    assert "is the clients' text" in ran.line
