"""The folder of a sweep: what was asked, what came of each cell, and where its results lie.

``sweep.json`` has the keys ``schema``, ``base`` (flags with one value), ``axes`` (flags with several), ``audit`` (None,
or ``base`` and ``axes`` of audits), ``cells``, ``audits`` and ``texts`` (:mod:`experiments.sweep.private_text`: digests
of the text of every cell and audit that the folder holds, also of those that are no longer asked for). A cell has
``name``, ``flags``, ``state`` (done, failed or missing), ``status`` and ``error`` of a failure, ``commit`` of the code
that made it, ``audits`` (names) and ``not_audited`` (why there is none). An audit has the same but the last two, and
``protocols``.

``cells/NAME`` is a folder of ``fedprllm prune``, ``audits/NAME`` one of ``fedprllm audit``. Names hold nothing of
private text. Whether something is done is read from those folders: a kill at any moment leaves nothing that only looks
done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from experiments.result import write_json
from experiments.run_folder import remove_results
from experiments.sweep.spec import SweepSpec, Values
from fedprllm_secure.errors import InputError

SCHEMA = 1
FILE, TABLE, PARQUET, LOCK, CELLS, AUDITS = "sweep.json", "table.jsonl", "table.parquet", "lock", "cells", "audits"
OWN_NAMES = frozenset({FILE, TABLE, PARQUET, LOCK, CELLS, AUDITS, "error.log"})
DONE, FAILED, MISSING = "done", "failed", "missing"
Texts = Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Entry:
    """A cell or an audit as ``sweep.json`` has it; see the module."""

    name: str
    flags: dict[str, str]
    state: str = MISSING
    status: int | None = None
    error: str | None = None
    commit: str | None = None
    audits: list[str] = field(default_factory=list)
    not_audited: str | None = None
    protocols: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """A folder that holds one sweep.

    Attributes:
        path: where.
    """

    path: Path

    def cell(self, name: str) -> Path:
        """Name the folder of a cell."""
        return self.path / CELLS / name

    def audit(self, name: str) -> Path:
        """Name the folder of an audit."""
        return self.path / AUDITS / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other sweeps out of it for the length of a ``with``.

        Raises:
            InputError: another sweep is at work here, or the folder holds something else.
        """
        self._refuse_foreign()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / LOCK, blocking=False):
                yield
        except Timeout as error:
            raise InputError(f"--out {self.path}: another sweep is at work here; wait for it") from error

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--out {self.path} is a file; name a folder")
        names = {entry.name.removesuffix(".partial") for entry in self.path.iterdir()} if self.path.exists() else set()
        if foreign := names - OWN_NAMES:
            raise InputError(f"--out {self.path} holds other files ({min(foreign)}); name an empty folder")

    def write(
        self, spec: SweepSpec, cells: Sequence[Entry], audits: Sequence[Entry], texts: Mapping[str, Texts | None]
    ) -> None:
        """Write ``sweep.json``."""
        audit = None if spec.audit is None else _asked(spec.audit)
        found: dict[str, Any] = {"schema": SCHEMA, **_asked(spec.prune), "audit": audit}
        found["cells"] = [_without(asdict(cell), "protocols") for cell in cells]
        found["audits"] = [_without(asdict(audit), "audits", "not_audited") for audit in audits]
        found["texts"] = texts
        write_json(self.path / FILE, found)

    def read(self) -> dict[str, Any]:
        """Read ``sweep.json``.

        Raises:
            InputError: there is none, it is cut short, or of another schema.
        """
        file = self.path / FILE
        try:
            found = json.loads(file.read_text())
            schema = found["schema"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path} is no sweep: {FILE} is missing or cut short ({error})") from error
        if schema != SCHEMA:
            raise InputError(f"{file} is of schema {schema}, not {SCHEMA}: another version of this program wrote it")
        return dict(found)

    def entries(self) -> tuple[list[Entry], list[Entry]]:
        """Read the cells and the audits that ``sweep.json`` lists.

        Raises:
            InputError: as :meth:`read`.
        """
        found = self.read()
        try:
            return [Entry(**cell) for cell in found["cells"]], [Entry(**audit) for audit in found["audits"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.path / FILE} does not list cells and audits as it should ({error})") from error

    def texts(self) -> dict[str, Texts | None]:
        """Read the digests that are kept of texts, by cell and audit; none where there is no sweep yet.

        Raises:
            InputError: as :meth:`read`.
        """
        return dict(self.read().get("texts", {})) if (self.path / FILE).exists() else {}


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """Read what a run or an audit says; None where it has not finished, or its file was cut short."""
    try:
        found = json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("config"), dict) else None


def mend(folder: Path) -> None:
    """Clear away a result that cannot be read, so that the run is made again, or continued where its state is left."""
    if (folder / "result.json").exists() and read_result(folder, "result.json") is None:
        if (folder / "work").is_dir():
            (folder / "result.json").unlink()
        else:
            remove_results(folder)


def _asked(values: Values) -> dict[str, Mapping[str, Any]]:
    return {
        "base": {name: each[0] for name, each in values.items() if len(each) == 1},
        "axes": {name: list(each) for name, each in values.items() if len(each) > 1},
    }


def _without(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}
