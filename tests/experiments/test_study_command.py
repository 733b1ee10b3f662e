"""``fedprllm study``: its registry and its flags."""

from __future__ import annotations

import pytest

from experiments.study_command import STUDIES, Study


def test_studies_are_listed_with_what_they_ask(cli):
    """One line a study."""
    ran = cli("study", "--list")

    assert ran.status == 0
    assert ran.stdout.splitlines() == [f"{name}: {study.summary}" for name, study in STUDIES.items()]
    assert all(study.summary.endswith(".") for study in STUDIES.values())


def test_flags_reach_the_study_and_its_folder_is_made(cli, monkeypatch, tmp_path):
    """A study is given its folder and its own flags by name, and nothing else."""
    seen = []
    study = Study(lambda **flags: seen.append(flags), lambda parser: parser.add_argument("--some-count", type=int))
    monkeypatch.setitem(STUDIES, "new", study)

    assert cli("study", "new", "--out", tmp_path / "a" / "b", "--some-count=3").status == 0
    assert seen == [{"out": tmp_path / "a" / "b", "some_count": 3}]
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["study"], "study needs a name, one of "),
        (["study", "communication"], "required: --out"),
        (["study", "unknown", "--out", "x"], "invalid choice: 'unknown'"),
        (["study", "communication", "--out", "x", "--clients", "8,two"], "argument --clients: '8,two' must be"),
        (["study", "communication", "--out", "x", "--clients", "2"], "argument --clients: '2' must be"),
    ],
)
def test_bad_usage_is_refused_in_a_line(cli, arguments, says):
    """Before anything is measured."""
    ran = cli(*arguments)

    assert ran.status == 2
    assert says in ran.line
