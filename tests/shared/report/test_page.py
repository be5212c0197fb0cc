import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.engine import Options, Unit, run_plan
from poolvox.shared.report import Figure, Section, Table, read_overview, write_report
from poolvox.shared.report.plates import show_plate

EVIL = "<script>alert(\"µ\")</script> & 'quotes'"


class Page(HTMLParser):
    """Collects tags, texts and attributes."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def write(path, *sections, **options) -> Page:
    write_report(path, sections=sections, **{"title": "a run", **options})
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.html"


@pytest.fixture
def picture():
    return show_plate({"A1": 1.0}, EVIL, label="cells")


def test_nothing_of_a_pipeline_becomes_html(path, picture):
    frame = pd.DataFrame({EVIL: [EVIL, None]})
    section = Section(EVIL, EVIL, ((EVIL, EVIL),), (Table(frame, EVIL, whole=EVIL),), (picture,))
    page = write(path, section, title=EVIL)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert page.text.count(EVIL) >= 8
    image = next(attrs for tag, attrs in page.tags if tag == "img")
    assert image["alt"] == EVIL


def test_the_page_needs_nothing_else(path, picture):
    page = write(path, Section("one", figures=(picture,)))
    for _, attributes in page.tags:
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:image/png;base64,", "#"))
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?://", text)


def test_links_of_the_contents_lead_somewhere(path):
    sections = [Section("Same title"), Section("Same title"), Section("Ωmega"), Section("")]
    page = write(path, *sections)
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert len(set(ids)) == len(ids)
    assert len(links) == 4
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_cells_are_written_for_people(path):
    frame = pd.DataFrame(
        {
            "number": [1234.5678, np.nan, np.inf, -np.inf, 1e-12],
            "whole": pd.array([1, 2, None, 4, 5], dtype="Int64"),
            "truth": [True, False, True, False, True],
            "text": ["µm", "", None, "nan", "x"],
            "list": [[1, 2], [], (), {"a": 1}, None],
            "large": [61504.2, -12345.6, 9999.4, 2e20, 5e-4],
        }
    )
    text = write(path, Section("one", tables=(Table(frame, "all kinds"),))).text
    for cell in ("1235", "–", "∞", "−∞", "1e-12", "yes", "no", "µm", "[1, 2]"):
        assert cell in text
    for cell in ("61,504", "-12,346", "9999", "2e+20", "0.0005"):
        assert cell in text


def test_a_long_table_is_shortened_and_says_where_the_rest_is(path):
    frame = pd.DataFrame({"row": [f"row {n}" for n in range(100)]})
    text = write(path, Section("one", tables=(Table(frame, "long", "tables/long.parquet"),))).text
    assert "row 29" in text
    assert "row 30" not in text
    assert "70 of 100 rows are left out here; the whole table is tables/long.parquet" in text


def test_an_index_with_a_name_is_a_column(path):
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["A1", "B1"], name="well"))
    text = write(path, Section("one", tables=(Table(frame, "wells"),))).text
    assert "well" in text
    assert "B1" in text


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []})])
def test_an_empty_table_says_so(path, frame):
    assert "no rows" in write(path, Section("one", tables=(Table(frame, "none"),))).text


def test_the_same_report_is_the_same_file(path, tmp_path, picture):
    section = Section("one", figures=(picture,))
    write(path, section)
    write(tmp_path / "again.html", section)
    assert path.read_bytes() == (tmp_path / "again.html").read_bytes()


def test_what_is_no_png_is_refused(path):
    with pytest.raises(ValueError, match="to_picture"):
        write(path, Section("one", figures=(Figure(b"GIF89a", "no"),)))
    assert list(path.parent.iterdir()) == []


def fail():
    raise ValueError(EVIL)


def test_what_tells_at_a_glance_heads_the_page(path):
    sections = [Section(f"part {n}", headline=((f"share {EVIL}", f"{n}0 %"),)) for n in (1, 2)]
    text = write(path, *sections).text
    for n in (1, 2):
        assert text.index(f"{n}0 %") < text.index("part 1")
    assert text.count(f"share {EVIL}") == 2


def test_the_run_comes_first_with_what_failed(tmp_path, path):
    units = [
        Unit("count/A1", "count", lambda: {"warnings": ["dim"]}),
        Unit("count/A2", "count", lambda: {"warnings": "dim"}),
        Unit("count/A3", "count", fail),
        Unit("gather/all", "gather", dict, needs=("count/A3",)),
    ]
    output = tmp_path / "out"
    summary = run_plan(units, output, options=Options(workers=1))
    (output / "config.yaml").write_text(f"name: {EVIL}\n")
    overview = read_overview(output, summary)
    assert overview.verdict == "failed"
    assert overview.warnings == ("dim (2 units: count/A1, count/A2)",)
    steps = overview.steps.set_index("step")
    assert list(steps.loc["count", ["ran now", "reused", "failed"]]) == [2, 0, 1]
    assert steps.loc["gather", "skipped"] == 1
    text = write(path, overview=overview).text
    for said in (
        "count/A3",
        f"ValueError: {EVIL}",
        "gather/all",
        *overview.warnings,
        f"name: {EVIL}",
    ):
        assert said in text


def test_a_run_that_did_nothing_is_all_reused(tmp_path):
    units = [Unit(f"count/{n}", "count", dict) for n in range(3)]
    for _ in range(2):
        summary = run_plan(units, tmp_path / "out", options=Options(workers=1))
    overview = read_overview(tmp_path / "out", summary)
    assert overview.verdict == "complete"
    assert list(overview.steps.loc[0, ["ran now", "reused"]]) == [0, 3]
    again = read_overview(tmp_path / "out")
    assert list(again.steps.loc[0, ["ran now", "reused"]]) == [0, 3]
    assert len(again.runs) == 2
