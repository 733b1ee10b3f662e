"""The demo's text: the source of the Python standard library of the running interpreter.

Every machine that can run this project has this text, so the demo needs no download. Modules fall into three
disjoint splits by a hash of their path:

- ``public`` (60 %): trains the demo model; also the public calibration text;
- ``private`` (25 %): what the demo's clients hold;
- ``evaluation`` (15 %): perplexity is measured here.

Files that share much of their text (:func:`near_duplicate_groups`) always fall on one side. The package that a
module belongs to (``asyncio``, ``email``, a top-level module of its own) is kept, so that ``--partition natural``
can give a client a package.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

Split = Literal["public", "private", "evaluation"]

# Tests and IDLE are not library code; lib2to3, distutils and ensurepip left the library in 3.12 and 3.13; encodings
# and pydoc_data are generated tables.
EXCLUDED_FOLDERS = frozenset(
    [
        "__pycache__",
        "distutils",
        "encodings",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    ]
)
SHINGLE_WORDS = 12
DUPLICATE_SHARE = 0.25
BOILERPLATE_FILES = 5


@dataclass(frozen=True, slots=True)
class Module:
    """One source file of the standard library.

    Attributes:
        path: path below the library folder, with forward slashes, such as ``asyncio/base_events.py``.
        package: its first folder, or the module's own name at top level; the demo's natural client.
        split: the side of the split it falls on.
        text: its source.
    """

    path: str
    package: str
    split: Split
    text: str


@cache
def load_modules() -> tuple[Module, ...]:
    """Read every module of the running interpreter's library, in path order.

    Raises:
        FileNotFoundError: the interpreter ships without its library sources.
    """
    texts = dict(_read_sources(Path(sysconfig.get_path("stdlib"))))
    if not texts:
        raise FileNotFoundError(
            f"no .py files below {sysconfig.get_path('stdlib')}: this Python has no library sources, which the "
            "demo text needs; use a standard CPython or give --data a file"
        )
    leader = near_duplicate_groups(texts)
    return tuple(
        Module(path=path, package=path.split("/")[0].removesuffix(".py"), split=split_of(leader[path]), text=text)
        for path, text in texts.items()
    )


def split_of(path: str) -> Split:
    """Say which split a path falls into: the same on every machine and for every Python version."""
    draw = int.from_bytes(hashlib.sha256(f"fedprllm demo split|{path}".encode()).digest()[:8], "big") / 2**64
    if draw < 0.60:
        return "public"
    return "private" if draw < 0.85 else "evaluation"


def texts_of(split: Split) -> list[str]:
    """List the source texts of one split, in path order."""
    return [module.text for module in load_modules() if module.split == split]


def near_duplicate_groups(texts: Mapping[str, str]) -> dict[str, str]:
    """Map each path to its group's first path: files that share text stand together.

    Two files are grouped when the smaller shares at least ``DUPLICATE_SHARE`` of its runs of ``SHINGLE_WORDS``
    words with the larger; runs found in ``BOILERPLATE_FILES`` files or more (licence texts) do not count. Groups
    are the connected components.
    """
    paths = list(texts)
    runs, files = _shingles(texts.values())
    sizes = np.bincount(files, minlength=len(paths))
    pairs, counts = np.unique(_sharing(runs, files), axis=0, return_counts=True)

    leader = {path: path for path in texts}

    def find(path: str) -> str:
        while leader[path] != path:
            path = leader[path]
        return path

    for first, second in pairs[counts >= DUPLICATE_SHARE * sizes[pairs].min(1)]:
        low, high = sorted((find(paths[first]), find(paths[second])))
        leader[high] = low
    return {path: find(path) for path in texts}


def _shingles(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Find the runs of words of every text: each run and the text's number, once a text, runs together and ascending.

    A run stands for its words as a sum of random numbers, one for each word at each place: two of a library's million
    runs are taken for the same with a chance of 1 in 10 million, on every machine alike.
    """
    numbers: dict[str, int] = {}
    found = [[numbers.setdefault(word, len(numbers)) for word in re.findall(r"\w+", text)] for text in texts]
    files = np.repeat(np.arange(len(found)), [len(each) for each in found])
    words = np.fromiter(chain.from_iterable(found), np.int64, len(files))
    count = max(0, len(words) - SHINGLE_WORDS + 1)
    values = np.random.default_rng(0).integers(2**64, size=(SHINGLE_WORDS, len(numbers)), dtype=np.uint64)
    runs = np.zeros(count, np.uint64)
    for place, of_words in enumerate(values):
        runs += of_words[words[place : place + count]]
    whole = files[:count] == files[SHINGLE_WORDS - 1 :]  # of one text
    runs, files = runs[whole], files[:count][whole]
    order = np.argsort(runs, kind="stable")  # a run's texts stay in order
    runs, files = runs[order], files[order]
    is_new = np.ones(len(runs), bool)
    is_new[1:] = (runs[1:] != runs[:-1]) | (files[1:] != files[:-1])
    return runs[is_new], files[is_new]


def _sharing(runs: np.ndarray, files: np.ndarray) -> np.ndarray:
    """Give the pairs of texts, int64 (pairs, 2), that share a run that is no boilerplate: once for each such run."""
    _, run_of, owners = np.unique(runs, return_inverse=True, return_counts=True)
    few = owners[run_of] < BOILERPLATE_FILES
    run_of, files = run_of[few], files[few]
    found = [np.empty((0, 2), np.int64)]
    for apart in range(1, BOILERPLATE_FILES - 1):
        shared = run_of[apart:] == run_of[:-apart]
        found.append(np.stack([files[:-apart][shared], files[apart:][shared]], axis=1))
    return np.concatenate(found)


def _read_sources(library: Path) -> Iterator[tuple[str, str]]:
    # os.walk, unlike rglob, can leave a folder out unread: site-packages lies below and is far larger.
    found = []
    for folder, subfolders, names in os.walk(library):
        subfolders[:] = [name for name in subfolders if name not in EXCLUDED_FOLDERS]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    for file in sorted(found):
        yield file.relative_to(library).as_posix(), file.read_text(encoding="utf-8", errors="replace")
