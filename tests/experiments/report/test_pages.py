"""The page and the Markdown: whole, self-contained, accessible, and deaf to what strings in files say to do."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from itertools import pairwise

import html5lib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from plotly.offline import get_plotlyjs

from experiments.report import page as page_module
from experiments.report.markdown import escaped, markdown
from experiments.report.stills import COLOURS, ink_on
from experiments.report.write import write_report
from fedprllm_secure.errors import InputError
from tests.experiments.report.written import audit, cell, private, put, put_sweep, result

LIBRARY = "/* the library */"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> `x` | $y$ {{ 7*7 }} <b>_&amp;"


def parse(written):
    """Parse a page as a browser without scripts would."""
    return html5lib.parse(ours(written), namespaceHTMLElements=False, treebuilder="etree")


def ours(written):
    """Read a page but for the library, which is long, and none of ours."""
    text = written.page.read_text()
    assert text.count(get_plotlyjs()) == 1
    return text.replace(get_plotlyjs(), LIBRARY)


@pytest.fixture(scope="module")
def tree(written):
    """The page of everything."""
    return parse(written)


def attributes(tree, name):
    """List the values of an attribute."""
    return [element.get(name) for element in tree.iter() if isinstance(element.tag, str) and element.get(name)]


def islands(tree):
    """Read the page's JSON."""
    return [json.loads(each.text) for each in tree.iter("script") if each.get("type") == "application/json"]


def test_page_is_strict_html(written):
    """No parser has to guess."""
    assert parser_errors(ours(written)) == []


def test_page_loads_nothing(tree):
    """No address that is not on the page itself or data, and a rule that forbids all others."""
    for name in ("src", "href", "srcset", "poster", "data", "action", "background"):
        assert all(value.startswith(("data:", "#")) for value in attributes(tree, name))
    assert list(tree.iter("link")) == list(tree.iter("iframe")) == []
    rule = next(each.get("content") for each in tree.iter("meta") if each.get("http-equiv"))
    assert rule.startswith("default-src 'none';")
    assert "http" not in rule


def test_only_our_scripts_may_run(tree):
    """Each by its digest; no handler in an attribute."""
    rule = next(each.get("content") for each in tree.iter("meta") if each.get("http-equiv"))
    code = [each.text for each in tree.iter("script") if each.get("type") is None]
    texts = [get_plotlyjs() if text == LIBRARY else text for text in code]
    digests = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]

    assert code[0] == LIBRARY
    assert len(code) == 2
    assert re.findall(r"'sha256-([^']+)'", rule) == digests
    assert not any(name.startswith("on") for each in tree.iter() if isinstance(each.tag, str) for name in each.attrib)


def test_page_can_be_found_ones_way_in(tree):
    """Landmarks, a language, one first heading and none skipped, unique names, links that lead somewhere."""
    ids = attributes(tree, "id")
    levels = [
        int(each.tag[1]) for each in tree.iter() if isinstance(each.tag, str) and re.fullmatch("h[1-6]", each.tag)
    ]

    assert tree.get("lang") == "en"
    assert [len(list(tree.iter(tag))) for tag in ("main", "header", "nav", "footer", "h1")] == [1] * 5
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in attributes(tree, "href")} <= set(ids)
    for name in ("aria-labelledby", "aria-describedby", "data-figure"):
        assert set(attributes(tree, name)) <= set(ids)


def test_every_plot_can_be_read_without_seeing_it(tree, document):
    """A name, a description, a still with a text, and a table of its numbers."""
    figures = list(tree.iter("figure"))

    assert len(figures) == len(document.pictures()) > 8
    for each in figures:
        plot = next(part for part in each.iter("div") if part.get("class") == "plot")
        assert plot.get("role") == "img"
        assert plot.get("aria-label")
        [still] = each.iter("img")
        assert len(still.get("alt")) > 40
        assert still.get("src").startswith("data:image/png;base64,iVBOR")
        assert next(each.iter("figcaption")).text
        [table] = each.iter("table")
        assert len(list(table.iter("tr"))) > 1
    for table in tree.iter("table"):
        assert table.find("caption").text
        assert all(head.get("scope") in ("col", "row") for head in table.iter("th"))


def test_what_scrolls_takes_the_keyboard(tree):
    """And has a name."""
    scrolling = [each for each in tree.iter() if "scroll" in (each.get("class") or "")]

    assert scrolling
    assert all(each.get("tabindex") == "0" and each.get("aria-label") for each in scrolling)


def test_figures_are_what_the_document_says(tree, document):
    """The numbers for plotly are those of the pictures."""
    found = islands(tree)
    picture = document.pictures()[0]

    assert len(found) == len(document.pictures())
    assert [trace["y"] for trace in found[0]["data"]] == [list(each.y) for each in picture.drawing.series]
    assert found[0]["layout"]["xaxis"]["type"] == "log"


def test_plotly_takes_the_figures(tree):
    """Its own schema finds nothing to complain of."""
    from plotly.graph_objects import Figure

    for each in islands(tree):
        Figure(each)


def test_colours_can_be_told_from_the_background():
    """Text 4.5 to 1 and lines 3 to 1 at least, in light and dark."""
    style = (page_module.HERE / "report.css").read_text()
    light, dark = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", part)) for part in style.split("@media", 2)[:2])

    assert light.keys() == dark.keys()
    for colours in (light, dark):
        for back in ("back", "head"):
            for name in ("text", "quiet", "link"):
                assert contrast(colours[name], colours[back]) >= 4.5, (name, back)
        for name in colours:
            if name.startswith("look") or name in ("limit", "claim"):
                assert contrast(colours[name], colours["back"]) >= 3, name
    assert [light[f"look-{number}"].upper() for number in range(6)] == [each.upper() for each in COLOURS]


def luminance(colour):
    """Relative luminance, written out."""
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    """Contrast of two colours."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", ["#ffffff", "#000000", "#808080", "#41b6c4", "#225ea8"])
def test_ink_stands_out(colour):
    """The better of black and white."""
    ink = ink_on(to_rgb(colour))

    assert contrast(ink, colour) >= 4.5
    assert contrast(ink, colour) == max(contrast("black", colour), contrast("white", colour))


def hostile(folder):
    """Write inputs in which every string is an attack."""
    content = result(model=HOSTILE, data=HOSTILE, partition=HOSTILE, protocol=HOSTILE, sparsity=HOSTILE, value=21.0)
    content["notes"] = [HOSTILE]
    content["protocol"]["protects"] = HOSTILE
    content["sparsity"]["fraction_by_matrix"] = {f"m.0.{HOSTILE}": 0.1, "m.1.x": 0.9}
    content["environment"]["versions"] = {HOSTILE: HOSTILE}
    content["config"]["eval_data"] = HOSTILE
    content["config"][HOSTILE] = 1
    noisy = private(3.0, model=HOSTILE)
    for name in ("claim", "adjacency", "adjacency_means", "adversary", "mechanism", "ledger"):
        noisy["privacy"][name] = HOSTILE
    noisy["privacy"]["not_covered"] = [HOSTILE]
    told = audit([cell(HOSTILE, HOSTILE), cell("plain", attacks_not_made={HOSTILE: HOSTILE})])
    told["game"] = {"adjacency": HOSTILE, "knowledge": HOSTILE, "name": HOSTILE}
    told["baseline_alarms"] = [HOSTILE]
    other = {"schema": 1, "config": {}, "game": {"name": HOSTILE}, "note": HOSTILE, "figures": {HOSTILE: 1.0}}
    return [
        put(folder / "run", content, votes=True),
        put(folder / "noisy", noisy),
        put(folder / "audit", told),
        put(folder / "game", other),
        put_sweep(folder / "sweep", {"c1": HOSTILE}, {}),
        folder / HOSTILE.replace("/", ":"),
    ]


def test_strings_from_files_stay_strings(tmp_path):
    """Nothing of them becomes an element, an attribute or a script; plotly and matplotlib read no markup either."""
    written = write_report(hostile(tmp_path / "in"), tmp_path / "out")
    tree, text = parse(written), ours(written)

    assert "<script>alert(1)" not in text
    assert not any("alert" in (each.text or "") for each in tree.iter("script") if each.get("type") is None)
    assert not any(each.get("onerror") for each in tree.iter() if isinstance(each.tag, str))
    assert len(list(tree.iter("img"))) == len(list(tree.iter("figure")))
    assert text.count("{{ 7*7 }}") > 5
    for island in islands(tree):
        assert not set(re.sub(r'"hovertemplate": "[^"]*"', "", json.dumps(island))) & set("<$")
    assert parser_errors(text) == []
    assert "<script>" not in re.sub(r"\\.", "", markdown_without_code(written.markdown.read_text()))


def parser_errors(text):
    """Parse strictly."""
    parser = html5lib.HTMLParser()
    parser.parse(text)
    return parser.errors


def markdown_without_code(text):
    """Leave fenced blocks out."""
    return re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", text)


def test_markdown_keeps_strings_in_their_place():
    """No heading, table, link, emphasis, code, tag or second line comes of one."""
    assert escaped("a|b\n# c") == r"a\|b \# c"
    assert re.sub(r"\\.", "", escaped("\\`*_{}[]<>#|~$!&")) == ""


def test_markdown_says_the_same_with_pictures(written, document):
    """Every section, every picture as a file, every command, and tables of even width."""
    text = written.markdown.read_text()

    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        escaped(each.title) for each in document.sections
    ]
    for picture in document.pictures():
        assert f"(figures/{picture.key}.png)" in text
        assert imread(written.page.parent / "figures" / f"{picture.key}.png").std() > 0.01
    for block in re.findall(r"(?m)(?:^\|.*\n)+", text):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1
    assert "```\nfedprllm prune --model tiny" in text
    assert set(re.findall(r"\]\(#(from-\w+)\)", text)) == set(re.findall(r'id="(from-\w+)"', text))
    assert markdown(document) == text


def test_a_former_report_is_replaced_and_nothing_else(tmp_path):
    """Its pictures too, by its own account; a file of the user's stays."""
    out = tmp_path / "out"
    write_report([put(tmp_path / "told", audit())], out)
    (out / "figures" / "mine.png").write_bytes(b"1")

    write_report([put(tmp_path / "run", result())], out)

    assert sorted(file.name for file in (out / "figures").iterdir()) == ["mine.png", "perplexity-epsilon-0.png"]


def test_a_report_of_audits_is_for_its_user_alone(tmp_path):
    """It is made of private text; one of runs is like other files."""
    private_one = write_report([put(tmp_path / "told", audit())], tmp_path / "a")
    open_one = write_report([put(tmp_path / "run", result())], tmp_path / "b")

    for file in (private_one.page, private_one.markdown, *(tmp_path / "a" / "figures").iterdir()):
        assert file.stat().st_mode & 0o077 == 0
    assert open_one.page.stat().st_mode & 0o400


def test_a_report_without_pictures_runs_nothing(tmp_path):
    """No script, and none allowed."""
    written = write_report([put_sweep(tmp_path / "sweep", {"c": "no room"}, {})], tmp_path / "out")
    text = written.page.read_text()

    assert "<script" not in text
    assert "script-src 'none'" in text
    assert len(text) < 20_000


def test_out_must_be_a_folder(tmp_path):
    """Not a file."""
    (tmp_path / "out").write_text("")

    with pytest.raises(InputError, match=r"--out .*out is a file; name a folder"):
        write_report([put(tmp_path / "run", result())], tmp_path / "out")
