"""Writes a document as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from experiments.report.document import Document
from experiments.report.interactive import figure

HERE = Path(__file__).parent


def html_page(document: Document, stills: Mapping[str, bytes]) -> str:
    """Write the page.

    Every string is escaped. Scripts run only if their digest is one that the page names, so that nothing which slipped
    in could run, and the page may load nothing at all.

    Args:
        document: what it says.
        stills: PNGs by a picture's key, for readers without scripts.
    """
    templates = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["kind"] = lambda value: type(value).__name__
    plots = bool(document.pictures())
    scripts = [get_plotlyjs(), (HERE / "report.js").read_text()] if plots else []
    return templates.get_template("report.html.jinja").render(
        document=document,
        figure=figure,
        images={key: base64.b64encode(png).decode() for key, png in stills.items()},
        style=_ours((HERE / "report.css").read_text(), "style"),
        scripts=[_ours(script, "script") for script in scripts],
        digests=[base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts],
    )


def _ours(text: str, element: str) -> Markup:
    """Mark a file of our own, or of the library, as what it is: it must not end its element early."""
    assert f"</{element}" not in text.lower()
    return Markup(text)  # noqa: S704 - from no user
