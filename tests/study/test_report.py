import dataclasses
import html.parser
import re
import subprocess
import sys

import numpy as np
import pytest

from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Figure,
    Finding,
    Picture,
    Report,
    Section,
    Table,
    _files,
    accuracy_bars,
)
from jaxkd.study._provenance import provenance

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """A page as (tag, attributes) in order, its text, and whether its tags nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._stack = [], [], []
        self.feed(text)
        self.close()
        assert not self._stack, f"never closed: {self._stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._stack.pop() == tag

    def handle_data(self, data):
        if data.strip() and not {"style", "svg"} & set(self._stack):
            self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def report():
    bars = {"labels": 0.806, "distilled": Spread(0.854, 0.002, 5)}
    table = Table(
        "Accuracy <by arm>",
        ["Arm", Column("Accuracy", "percent")],
        [["labels & nothing", 0.806], ["distilled", Spread(0.854, 0.002, 5)]],
        caption="Five seeds.",
    )
    return Report(
        title="Few labels & <script>alert(1)</script>",
        summary="First paragraph\ngoes on.\n\nSecond <b>paragraph</b>.",
        sections=[
            Section(
                "Accuracy",
                text="Some text.",
                findings=[Finding("gain", "It helps: +1 ± 0."), Finding("none", "No <i>.")],
                tables=[table],
                figures=[
                    accuracy_bars(bars, caption="Bars & whiskers."),
                    accuracy_bars(bars, teacher=0.9, file_format="png"),
                ],
            ),
            Section("Cost", findings=[Finding("loss", "It hurts.")]),
        ],
    )


def test_the_page_is_well_formed_and_escaped(report):
    page = Page(report.to_html())
    assert page.all("script") == []
    assert page.all("b") == page.all("i") == []
    assert page.texts.count(report.title) == 2  # The title and the heading.
    for text in (
        "First paragraph goes on.",
        "Second <b>paragraph</b>.",
        "No <i>.",
        "Accuracy <by arm>",
        "labels & nothing",
        "Bars & whiskers.",
        "It helps: +1\u00a0±\u00a00.",
    ):
        assert text in page.texts


def test_it_shows_itself_in_a_line():
    report = Report(
        "Title", "", [Section("Pictures", pictures=[Picture(np.zeros((8, 8, 1), np.uint8), "")])]
    )
    assert repr(report) == "Report('Title'; sections: Pictures)"


def test_the_page_loads_nothing(report):
    text = report.to_html()
    page = Page(text)
    assert page.all("link") == page.all("iframe") == page.all("object") == []
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,")), value
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    # Names of XML vocabularies are no addresses that anything opens.
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+[^\"'\s<]*", re.sub('base64,[^"]+', "", text)))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    policy = next(m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_tables_have_scopes_and_the_right_cells(report):
    page = Page(report.to_html())
    assert [cell.get("scope") for cell in page.all("th")] == ["col", "col", "row", "row"]
    assert "Accuracy (%)" in page.texts
    numbers = [text for text in page.texts if re.fullmatch(r"(± )?\d+\.\d+", text)]
    assert numbers == ["80.60", "85.40", "± 0.20"]


def test_a_finding_may_have_a_heading_of_its_own():
    findings = [Finding("none", "Too slow.", label="Goal not reached"), Finding("none", "Equal.")]
    text = Report("T", "", [Section("S", findings=findings)]).to_html()
    assert "<strong>Goal not reached</strong> Too slow." in text
    assert "<strong>No difference shown</strong> Equal." in text


def test_every_minus_is_one():
    figure = Figure(b"<svg ></svg>", "svg", "from -1.5 to 2", "About -3 points.")
    findings = [Finding("loss", "It hurts: -1.00.")]
    table = Table("T", ["A"], [["b"]], caption="Down to -4.")
    section = Section("S", "By -2, run with -x.", findings, [table], [figure])
    text = Report("T", "Less: -0.5.", [section], "Down by -6.").to_html()
    for number in ("0.5", "1.00", "1.5", "2", "3", "4", "6"):
        assert f"\u2212{number}" in text and f"-{number}" not in text.split("</style>")[1], number
    assert "run with -x" in text


def test_the_contents_lead_to_the_sections(report):
    page = Page(report.to_html())
    targets = [link["href"] for link in page.all("a")]
    assert targets == ["#section-1", "#section-2"]
    assert [f"#{section['id']}" for section in page.all("section")] == targets
    single = Report(title="T", summary="", sections=report.sections[:1])
    assert Page(single.to_html()).all("nav") == []


def test_every_id_is_there_once_and_every_label_is_an_id(report):
    page = Page(report.to_html())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert labels
    assert labels <= set(ids)


def test_a_table_is_not_called_like_its_section():
    section = Section("Arms", "", [], [Table("Arms", ["Arm"], [["labels"]])])
    page = Page(Report("T", "", [section]).to_html())
    (region,) = (each for each in page.all("div") if each.get("role") == "region")
    assert region["aria-label"] == "Table: Arms"


def test_figures_are_described(report):
    page = Page(report.to_html())
    (svg,), (img,) = page.all("svg"), page.all("img")
    assert svg["role"] == "img"
    assert svg["aria-label"] == report.sections[0].figures[0].alt
    assert img["alt"] == report.sections[0].figures[1].alt


def test_findings_are_marked_by_words_and_not_by_color_alone(report):
    page = Page(report.to_html())
    kinds = [li["class"] for li in page.all("li") if "class" in li]
    assert kinds == ["gain", "none", "loss"]
    assert {"Gain", "No difference shown", "Worse"} <= set(page.texts)


def test_the_conclusion_comes_first_and_how_it_was_made_last(report, capsys):
    whole = dataclasses.replace(
        report, headline="Use it.", sections=[*report.sections, provenance({"Alpha": 0.9}, 75.0)]
    )
    texts = Page(whole.to_html()).texts
    assert texts[1:4] == [report.title, "Conclusion", "Use it."]
    places = [texts.index(text) for text in ("It hurts.", "What the terms mean", "Command")]
    assert places == sorted(places) and texts[-2:] == ["Alpha", "0.9"]
    for name in ("Date", "Versions", "Machine", "Git commit", "Training"):
        assert name in texts[places[-1] :]
    assert texts[texts.index("Training") + 1] == "75 s"
    whole.print()
    assert "Use it." in capsys.readouterr().out
    assert "Conclusion" not in Page(report.to_html()).texts


def test_terms_are_explained_once_and_only_those_that_occur():
    table = Table("T", ["Arm", Column("ECE", "percent")], [["a", 0.1]])
    sections = [Section("S", "By 1.5% better.", tables=[table, table])]
    texts = Page(Report("T", "", sections).to_html()).texts
    assert sum(text.startswith("Expected calibration error") for text in texts) == 1
    assert "NLL" not in texts and "By 1.5\u00a0% better." in texts


def test_the_summary_has_minus_signs():
    report = Report("T", "It hurts (-2.4 points).", [])
    assert "It hurts (\N{MINUS SIGN}2.4 points)." in Page(report.to_html()).texts


def test_a_wide_table_says_that_it_scrolls_and_keeps_the_names_of_its_rows_in_sight():
    def page(columns):
        table = Table("T", [str(i) for i in range(columns)], [[""] * columns])
        return Report("T", "", [Section("S", tables=[table])]).to_html()

    assert "The table scrolls sideways: 5 columns" in page(5)
    assert 'class="scroll wide"' in page(5) and ".wide th:first-child" in page(5)
    assert "scrolls sideways:" not in page(2) and 'class="scroll wide"' not in page(2)


def test_light_dark_narrow_and_printed(report):
    text = report.to_html()
    assert 'name="viewport" content="width=device-width' in text
    assert "@media (prefers-color-scheme: dark)" in text
    assert "@media print" in text


def test_a_failed_write_leaves_the_old_page(report, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    report.write_html(path)
    assert path.read_text(encoding="utf-8") == report.to_html()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(_files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        Report(title="New", summary="", sections=[]).write_html(path)
    assert path.read_text(encoding="utf-8") == report.to_html()
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_made_writes_nothing(tmp_path):
    broken = Figure(b"\xff", "svg", "no text")
    report = Report(title="T", summary="", sections=[Section("S", figures=[broken])])
    with pytest.raises(UnicodeDecodeError):
        report.write_html(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_print_shows_text_findings_and_tables(report, capsys):
    report.print()
    printed = capsys.readouterr().out
    for text in ("Second <b>", "Some text.", "Gain", "It hurts.", "85.40 ± 0.20", "Five seeds."):
        assert text in printed


def test_importing_loads_no_drawing_library():
    # Only what the modules themselves add counts: Flax may import some of these already.
    code = (
        "import sys, jaxkd; before = set(sys.modules); import jaxkd.metrics, jaxkd.study;"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}"
        " & {'matplotlib', 'jinja2', 'rich', 'scipy', 'PIL', 'sklearn'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert result.stdout.strip() == "[]"
