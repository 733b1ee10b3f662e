"""What the package shows to others, and what it pulls in."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import protocols


def test_all_names_exist_and_are_sorted():
    """`__all__` lists what can be imported, once."""
    assert len(set(protocols.__all__)) == len(protocols.__all__)
    for name in protocols.__all__:
        assert getattr(protocols, name) is not None


def test_names_of_protocols_are_those_on_the_wire():
    """A protocol is listed under its own name."""
    for name, protocol in protocols.PROTOCOLS.items():
        assert protocol.name == name


def test_importing_protocols_pulls_in_no_heavy_library():
    """Neither torch nor TenSEAL is imported until someone needs it."""
    code = "import protocols, sys; print(sorted({'torch', 'tenseal'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


def test_examples_in_docstrings_hold():
    """Every doctest of the package runs."""
    for module in pkgutil.iter_modules(protocols.__path__, "protocols."):
        assert doctest.testmod(importlib.import_module(module.name)).failed == 0
