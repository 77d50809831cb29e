import csv
import html.parser
import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd.metrics import Spread
from jaxkd.study import Column, Table, _files
from jaxkd.study._files import write_file


class TableParser(html.parser.HTMLParser):
    """Reads a table back: a list of rows, each a list of (tag, scope, class, text)."""

    def __init__(self, text):
        super().__init__()
        self.rows, self._open = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append([tag, attrs.get("scope"), attrs.get("class"), ""])
            self._open = True

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self._open = False

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1][3] += data


@pytest.fixture
def table():
    return Table(
        "Students <5 seeds>",
        [
            "Arm",
            Column("Accuracy", "percent"),
            Column("Parameters", "thousands"),
            Column("Seeds"),
        ],
        [
            ["labels & more", Spread(0.8791, 0.0012, 5), 101_770, 5],
            ["teacher", 0.924, 824_458, 1],
            ["a | b", Spread.of([0.5]), math.nan, "none"],
        ],
        caption="Fashion-MNIST",
    )


def test_spread_is_the_sample_standard_deviation():
    spread = Spread.of([1.0, 2.0, 3.0, 4.0])
    assert (spread.mean, spread.n) == (2.5, 4)
    assert spread.std == pytest.approx(math.sqrt(5 / 3))


@pytest.mark.parametrize(
    ("spread", "spec", "expected"),
    [
        (Spread(87.91, 0.12, 5), "", "87.91 ± 0.12"),
        (Spread(87.91, 0.12, 5), ".1f", "87.9 ± 0.1"),
        (Spread(0.5, 0.25, 2), "+.2f", "+0.50 ± 0.25"),
        (Spread(12345.6, 1000.4, 3), ",.0f", "12,346 ± 1,000"),
        (Spread.of([87.91]), "", "87.91"),
    ],
)
def test_spread_as_text(spread, spec, expected):
    assert format(spread, spec) == expected


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], 3.0])
def test_spread_of_no_list_of_values_is_refused(values):
    with pytest.raises(ValueError, match=r"values must have shape \[n\]"):
        Spread.of(values)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("percent", 0.8791, "87.91"),
        ("percent", Spread(0.8791, 0.0012, 5), "87.91 ± 0.12"),
        ("points", 0.0166, "+1.66"),
        ("points", Spread(-0.005, 0.001, 3), "\u22120.50 ± 0.10"),
        ("points", -0.00001, "0.00"),
        ("nats", 1.2345, "1.234"),
        (None, -5, "\u22125"),
        ("difference", 0.01234, "+0.012"),
        ("count", 1_234_567, "1,234,567"),
        ("decimal", 0.123456, "0.123"),
        ("thousands", 101_770, "101.8"),
        ("kilobytes", 407_080, "407.1"),
        ("megaflops", 203_264, "0.20"),
        ("microseconds", 0.000153, "153"),
        ("milliseconds", 0.0123, "12.30"),
        ("seconds", 75.04, "75.0"),
        ("times", 8.1, "8.1"),
        (None, 5, "5"),
        (None, 0.5, "0.50"),
        (lambda value: f"<{value}>", 7, "<7>"),
        ("percent", "teacher", "teacher"),
        ("percent", math.nan, "–"),
    ],
)
def test_formats(name, value, expected):
    assert Column("x", name).show(value) == expected


def test_heading_carries_the_unit():
    assert Column("Accuracy", "percent").heading == "Accuracy (%)"
    assert Column("Latency", "microseconds").heading == "Latency (µs)"
    assert Column("NLL", "decimal").heading == Column("NLL").heading == "NLL"


def test_unknown_format_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="'Size' has the unknown format 'megabytes'.*kilobytes"):
        Column("Size", "megabytes")


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="row 1 of table 'T' has 1 cells for 2 columns"):
        Table("T", ["a", "b"], [["x", 1], ["y"]])
    with pytest.raises(TypeError, match="row 0 of table 'T' has a NoneType under 'b'"):
        Table("T", ["a", "b"], [["x", None]])
    with pytest.raises(ValueError, match="no columns"):
        Table("T", [], [])


def test_scalars_of_numpy_and_jax_are_numbers():
    table = Table("T", ["a", "b", "c"], [[np.int64(7), np.float32(0.5), jnp.asarray(0.25)]])
    assert table.to_markdown().splitlines()[-1] == "| 7 | 0.50 | 0.25 |"


def test_html_has_the_right_cells_and_escapes(table):
    fragment = table.to_html()
    assert "<caption>Students &lt;5 seeds&gt;</caption>" in fragment
    head, *body = TableParser(fragment).rows
    assert head == [
        ["th", "col", None, "Arm"],
        ["th", "col", "number", "Accuracy (%)"],
        ["th", "col", "number", "Parameters (k)"],
        ["th", "col", "number", "Seeds"],
    ]
    assert [[cell[3] for cell in row] for row in body] == [
        ["labels & more", "87.91 ± 0.12", "101.8", "5"],
        ["teacher", "92.40", "824.5", "1"],
        ["a | b", "50.00", "–", "none"],
    ]
    for row in body:
        assert [cell[:2] for cell in row] == [["th", "row"]] + [["td", None]] * 3
    assert "labels &amp; more" in fragment


def test_markdown(table):
    assert table.to_markdown().splitlines() == [
        "| Arm | Accuracy (%) | Parameters (k) | Seeds |",
        "| :-- | --: | --: | --: |",
        "| labels & more | 87.91 ± 0.12 | 101.8 | 5 |",
        "| teacher | 92.40 | 824.5 | 1 |",
        r"| a \| b | 50.00 | – | none |",
    ]


def test_text_in_markdown_is_shown_as_it_is():
    name = "a|b\nc `d` <script>x</script> [e](http://f) **g** &lt; h\\"
    lines = Table(name, [name, "n"], [[name, 1]]).to_markdown().splitlines()
    wanted = r"| a\|b c \`d\` \<script>x\</script> \[e](http://f) \*\*g\*\* \&lt; h\\ | "
    assert lines[0] == wanted + "n |" and lines[2] == wanted + "1 |" and len(lines) == 3
    # What is no markup stays readable.
    plain = ["logit_mse", "float32[8]", "p < 0.01", "R & D", "wide!", "x-y", "#1"]
    assert Table("t", plain, []).to_markdown().splitlines()[0] == f"| {' | '.join(plain)} |"


def test_csv_keeps_every_digit_and_splits_spreads(table, tmp_path):
    path = tmp_path / "folder" / "table.csv"
    table.write_csv(path)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["Arm", "Accuracy mean", "Accuracy std", "Parameters", "Seeds"],
        ["labels & more", "0.8791", "0.0012", "101770", "5"],
        ["teacher", "0.924", "", "824458", "1"],
        ["a | b", "0.5", "", "", "none"],
    ]


def test_print_shows_title_cells_and_caption(table, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    Table("T [bold]", ["a[0]"], [["[red]x[/red]"]]).print()  # Brackets are text, not markup.
    table.print()
    printed = capsys.readouterr().out
    for text in ("T [bold]", "a[0]", "[red]x[/red]", "87.91 ± 0.12", "Fashion-MNIST"):
        assert text in printed


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "report.txt"
    write_file(path, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(_files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_replaces_and_keeps_text_exactly(tmp_path):
    path = tmp_path / "report.txt"
    write_file(path, "old")
    write_file(path, "µ ±\nnew\n")
    assert path.read_bytes() == "µ ±\nnew\n".encode()


def test_a_narrow_terminal_cuts_no_number(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    columns = ["Arm", *(Column(f"Accuracy {i}", "percent") for i in range(4))]
    Table("T", columns, [["distilled on everything", *[Spread(0.8791, 0.0012, 5)] * 4]]).print()
    printed = capsys.readouterr().out
    assert printed.count("87.91 ± 0.12") == 4
    assert "distilled" in printed
    assert "…" not in printed


def test_means_end_at_the_same_place_with_and_without_a_spread(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    rows = [["one", Spread(0.8791, 0.0012, 5)], ["two", 0.924]]
    Table("T", ["Arm", Column("Accuracy", "percent")], rows).print()
    lines = capsys.readouterr().out.splitlines()
    first, second = (next(line for line in lines if name in line) for name in ("one", "two"))
    assert first.index("87.91") == second.index("92.40")
