"""Gathers what paths hold, puts the report together, and writes it in both forms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from experiments.report.asked import asked
from experiments.report.claims import claims
from experiments.report.costs import costs
from experiments.report.document import Document, Section
from experiments.report.layers import layers
from experiments.report.leakage import leakage
from experiments.report.markdown import FIGURES, markdown
from experiments.report.page import html_page
from experiments.report.partitions import partitions
from experiments.report.reproduce import failed, reproduce
from experiments.report.sources import Sources
from experiments.report.stills import still
from experiments.report.tradeoff import further, tradeoff
from experiments.report.verdict import verdict
from fedprllm_secure.durable import write_durably
from fedprllm_secure.errors import InputError

PAGE, MARKDOWN = "report.html", "report.md"
TITLE = "Federated pruning: privacy, utility and cost"


@dataclass(frozen=True, slots=True)
class Written:
    """What a report left.

    Attributes:
        page: the HTML page.
        markdown: the same for editors, with ``figures/`` beside it.
        complaints: what was left out, a line each.
    """

    page: Path
    markdown: Path
    complaints: tuple[str, ...]


def write_report(paths: Iterable[Path], out: Path) -> Written:
    """Write ``report.html``, and ``report.md`` with its ``figures/``.

    An earlier report in ``out`` is replaced; nothing else there is touched. Where audits are among the inputs the
    report tells of private text, so that its files are for this user alone.

    Args:
        paths: folders of runs, audits and sweeps, or folders of such folders; in any mix.
        out: where the report goes.

    Returns:
        The files, and what was left out.

    Raises:
        InputError: there is nothing to report, or ``out`` is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    sources = Sources.gather(paths)
    document = put_together(sources)
    out.mkdir(parents=True, exist_ok=True)
    figures = out / FIGURES
    figures.mkdir(exist_ok=True)
    _remove_former(out)
    stills = {picture.key: still(picture) for picture in document.pictures()}
    mode = 0o600 if sources.audits else 0o644
    for key, png in stills.items():
        write_durably(figures / f"{key}.png", png, mode=mode)
    write_durably(out / MARKDOWN, markdown(document).encode(), mode=mode)
    write_durably(out / PAGE, html_page(document, stills).encode(), mode=mode)
    return Written(out / PAGE, out / MARKDOWN, tuple(sources.complaints))


def put_together(sources: Sources) -> Document:
    """Compose a report of what was gathered."""
    runs, audits = sources.runs, sources.audits
    sections: list[Section] = [
        asked(runs, audits, sources.failures),
        verdict(runs, audits),
        tradeoff(runs, audits),
        costs(runs),
        *further(runs, audits),
        leakage(audits),
        claims(runs),
        layers(runs, sources.complaints),
        partitions(runs),
        reproduce(runs, audits),
    ]
    broken = failed(sources.failures, sources.complaints)
    made = (
        f"Made by fedprllm report, version {version('fedprllm-secure')}, from result files alone; nothing was run. "
        + ("Figures of audits are made of private text, and no epsilon covers them." if audits else "")
    )
    return Document(TITLE, (*sections, *([broken] if broken else [])), made.strip())


def _remove_former(out: Path) -> None:
    """Remove the pictures of an earlier report, by its own account of them."""
    former = out / MARKDOWN
    if former.is_file():
        for key in re.findall(rf"\]\({FIGURES}/([a-z0-9-]+)\.png\)", former.read_text(errors="replace")):
            (out / FIGURES / f"{key}.png").unlink(missing_ok=True)
