"""A section that cannot be made, or drawn, costs itself alone."""

from __future__ import annotations

import pytest

from experiments.report import write
from experiments.report.sources import Sources
from experiments.report.write import write_report
from tests.experiments.report.written import audit, put, result


@pytest.mark.parametrize(
    "error", [ValueError, TypeError, KeyError, OverflowError, ZeroDivisionError, MemoryError, OSError]
)
def test_a_section_that_cannot_be_made_says_why(tmp_path, monkeypatch, error):
    """In its place, and in a complaint that the page lists; the other sections are there."""

    def breaks(*_):
        raise error("of no use")

    sources = Sources.gather([put(tmp_path / "run", result()), put(tmp_path / "audit", audit())])
    before = [section.key for section in write.put_together(sources).sections]
    monkeypatch.setattr(write, "leakage", breaks)

    document = write.put_together(sources)

    assert [section.key for section in document.sections] == [*before, "failed"]
    [text] = next(section for section in document.sections if section.key == "leakage").blocks
    assert text.words.startswith(f"This section could not be made: {error.__name__}: ")
    [complaint] = sources.complaints
    assert complaint.startswith(f"What adversaries learn: this section could not be made: {error.__name__}: ")
    assert document.sections[-1].blocks[0].rows == ((complaint,),)


def test_a_picture_that_cannot_be_drawn_costs_its_section(tmp_path, monkeypatch):
    """The page is written without it."""

    def breaks(picture):
        if picture.key.startswith("roc"):
            raise OverflowError("too far")
        return drawn(picture)

    drawn = write.still
    monkeypatch.setattr(write, "still", breaks)

    found = write_report([put(tmp_path / "run", result()), put(tmp_path / "audit", audit())], tmp_path / "out")

    assert found.complaints == ("What adversaries learn: this section could not be made: OverflowError: too far",)
    assert "This section could not be made: OverflowError: too far." in found.page.read_text()
    assert not list((tmp_path / "out" / "figures").glob("roc*"))


def test_a_flag_of_a_kind_that_nobody_foresaw_does_not_end_the_report(tmp_path):
    """A run whose configuration lacks what its noise says."""
    odd = result()
    odd["privacy"]["dp"] = "distributed"
    odd["config"].pop("noise_multiplier")

    found = write_report([put(tmp_path / "odd", odd), put(tmp_path / "good", result(seed=1))], tmp_path / "out")

    assert found.page.is_file()
    assert any("this section could not be made: KeyError" in line for line in found.complaints)
