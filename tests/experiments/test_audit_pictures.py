"""Pictures of an audit: files, what is written in them, and that nothing is left behind."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from attacks.leakage.claims import Claim, Game
from attacks.leakage.figures import Measured
from attacks.leakage.intervals import Interval
from experiments.audit import pictures
from experiments.audit.pictures import Cell, draw_matrix, draw_roc
from tests.attacks.leakage.simulated import gaussian, samples

CLAIM = Claim(1.0, 1e-5, Game("window-replace", "server"))


def audit(*, runs=300, shift=1.0):
    """Give one attack's samples."""
    return gaussian(np.random.default_rng(0), runs=runs, shift=shift)


def test_roc_says_what_can_be_seen_and_what_is_claimed(tmp_path):
    """Both files are there, and the text of one can be read."""
    one = audit()
    png, svg = draw_roc({"one": one, "other": audit(shift=3.0)}, tmp_path / "a.b", title="all", claim=CLAIM, level=0.05)
    text = svg.read_text()

    assert (png.name, svg.name) == ("a.b.png", "a.b.svg")
    assert imread(png).std() > 0.01
    for says in ("one: AUC 0.7", "other: AUC 0.9", "guessing", "claimed: epsilon 1, delta 1e-05", "(window-replace)"):
        assert says in text
    assert f"{one.num_non_members:,} runs with a non-member show no rate this low" in text
    assert "the most that 300 coins show" in text


def test_roc_without_a_claim_draws_none(tmp_path):
    """Nothing is ruled out; a perfect attack and many coins can be drawn too."""
    members = np.arange(20_000) % 2 == 0
    _, svg = draw_roc({"one": samples(members, members)}, tmp_path / "roc", title="all", claim=None, level=0.05)

    assert "claim" not in svg.read_text()
    assert "one: AUC 1.000" in svg.read_text()
    assert "0.1 %" in svg.read_text()
    assert svg.stat().st_size < 100_000


def test_drawn_curve_is_the_samples(monkeypatch, tmp_path):
    """At every false positive rate drawn, the height is the greatest true positive rate there."""
    drawn = {}
    monkeypatch.setattr(pictures, "_written", lambda figure, stem: drawn.update(axes=figure.axes[0]) or [])
    one = audit(runs=3000)
    draw_roc({"one": one}, tmp_path / "roc", title="all", claim=CLAIM, level=0.05)
    line = drawn["axes"].lines[0]
    outside, inside = one.scores[~one.members], one.scores[one.members]

    assert line.get_drawstyle() == "steps-post"
    for false, true in list(zip(*line.get_data(), strict=True))[1::40]:
        heights = [(inside >= cutoff).mean() for cutoff in one.scores if (outside >= cutoff).mean() <= false + 1e-12]
        assert true == pytest.approx(max(heights))


@pytest.mark.parametrize("count", [0, 8])
def test_roc_has_as_many_curves_as_can_be_told_apart(count, tmp_path):
    """One to seven."""
    with pytest.raises(ValueError, match=f"curves={count} must be 1 to 7"):
        draw_roc({str(n): audit() for n in range(count)}, tmp_path / "roc", title="all", claim=None, level=0.05)


def test_matrix_prints_figures_intervals_and_notes(tmp_path):
    """A cell without an interval, without a figure, and no cell at all."""
    cells = {
        ("plain", "server"): Cell(Measured(0.997, Interval(0.99, 1.0)), "likelihood"),
        ("plain", "reader"): Cell(Measured(0.61, None, "one run"), "no claim"),
        ("additive", "server"): Cell(Measured(None, None, "too few")),
    }

    png, svg = draw_matrix(
        cells, tmp_path / "matrix", protocols=["plain", "additive"], adversaries=["server", "reader"], title="best"
    )
    text = svg.read_text()

    assert imread(png).std() > 0.01
    for says in (
        "0.997",
        "0.990 to 1.000",
        "likelihood",
        "0.610",
        "no interval",
        "no claim",
        "refused",
        "not played",
        "best",
    ):
        assert text.count(f">{says}<") == 1


def test_matrix_refuses_cells_of_no_row(tmp_path):
    """Every cell is drawn."""
    with pytest.raises(ValueError, match=r"cells=\[\('he', 'server'\)\] must be of protocols=\['plain'\]"):
        draw_matrix(
            {("he", "server"): Cell(Measured(0.5, Interval(0.4, 0.6)))},
            tmp_path / "matrix",
            protocols=["plain"],
            adversaries=["server"],
            title="best",
        )


def test_the_same_figures_give_the_same_files(tmp_path):
    """Neither dates nor drawn names differ."""
    for name in ("a", "b"):
        draw_roc({"one": audit()}, tmp_path / name, title="all", claim=CLAIM, level=0.05)

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_ink_stands_out_from_every_cell():
    """Contrast of 4.5 to 1 at least, for large and small text."""
    for share in np.linspace(0, 1, 50):
        light = pictures._luminance(pictures.colormaps[pictures.COLOURMAP](0.85 * share))
        ink = 0.0 if light > pictures.MIDDLE_LUMINANCE else 1.0
        assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) >= 4.5
