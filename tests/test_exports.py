"""What each package exports is there, complete and sorted."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [
    ".".join(file.parent.relative_to(ROOT).parts)
    for top in ("protocols", "attacks", "fedprllm_secure", "experiments")
    for file in sorted((ROOT / top).rglob("__init__.py"))
]
WITH_ALL = [name for name in PACKAGES if "__all__" in (ROOT / name.replace(".", "/") / "__init__.py").read_text()]


def defined_names(package: str) -> set[str]:
    """List the public names that an ``__init__`` defines or, at the top, imports from its files and does not use."""
    found: set[str] = set()
    is_top = "." not in package
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and is_top and (node.module or "").split(".")[0] == package:
            found |= {alias.asname or alias.name for alias in node.names} - used
    return {name for name in found if not name.startswith("_")}


def test_the_two_libraries_export_names():
    """Protocols and fedprllm_secure are used by their exported names."""
    assert {"protocols", "fedprllm_secure"} <= set(WITH_ALL)


@pytest.mark.parametrize("package", WITH_ALL)
def test_every_exported_name_is_there(package):
    """Every name in ``__all__`` can be imported from the package."""
    module = importlib.import_module(package)

    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", WITH_ALL)
def test_every_public_name_is_exported(package):
    """``__all__`` holds every public name that the package defines, once, in order."""
    names = importlib.import_module(package).__all__

    assert defined_names(package) <= set(names)
    assert len(names) == len(set(names))
    # Constants, then classes, then functions, as ruff sorts them.
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


@pytest.mark.parametrize("package", WITH_ALL)
def test_exported_things_explain_themselves(package):
    """Every exported class and function has a docstring of its own."""
    module = importlib.import_module(package)
    exported = {name: getattr(module, name) for name in module.__all__}
    silent = [name for name, value in exported.items() if callable(value) and not (value.__doc__ or "").strip()]

    assert silent == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_on_its_own(package):
    """Every package can be imported."""
    assert importlib.import_module(package).__name__ == package
