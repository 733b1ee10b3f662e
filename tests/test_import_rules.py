"""Which package may import which: the one-way rule, checked on the source and on a running interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = ("protocols", "attacks", "fedprllm_secure", "experiments")
MAY_IMPORT = {
    "protocols": set(),
    "attacks": set(),
    "fedprllm_secure": {"protocols"},
    "experiments": {"protocols", "attacks", "fedprllm_secure"},
}
LEARNING = {"torch", "transformers", "datasets", "opacus", "flwr"}
MAY_USE = {
    "protocols": {"numpy", "cryptography", "tenseal"},
    "attacks": {"numpy", "scipy", "sklearn", "torch"},
    "fedprllm_secure": LEARNING | {"numpy", "safetensors", "tokenizers", "huggingface_hub", "pyarrow", "filelock"},
    "experiments": LEARNING
    | {
        "numpy",
        "scipy",
        "sklearn",
        "safetensors",
        "tokenizers",
        "rich",
        "matplotlib",
        "cryptography",
        "flwr",
        "tenseal",
        "threadpoolctl",
        "filelock",
        "jinja2",
        "markupsafe",
        "plotly",
        "pyarrow",
        "yaml",
    },
}
ENCRYPTION_FILES = {"homomorphic/ciphertexts.py"}
NOT_IN_PROTOCOLS = {"argparse", "pickle", "marshal", "shelve", "random"}


def files_of(package: str) -> list[Path]:
    """List a package's source files."""
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(source: str, *, package: str = "") -> set[str]:
    """List the full names of modules that a source imports, at any depth, for types and by name too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*up, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.args[0] if node.args else None, ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                found.add(str(node.args[0].value))
    return found


def imported_roots(file: Path) -> set[str]:
    """List the top-level names that a file imports."""
    package = ".".join(file.relative_to(ROOT).parent.parts)
    return {name.split(".")[0] for name in imports_of(file.read_text(), package=package)}


def test_walk_sees_every_kind_of_import():
    """The walk finds plain, nested, relative, conditional and dynamic imports."""
    source = "import a.b\nif x:\n    from .c import d\ndef f():\n    import_module('e')\n    from g import h"

    assert imports_of(source, package="p.q") == {"a.b", "p.q.c", "p.q.c.d", "e", "g", "g.h"}


@pytest.mark.parametrize("package", OWN)
def test_package_imports_only_packages_below_it(package):
    """Between the four packages imports go one way."""
    wrong = {
        str(file.relative_to(ROOT)): sorted(arrows)
        for file in files_of(package)
        if (arrows := (imported_roots(file) & set(OWN)) - MAY_IMPORT[package] - {package})
    }

    assert wrong == {}


@pytest.mark.parametrize("package", OWN)
def test_package_uses_only_its_own_libraries(package):
    """A package imports the standard library and the third-party libraries that its row allows, no others."""
    allowed = MAY_USE[package] | set(OWN) | sys.stdlib_module_names
    wrong = {
        str(file.relative_to(ROOT)): sorted(names)
        for file in files_of(package)
        if (names := imported_roots(file) - allowed)
    }

    assert wrong == {}


def test_encryption_library_is_imported_by_its_own_files_alone():
    """Only the homomorphic protocols import tenseal."""
    importers = {
        str(file.relative_to(ROOT / "protocols")) for file in files_of("protocols") if "tenseal" in imported_roots(file)
    }

    assert importers == ENCRYPTION_FILES


def test_protocols_know_no_command_line_and_no_unsafe_wire_format():
    """Protocols reads no flags, never unpickles, and draws nothing from a predictable generator."""
    wrong = {file.name: found for file in files_of("protocols") if (found := imported_roots(file) & NOT_IN_PROTOCOLS)}

    assert wrong == {}


@pytest.mark.parametrize("package", OWN)
def test_nothing_imports_the_tests(package):
    """Shipped code imports neither tests nor the test tools."""
    assert not any(imported_roots(file) & {"tests", "pytest", "hypothesis"} for file in files_of(package))


@pytest.mark.parametrize("package", OWN)
def test_imports_are_absolute(package):
    """No relative imports: a moved file keeps its meaning or fails."""
    relative = [
        str(file.relative_to(ROOT))
        for file in files_of(package)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert relative == []


def loaded_after(statement: str, names: set[str]) -> set[str]:
    """Run a statement in a fresh interpreter and list which of ``names`` it loaded."""
    code = f"import sys; {statement}; print(*(set(sys.modules) & {names!r}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(ran.stdout.split())


def test_importing_protocols_loads_no_learning_and_no_encryption_library():
    """A party that only sums needs neither torch nor tenseal, nor any of our other packages."""
    assert loaded_after("import protocols", LEARNING | {"tenseal", *OWN}) == {"protocols"}


def test_the_encryption_library_is_loaded_with_the_first_role():
    """Listing and checking the homomorphic protocols does without tenseal; making a role loads it."""
    plan = (
        "from protocols import *; plan = SessionPlan(bytes(32), 0, Roster(tuple(bytes([i]) * 32 for i in range(1, 5))),"
        " (VectorSpec('v', 9, 1),), 3, 3); protocol = PROTOCOLS['bfv']; protocol.check(plan)"
    )

    assert loaded_after(f"{plan}; protocol.layout(plan, plan.vectors[0])", {"tenseal"}) == set()
    assert loaded_after(f"{plan}; protocol.server(plan)", {"tenseal"}) == {"tenseal"}


def test_importing_the_federation_loads_no_command_line():
    """fedprllm_secure is usable without experiments and attacks."""
    assert loaded_after("import fedprllm_secure.federation", {"experiments", "attacks"}) == set()
