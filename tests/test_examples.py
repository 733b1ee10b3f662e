"""Examples in docstrings and in the documents run, and give what they say."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("protocols", "attacks", "fedprllm_secure", "experiments")
MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in file.read_text()
]
DOCUMENTS = [file for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if ">>>" in file.read_text()]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run(examples: doctest.DocTest) -> None:
    """Run examples; what differs is in the message."""
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(examples, out=said.append)
    assert result.attempted, f"{examples.name} has no example"
    assert not result.failed, "".join(said)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    """Every module that has some."""
    module = import_module(name)
    for examples in doctest.DocTestFinder(exclude_empty=True).find(module):
        if examples.examples:
            run(examples)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_examples_in_documents(file, tmp_path, monkeypatch):
    """The blocks of Python of a document, one after another, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    text = file.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    together = "\n".join(block for block in blocks if ">>>" in block)
    run(doctest.DocTestParser().get_doctest(together, {}, file.name, str(file), 0))


def test_there_are_examples():
    """So that none of the above is empty."""
    assert len(MODULES) >= 5
    assert len(DOCUMENTS) >= 3
