"""What pictures of all games share: bars with their spread, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from experiments.audit.pictures import SETTINGS


def drawn(stem: Path, draw: Callable[[Figure], None], *, size: tuple[float, float]) -> list[Path]:
    """Write a picture as `.png` and `.svg`.

    Args:
        stem: the files' path without an ending.
        draw: fills a figure.
        size: of the figure, in inches.

    Returns:
        The files.
    """
    with rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        files = [stem.with_name(stem.name + ending) for ending in (".png", ".svg")]
        for file in files:
            # A date would make every file differ.
            figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files
