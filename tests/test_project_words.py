"""The repository's own rules: file names, the package list, sizes, and what is shipped."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOPS = ("protocols", "attacks", "fedprllm_secure", "experiments")
SHAPELESS_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc", "tools"}
LIMIT_BYTES = 12 * 2**20


def project() -> dict:
    """Read pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def repository_files() -> list[Path]:
    """List the files that git tracks or would take in."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_no_file_has_a_shapeless_name():
    """No module or folder is called utils, helpers, common, base or the like."""
    places = [path for top in (*TOPS, "tests") for path in (ROOT / top).rglob("*")]

    assert [str(path) for path in places if path.stem in SHAPELESS_NAMES] == []


def test_package_list_is_the_folders_with_code():
    """Pyproject lists every folder with code, and no other."""
    folders = {".".join(file.parent.relative_to(ROOT).parts) for top in TOPS for file in (ROOT / top).rglob("*.py")}

    assert sorted(project()["tool"]["setuptools"]["packages"]) == sorted(folders)


def test_every_folder_with_code_is_a_package():
    """Every shipped folder with code has an ``__init__.py``."""
    folders = {file.parent for top in TOPS for file in (ROOT / top).rglob("*.py")}

    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_tests_are_no_packages():
    """No ``__init__.py`` lies under tests: it would hide the package of the same name."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_code_lies_at_the_top():
    """All code is in the four packages and tests."""
    assert [path.name for path in ROOT.glob("*.py")] == []


def test_no_file_is_too_large():
    """No file of the repository is larger than 12 MiB."""
    assert [str(file) for file in repository_files() if file.stat().st_size > LIMIT_BYTES] == []


def test_no_left_over_file_is_in_the_repository():
    """Nothing half-written, cached or private is in the repository."""
    wrong = [
        str(file)
        for file in repository_files()
        if file.suffix in {".pyc", ".partial", ".tmp", ".pem", ".key"} or file.name in {".env", "error.log"}
    ]

    assert wrong == []


def test_package_data_is_there():
    """Every pattern of shipped data matches a file, and the demo model is shipped."""
    data = project()["tool"]["setuptools"]["package-data"]

    assert "model/*" in data["experiments.demo"]
    for package, patterns in data.items():
        for pattern in patterns:
            assert list((ROOT / package.replace(".", "/")).glob(pattern)), (package, pattern)


def test_command_points_to_a_function():
    """The ``fedprllm`` command names a function that exists."""
    module, _, function = project()["project"]["scripts"]["fedprllm"].partition(":")
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()

    assert f"def {function}(" in source


def test_text_files_end_with_a_line_break():
    """Every text file of the repository ends with one line break."""
    texts = [file for file in repository_files() if file.suffix in {".py", ".md", ".toml", ".txt"}]
    wrong = [
        str(file) for file in texts if (data := file.read_bytes()) and (data[-1:] != b"\n" or data[-2:] == b"\n\n")
    ]

    assert wrong == []
