"""What an audit says: claims where they hold and only there, attacks by strength, alarms where the game leaks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attacks.leakage.curves import roc
from attacks.leakage.dimension import effective_dimension, predicted_auc
from attacks.leakage.report import LeakageReport, leakage_reports
from experiments.audit.matrix import COLLUDERS, KEY_HOLDER, READERS, SERVER, Configuration, cells_of
from experiments.audit.report import (
    CellReport,
    as_json,
    blind_alarms,
    claim_of,
    claims_in_doubt,
    dimension_of,
    fate,
    samples_of,
)
from fedprllm_secure.privacy import READERS as READERS_CLAIM
from fedprllm_secure.privacy.session_noise import claimed_epsilon
from fedprllm_secure.privacy.target import PrivacyTarget
from tests.experiments.audit.planted_audit import CLOSED, RUNS, audit_of, reports_of, sessions_of
from tests.experiments.audit.tiny_audit import target

EPSILON = PrivacyTarget(place="central", adjacency="window-replace", delta=1e-5, epsilon=8)
PLAIN = Configuration("plain")


@pytest.fixture(scope="module")
def reports() -> list[CellReport]:
    """Of plain, and of additive under central noise; one attack sees everything, the blind one nothing."""
    audit = audit_of(
        PLAIN,
        Configuration("additive", EPSILON),
        seeing={"blind": False, "strong": True},
        refused={"other": "too few rows"},
    )
    return reports_of(audit)


def test_samples_are_the_coins_in_play() -> None:
    """Each coin once, with its run, its target, and the score of that very row."""
    scored = audit_of(PLAIN, seeing={"strong": True}).scored["masks"]
    samples = samples_of(scored)["strong"]
    truth = scored.job.truth

    assert len(samples) == (truth.coins != CLOSED).sum()
    for score, member, run, coin in zip(samples.scores, samples.members, samples.runs, samples.targets, strict=True):
        assert member == (truth.coins[run, coin] == 1)
        assert score == scored.scores["strong"][run, coin]


def test_the_strongest_attack_comes_first(reports: list[CellReport]) -> None:
    """With figures and samples of the half of the runs on which it was not chosen."""
    for each in reports:
        assert [report.attack for report in each.reports] == ["strong", "blind"]
        assert each.best.attack == "strong"
        assert each.best.auc.value == 1
        assert each.best.runs == each.strongest.num_runs == RUNS // 2
        assert set(each.strongest.runs % 2) == {1}
        assert each.refused == {"other": "too few rows"}


def test_adversaries_who_see_the_same_thing_have_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks on one thing under one claim are reported once; each report names the adversary it is about."""
    made = []

    def counting(*args: Any, **options: Any) -> tuple[LeakageReport, ...]:
        made.append(options["claim"])
        return leakage_reports(*args, **options)

    monkeypatch.setattr("experiments.audit.report.leakage_reports", counting)
    reports = reports_of(audit_of(PLAIN, Configuration("additive"), Configuration("ckks"), seeing={"strong": True}))
    alike = [each for each in reports if each.cell.what == "choice"]

    assert len(made) == len({each.cell.job for each in reports}) < len(reports)
    assert len(alike) == 3
    assert len({each.best.auc for each in alike}) == 1
    for each in reports:
        assert all(report.game.adversary == each.cell.adversary for report in each.reports)


def test_predictions_are_of_the_slots_behind_a_row(reports: list[CellReport]) -> None:
    """Two contributions a client; none for the public's prune mask."""
    for each in reports:
        slots = {"totals": 6, "masks": 6, "released": 6, "less": 4}.get(each.cell.what)
        assert each.predicted_auc == (None if slots is None else predicted_auc(6.0, slots))


def test_claims_name_game_adversary_and_epsilon(reports: list[CellReport]) -> None:
    """Readers of noisy totals, and nobody to whom exact ones are shown."""
    found = {(each.cell.configuration.protocol, each.cell.adversary): each for each in reports}
    claim = found["additive", READERS].claim

    assert claim is not None
    assert 7 < claim.epsilon <= 8
    assert claim.epsilon == claimed_epsilon(sessions_of("additive", EPSILON).noises, 1e-5)
    assert claim.delta == 1e-5
    assert (claim.game.adjacency, claim.game.adversary) == ("window-replace", READERS_CLAIM)
    assert found["additive", READERS].best.game == claim.game
    for adversary in (SERVER, COLLUDERS):
        silent = found["additive", adversary]
        assert silent.claim is None
        assert silent.no_claim == "the noise is not claimed to hold against this adversary"
        assert silent.best.game.adversary == adversary
        assert silent.best.claim is None
    assert found["plain", SERVER].claim is None
    assert found["plain", SERVER].no_claim == "no differential privacy"


@pytest.mark.parametrize("adjacency", ["window-zero-out", "client-replace", "client-zero-out"])
def test_a_claim_of_another_adjacency_is_none(adjacency: str) -> None:
    """It says so, for every cell to which the claim would otherwise be held."""
    configuration = Configuration("additive", target("distributed", adjacency))
    sessions = sessions_of("additive", configuration.privacy)
    for cell in cells_of(configuration, colluders=1):
        claim, why = claim_of(cell, sessions, "window-replace")
        same, reason = claim_of(cell, sessions, adjacency)  # type: ignore[arg-type]

        assert claim is None
        assert why == f"the claim is of {adjacency}, the game of window-replace"
        assert same is not None
        assert same.game.adversary == "server with 1 colluding client"
        assert reason == ""


def test_nothing_is_claimed_against_key_holders() -> None:
    """Though the totals that the server sees are covered."""
    configuration = Configuration("ckks", target("distributed"))
    sessions = sessions_of("ckks", configuration.privacy)
    claims = {
        cell.adversary: claim_of(cell, sessions, "window-replace")[0] for cell in cells_of(configuration, colluders=1)
    }

    assert claims[KEY_HOLDER] is None
    assert claims[SERVER] is not None


def test_p_values_of_claims_are_corrected_for_their_number(reports: list[CellReport]) -> None:
    """Holm: the smallest counts as often as there are tests, no later one is smaller than one before."""
    claimed = [each for each in reports if each.claim is not None]
    values = iter([0.01, 0.5, 0.04, 0.02])
    altered = []
    for each in claimed:
        own = tuple(
            replace(report, claim=replace(report.claim, p_value=next(values)))  # type: ignore[type-var]
            for report in each.reports
        )
        altered.append(replace(each, reports=own))
    found = claims_in_doubt([*altered, *(each for each in reports if each.claim is None)])
    name = "additive, central epsilon 8"

    assert found == pytest.approx(
        {
            f"{name}; readers of the totals; strong": 0.04,
            f"{name}; readers of the totals; blind": 0.5,
            f"{name}; public observer; strong": 0.08,
            f"{name}; public observer; blind": 0.06,
        }
    )


def test_an_attack_that_breaks_a_claim_is_named() -> None:
    """Planted scores see every coin, and epsilon 0.1 does not allow that; the blind baseline breaks none."""
    tight = replace(EPSILON, epsilon=0.1)
    found = claims_in_doubt(reports_of(audit_of(Configuration("plain", tight), seeing={"blind": False, "s": True})))

    assert len(found) == 4
    assert all((value < 1e-3) is name.endswith("; s") for name, value in found.items())


def test_a_game_that_leaks_raises_an_alarm(reports: list[CellReport]) -> None:
    """Where the baseline that sees nothing tells coins, whatever it is that is seen; none without reason."""
    assert blind_alarms(reports) == []

    leaking = reports_of(audit_of(PLAIN, seeing={"blind": True}))
    assert blind_alarms(leaking) == ["masks", "prune mask"]
    assert blind_alarms(reports_of(audit_of(PLAIN, seeing={"strong": True}))) == []


def test_one_baseline_among_many_is_not_alarming(reports: list[CellReport]) -> None:
    """P-values are corrected for the number of things seen, each once."""

    def with_blind(each: CellReport, value: float) -> CellReport:
        own = (replace(report, p_value=value if report.attack == "blind" else 1e-9) for report in each.reports)
        return replace(each, reports=tuple(own))

    alone = with_blind(reports[0], 0.0006)
    job = reports[0].cell.job

    assert blind_alarms([alone]) == [job]
    assert blind_alarms([alone, alone]) == [job]
    assert blind_alarms([alone, with_blind(reports[1], 0.5)]) == []


def test_json_holds_every_cell(reports: list[CellReport]) -> None:
    """With claim or the reason for none, attacks strongest first, and those not made."""
    found = json.loads(json.dumps(as_json(reports)))

    assert len(found) == len(reports)
    for each, cell in zip(found, reports, strict=True):
        assert each["sees"] == cell.cell.job
        assert each["configuration"] == cell.cell.configuration.name
        assert (each["claim"] is None) == (cell.claim is None) == (each["no_claim"] is not None)
        assert [attack["attack"] for attack in each["attacks"]] == ["strong", "blind"]
        assert each["attacks_not_made"] == {"other": "too few rows"}
    claim = next(each["claim"] for each in found if each["claim"])
    assert claim["adjacency"] == "window-replace"
    assert claim["adversary"] == READERS_CLAIM
    assert claim["epsilon"] <= 8


def test_dimension_is_of_log_energies() -> None:
    """A channel that nothing enters does no harm."""
    energies = np.random.default_rng(0).random((8, 5)) + 0.1

    assert dimension_of(energies) == pytest.approx(effective_dimension(np.log(energies)))
    energies[0, 0] = 0
    assert np.isfinite(dimension_of(energies))


def test_a_turned_attack_is_drawn_as_it_is_reported() -> None:
    """Its samples point the way of its figures."""
    audit = audit_of(PLAIN, seeing={"strong": True})
    scored = audit.scored["masks"]
    wrong = {"masks": replace(scored, scores={name: -each for name, each in scored.scores.items()})}
    (first, *_) = reports_of(replace(audit, scored={**audit.scored, **wrong}))

    assert first.best.is_reversed
    assert roc(first.strongest).auc() == first.best.auc.value == 1.0


def test_a_claim_is_said_to_be_exceeded_only_after_all_tries_are_counted(reports: list[CellReport]) -> None:
    """One small chance among many tries is no news; one that stands after correction is."""
    noisy = next(each for each in reports if each.claim is not None)
    names = [f"{noisy.cell.configuration.name}; {noisy.cell.adversary}; {each.attack}" for each in noisy.reports]

    assert "EXCEEDED" not in fate(noisy, dict.fromkeys(names, 0.05))
    assert fate(noisy, dict.fromkeys(names, 1.0) | {names[0]: 0.049}).endswith("EXCEEDED by strong")


def test_a_claim_that_no_coin_can_exceed_is_not_said_to_stand(reports: list[CellReport]) -> None:
    """What could not have failed was not tested: not alone, or not beside so many other tries."""
    noisy = next(each for each in reports if each.claim is not None)

    def said(least: float, others: int) -> str:
        tried = tuple(
            replace(each, claim=replace(each.claim, least_p_value=least)) for each in noisy.reports if each.claim
        )
        unable = replace(noisy, reports=tried)
        return fate(unable, dict.fromkeys([*claims_in_doubt([unable]), *map(str, range(others))], 1.0))

    assert said(0.05, others=0).endswith("these coins cannot exceed it")
    assert said(0.049 / len(noisy.reports), others=0).endswith("not exceeded")
    assert said(0.049 / len(noisy.reports), others=1).endswith("these coins cannot exceed it")
