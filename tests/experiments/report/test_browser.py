"""The page in a real browser: no complaint, every plot drawn, nothing past a phone's edge, and dark when wanted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: that of ``FEDPRLLM_CHROMIUM``, or the first on the path."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[browser]'")
    found = os.environ.get("FEDPRLLM_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs a Chromium on the path, or FEDPRLLM_CHROMIUM")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


def opened(
    browser: Any, file: Path, *, width: int, scheme: str = "light", scripts: bool = True
) -> tuple[Any, list[str]]:
    """Open a file from disk, and collect what the browser says and what it asks the network for."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts, offline=True
    )
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.absolute().as_uri())
    page.wait_for_timeout(1500)
    return page, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_works(browser, written, document, width, scheme, tmp_path):
    """At every width and in both schemes."""
    page, said = opened(browser, written.page, width=width, scheme=scheme)
    folder = Path(os.environ.get("FEDPRLLM_SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"report-{width}-{scheme}.png", full_page=True)

    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    drawn = page.evaluate(
        """[...document.querySelectorAll('.plot')].map(
            plot => plot.querySelectorAll('.main-svg .trace, .main-svg .heatmaplayer image').length)"""
    )
    assert len(drawn) == len(document.pictures())
    assert min(drawn) >= 1
    fits = page.evaluate(
        """[...document.querySelectorAll('.plot .main-svg')].every(
            drawing => drawing.getBoundingClientRect().right <= window.innerWidth)"""
    )
    assert fits


def test_colours_follow_the_scheme(browser, written):
    """Plots are drawn again when it changes."""
    page, _ = opened(browser, written.page, width=800)
    backgrounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(500)
        backgrounds.append(
            page.evaluate(
                """[getComputedStyle(document.body).backgroundColor,
                    getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor]"""
            )
        )

    assert backgrounds == [["rgb(255, 255, 255)"] * 2, ["rgb(20, 23, 27)"] * 2]


def test_plots_follow_the_width(browser, written):
    """A phone that is turned sees whole plots."""
    page, _ = opened(browser, written.page, width=900)
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_timeout(1500)

    assert page.evaluate("document.documentElement.scrollWidth <= 360")
    assert page.evaluate("document.querySelector('.plot .main-svg').getBoundingClientRect().width <= 360")


def test_stills_stand_in_without_scripts(browser, written, document):
    """One a plot, all loaded, none too wide."""
    page, said = opened(browser, written.page, width=360, scripts=False)
    stills = page.locator("figure noscript img, figure img")

    assert said == []
    assert stills.count() == len(document.pictures())
    box = stills.first.bounding_box()
    assert box["width"] > 200
    assert box["x"] + box["width"] <= 360


def test_the_keyboard_reaches_everything(browser, written):
    """First the way past the links; then, with others, summaries and tables that scroll."""
    page, _ = opened(browser, written.page, width=800)
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.className || document.activeElement.tagName"))

    assert reached[0] == "skip"
    assert {"A", "SUMMARY", "scroll"} <= set(reached)


def test_strings_from_files_do_nothing(browser, tmp_path):
    """No dialog, no request, no complaint."""
    from experiments.report.write import write_report
    from tests.experiments.report.test_pages import HOSTILE, hostile

    written = write_report(hostile(tmp_path / "in"), tmp_path / "out")
    page, said = opened(browser, written.page, width=360)

    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("img[src=x]").count() == 0
    assert HOSTILE[:20] in page.inner_text("main")
