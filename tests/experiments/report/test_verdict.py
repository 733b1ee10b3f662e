"""The verdict says what the figures hold, and names what is missing."""

from __future__ import annotations

import pytest

from experiments.report import leakage
from experiments.report.audits import Audit
from experiments.report.leakage import fate
from experiments.report.runs import Run
from experiments.report.verdict import cost, learnt, utility, verdict
from tests.experiments.report.written import attack, audit, cell, private, put, result


def runs_of(folder, *contents):
    """Read runs."""
    return [Run.read(put(folder / f"r{number}", each), name=f"R{number + 1}") for number, each in enumerate(contents)]


def audit_of(folder, content):
    """Read an audit."""
    return Audit.read(put(folder / "audit", content), name="A1")


def test_three_sentences(tmp_path):
    """Utility, leakage, cost; each ends as one."""
    [points] = verdict(runs_of(tmp_path, result()), []).blocks

    assert len(points.each) == 3
    assert all(sentence.endswith(".") for sentence in points.each)


def test_utility_sets_results_beside_baselines(tmp_path):
    """One seed each is said; so are noise and its baselines, which stand under simulation_only."""
    found = utility(runs_of(tmp_path, result(value=20.0, protocol="additive"), private(3.0, value=22.5)))

    assert found == (
        "At sparsity 0.5 perplexity is 20.00 for additive (no DP) and 22.50 for additive (epsilon 3), against 15.00 "
        "unpruned, 19.00 for one party that holds all text and 21.00 with public text alone (one seed each: no "
        "interval, so small differences mean nothing)."
    )


def test_baselines_of_noisy_runs_are_read_where_no_claim_covers_them(tmp_path):
    """Central stands under simulation_only there."""
    assert "19.00 for one party" in utility(runs_of(tmp_path, private(3.0)))


def test_utility_gives_intervals_over_seeds(tmp_path):
    """And no longer says that there is none."""
    found = utility(runs_of(tmp_path, result(value=20.0), result(value=22.0, seed=1)))

    assert "perplexity is 21.00 [8.29, 33.71] for plain" in found
    assert "95 % intervals over 2 seeds" in found
    assert "no interval" not in found


def test_baselines_that_differ_are_a_range(tmp_path):
    """No mean hides that they are of other text."""
    other = result(clients=8)
    other["perplexity"]["central"]["perplexity"] = 18.0

    assert "18.00 to 19.00 for one party" in utility(runs_of(tmp_path, result(), other))


def test_many_settings_are_a_range(tmp_path):
    """The reader finds all of them below."""
    found = utility(runs_of(tmp_path, *(result(value=20 + n, clients=3 + n) for n in range(7))))

    assert "between 20.00 (plain (3 clients)) and 26.00 (plain (9 clients)) over 7 settings" in found


def test_utility_says_what_is_missing(tmp_path):
    """No perplexity, no baseline, an infinite one."""
    bare = result(value=None)
    for name in ("dense", "central", "public", "local"):
        bare["perplexity"].pop(name)

    assert utility([]) == "Utility was not measured: no run among the inputs has a perplexity."
    assert "infinite for plain; no baseline was measured" in utility(runs_of(tmp_path, bare))


def test_same_masks_are_said_of_equal_files_only(tmp_path):
    """Bit for bit, and of other protocols."""
    runs = runs_of(tmp_path, result(), result(protocol="additive"), result(protocol="ckks"))
    for run, content in zip(runs, (b"1", b"1", b"2"), strict=True):
        (run.folder / "prune_masks.safetensors").write_bytes(content)

    found = utility(runs)

    assert "; plain and additive gave the same prune masks, bit for bit" in found
    (runs[1].folder / "prune_masks.safetensors").write_bytes(b"3")
    assert "same prune masks" not in utility(runs)


def test_same_masks_are_those_of_settings_without_noise(tmp_path):
    """A repetition that disagrees, or noise, takes the sentence away; settings are named, seeds are paired."""
    contents = (result(), result(protocol="additive"), result(seed=1), result(protocol="additive", seed=1))
    runs = runs_of(tmp_path / "seeds", *contents, private(3.0), private(3.0, protocol="plain"))
    files = [run.folder / "prune_masks.safetensors" for run in runs]
    for file, content in zip(files, (b"1", b"1", b"2", b"2", b"9", b"9"), strict=True):
        file.write_bytes(content)

    assert "; plain (no DP) and additive (no DP) gave the same prune masks" in utility(runs)
    assert "same prune masks" not in utility(runs[4:])
    files[3].write_bytes(b"3")
    assert "same prune masks" not in utility(runs)
    files[3].unlink()
    assert "same prune masks" not in utility(runs)


def test_runs_of_one_seed_that_disagree_gave_no_same_masks(tmp_path):
    """Even if one of them agrees with another setting."""
    runs = runs_of(tmp_path, result(), result(), result(protocol="additive"), result(protocol="additive"))
    for run, content in zip(runs, (b"1", b"2", b"1", b"2"), strict=True):
        (run.folder / "prune_masks.safetensors").write_bytes(content)

    assert "same prune masks" not in utility(runs)


def test_without_an_audit_nothing_is_said_of_leakage(tmp_path):
    """But that it was not measured, and what is proven."""
    plain, noisy = runs_of(tmp_path, result(), private(3.0))

    assert learnt([plain], []) == (
        "What adversaries learn was not measured (no audit of a server is among the inputs), and no run used "
        "differential privacy, so that nothing bounds what totals and prune masks tell."
    )
    assert "1 of 2 runs carry a proven claim, the strongest (3.0, 1e-05)-differential" in learnt([plain, noisy], [])


def test_noise_without_a_claim_is_not_called_one(tmp_path):
    """An epsilon that is not finite is null."""
    content = private(3.0)
    content["privacy"]["epsilon"] = None

    found = learnt(runs_of(tmp_path, content), [])

    assert "nothing is proven: their noise is too small for any claim" in found


def test_audited_servers_are_given_with_intervals(tmp_path):
    """Servers alone: what others see is in the matrix."""
    told = audit_of(tmp_path, audit([cell(), cell("additive", auc=0.7), cell("additive", "public observer", auc=0.99)]))

    found = learnt([], [told])

    assert "tells which of two windows is in with AUC 0.900 [0.850, 0.950] under plain and 0.700" in found
    assert "0.99" not in found
    assert "exceeded" not in found


def test_a_claim_that_breaks_is_shouted(tmp_path):
    """And one that holds is given with what could be shown at most."""
    claim = {"epsilon": 8.0, "delta": 1e-5, "adjacency": "window-replace", "adversary": "server"}
    content = audit([cell("additive, distributed epsilon 8", claim=claim)])
    held = learnt([], [audit_of(tmp_path / "held", content)])
    content["claims_p_values_holm"] = {"additive, distributed epsilon 8; server; whitened": 0.01}
    broken = learnt([], [audit_of(tmp_path / "broken", content)])

    assert "no claim was exceeded, but for any the coins could not have shown it: epsilon 2.82 at most." in held
    assert "a claim was EXCEEDED under additive, distributed epsilon 8 to server" in broken
    assert "no claim" not in broken


def test_cost_is_given_by_setting(tmp_path):
    """Bytes of all steps; bits of the submission alone."""
    runs = runs_of(tmp_path, result(sends=1000), result(protocol="additive", sends=3200))

    assert cost(runs) == (
        "In a whole run a client sends, at most, 1.04 kB (1.00 bits a weight submitted) under plain and 3.24 kB (3.20 "
        "bits a weight submitted) under additive."
    )
    assert cost([]) == "Cost was not measured: no pruning run is among the inputs."


def test_claims_that_could_have_been_exceeded_are_told_from_others(tmp_path):
    """By what the coins could show at most: the more claims are tested, the less."""
    claims = [
        {"epsilon": epsilon, "delta": 1e-5, "adjacency": "window-replace", "adversary": "server"} for epsilon in (1, 8)
    ]
    names = ("additive, distributed epsilon 1", "ckks, distributed epsilon 8")
    cells = [cell(name, claim=claim) for name, claim in zip(names, claims, strict=True)]

    one = learnt([], [audit_of(tmp_path / "one", audit(cells[:1]))])
    both = learnt([], [audit_of(tmp_path / "both", audit(cells))])

    assert "; no claim was exceeded." in one
    assert "no claim was exceeded, but for 1 of 2 the coins could not have shown it: epsilon 2.65 at most" in both


def test_readers_are_told_from_the_server(tmp_path):
    """Under central noise both look at one configuration; figures that are refused are not given."""
    name = "additive, central epsilon 8"
    both = audit_of(tmp_path / "both", audit([cell(name), cell(name, "readers of the totals", auc=0.6)]))
    refused = audit_of(tmp_path / "refused", audit([cell(attacks=[attack("whitened", None)])]))

    assert f"under {name} and 0.600 [0.550, 0.650] under {name} to readers of the totals (0.5" in learnt([], [both])
    assert "with AUC that these coins cannot give" in learnt([], [refused])


def test_recorded_runs_are_said_to_have_chosen_nothing(tmp_path):
    """The first attack named stands for each view there."""
    recorded = audit_of(tmp_path, audit() | {"run": {"config": {}}})

    assert "the first attack named; window-replace" in learnt([], [recorded])


@pytest.mark.parametrize("adversary", ["server and colluders", "public observer"])
def test_a_claim_that_breaks_anywhere_is_shouted(tmp_path, adversary):
    """Under any adversary of any audit, by name; a server's claims that stand do not hide it."""
    claim = {"epsilon": 8.0, "delta": 1e-5, "adjacency": "window-replace", "adversary": "server"}
    name = "additive, distributed epsilon 8"
    content = audit([cell(name, claim=claim), cell(name, adversary, claim=claim)])
    content["claims_p_values_holm"][f"{name}; {adversary}; blind"] = 0.01
    broken = audit_of(tmp_path / "broken", content)
    other = audit_of(tmp_path / "other", audit([cell(name, claim=claim)]))
    alone = audit_of(tmp_path / "alone", content | {"cells": content["cells"][1:]})

    for audits in ([broken], [alone], [other, broken]):
        found = learnt([], audits)
        assert f"a claim was EXCEEDED under {name} to {adversary}" in found
        assert "no claim was exceeded" not in found


def test_a_claim_without_a_p_value_was_not_tested(tmp_path):
    """It is never said to stand."""
    claim = {"epsilon": 1.0, "delta": 1e-5, "adjacency": "window-replace", "adversary": "server"}
    content = audit([cell("additive, distributed epsilon 1", claim=claim)])
    partly = audit_of(tmp_path / "partly", content)
    key = "additive, distributed epsilon 1; server; blind"
    none = audit_of(tmp_path / "none", content | {"claims_p_values_holm": {}})
    one = audit_of(tmp_path / "one", content | {"claims_p_values_holm": {key: 1.0}})

    assert [fate(each, each.cells[0]) for each in (partly, one, none)] == [
        "not exceeded",
        "not tested under whitened",
        "not tested",
    ]
    for each in (one, none):
        assert "1 of 1 audited claims were not tested under every attack" in learnt([], [each])
        assert "no claim was exceeded" not in learnt([], [each])


def test_nothing_is_said_of_runs_where_there_are_none(tmp_path):
    """Whether or not there are audits."""
    assert learnt([], []).endswith("(no audit of a server is among the inputs).")
    assert "no run" not in learnt([], [audit_of(tmp_path, audit())])


@pytest.mark.parametrize("claim", [None, "", 3])
def test_a_claim_without_words_is_its_epsilon(tmp_path, claim):
    """Never the word None."""
    content = private(3.0)
    content["privacy"]["claim"] = claim

    assert "the strongest epsilon 3 (R1)" in learnt(runs_of(tmp_path, content), [])


def test_counts_that_nobody_tossed_cost_nothing(tmp_path, monkeypatch):
    """A file may name ten million coins; no bound is worked out of so many, and none is said to fall short."""
    claim = {"epsilon": 8.0, "delta": 1e-5, "adjacency": "window-replace", "adversary": "server"}
    content = audit([cell("additive, distributed epsilon 8", claim=claim)])
    for each in content["cells"][0]["attacks"]:
        each |= {"members": 9_000_000, "non_members": 9_000_000}
    monkeypatch.setattr(leakage, "one_run_ceiling", lambda *_, **__: pytest.fail("worked out"))

    assert "no claim was exceeded." in learnt([], [audit_of(tmp_path / "many", content)])
