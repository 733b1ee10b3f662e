"""The command's first moments."""

import atexit
import gc
import sys

import pytest

from experiments.entry import main


def test_ctrl_c_while_imports_load_is_answered(monkeypatch, capsys):
    """Nobody sees a traceback for having changed their mind."""

    class Interrupting:
        def find_spec(self, name, path=None, target=None):
            if name == "experiments.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "experiments.cli", raising=False)
    monkeypatch.delattr("experiments.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])

    assert main() == 130
    assert capsys.readouterr().err == "interrupted before anything was begun\n"


def test_arguments_reach_the_command_line(monkeypatch, capsys):
    """The entry adds nothing of its own."""
    monkeypatch.setattr(sys, "argv", ["fedprllm", "prune", "--help"])

    assert main() == 0
    assert "--windows-per-client" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["prune"]])
def test_bad_usage_is_status_two(monkeypatch, arguments):
    """As for every command line."""
    monkeypatch.setattr(sys, "argv", ["fedprllm", *arguments])

    assert main() == 2


def test_no_garbage_is_looked_for_while_imports_load(monkeypatch):
    """Collections are off for that long, on again afterwards, and leave alone what is imported."""
    states, at_exit = [], []

    class Watching:
        def find_spec(self, name, path=None, target=None):
            if name == "experiments.cli":
                states.append(gc.isenabled())
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "experiments.cli", raising=False)
    monkeypatch.delattr("experiments.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Watching(), *sys.meta_path])
    monkeypatch.setattr(atexit, "register", at_exit.append)

    assert main() == 130
    assert [*states, gc.isenabled()] == [False, True]
    assert at_exit == [gc.freeze]
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
