"""Gathers what paths hold, puts the report together, and writes it in both forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from experiments.report.asked import asked
from experiments.report.claims import claims
from experiments.report.costs import costs
from experiments.report.document import Document, Section, Text
from experiments.report.fields import FAULTS, one_line
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
    document, stills = _drawn(document, sources.complaints)
    mode = 0o600 if sources.audits else 0o644
    for key, png in stills.items():
        write_durably(figures / f"{key}.png", png, mode=mode)
    write_durably(out / MARKDOWN, markdown(document).encode(), mode=mode)
    write_durably(out / PAGE, html_page(document, stills).encode(), mode=mode)
    return Written(out / PAGE, out / MARKDOWN, tuple(sources.complaints))


def put_together(sources: Sources) -> Document:
    """Compose a report of what was gathered."""
    runs, audits, complaints = sources.runs, sources.audits, sources.complaints
    parts: dict[tuple[str, str], Callable[[], Sequence[Section]]] = {
        ("asked", "What was asked"): lambda: [asked(runs, audits, sources.failures)],
        ("verdict", "Verdict"): lambda: [verdict(runs, audits)],
        ("trade-off", "Privacy against utility"): lambda: [tradeoff(runs, audits)],
        ("cost", "Cost"): lambda: [costs(runs)],
        ("further", "Privacy against utility in further settings"): lambda: further(runs, audits),
        ("leakage", "What adversaries learn"): lambda: [leakage(audits)],
        ("claims", "Claims of differential privacy"): lambda: [claims(runs)],
        ("layers", "Layer by layer"): lambda: [layers(runs, complaints)],
        ("partitions", "Clients whose text differs"): lambda: [partitions(runs)],
        ("reproduce", "Every figure's command"): lambda: [reproduce(runs, audits)],
    }
    sections: list[Section] = []
    for (key, title), compose in parts.items():
        try:
            sections += compose()
        except FAULTS as error:
            sections.append(_not_made(key, title, error, complaints))
    broken = failed(sources.failures, sources.complaints)
    made = (
        f"Made by fedprllm report, version {version('fedprllm-secure')}, from result files alone; nothing was run. "
        + ("Figures of audits are made of private text, and no epsilon covers them." if audits else "")
    )
    return Document(TITLE, (*sections, *([broken] if broken else [])), made.strip())


def _not_made(key: str, title: str, error: BaseException, complaints: list[str]) -> Section:
    """Put, in a section's place, why it could not be made; and complain of it."""
    why = f"this section could not be made: {type(error).__name__}: {one_line(error)}"
    complaints.append(f"{title}: {why}")
    return Section(key, title, (Text(f"{why[0].upper()}{why[1:]}."),))


def _drawn(document: Document, complaints: list[str]) -> tuple[Document, dict[str, bytes]]:
    """Draw all pictures; a section with one that cannot be drawn gives way to why."""
    sections: list[Section] = []
    stills: dict[str, bytes] = {}
    for section in document.sections:
        try:
            stills |= {picture.key: still(picture) for picture in replace(document, sections=(section,)).pictures()}
            sections.append(section)
        except FAULTS as error:
            sections.append(_not_made(section.key, section.title, error, complaints))
    return replace(document, sections=tuple(sections)), stills


def _remove_former(out: Path) -> None:
    """Remove the pictures of an earlier report, by its own account of them."""
    former = out / MARKDOWN
    if former.is_file():
        for key in re.findall(rf"\]\({FIGURES}/([a-z0-9-]+)\.png\)", former.read_text(errors="replace")):
            (out / FIGURES / f"{key}.png").unlink(missing_ok=True)
