"""Tables for the terminal, and as CSV, HTML and Markdown."""

import csv
import dataclasses
import html
import io
import math
import os
from collections.abc import Callable, Sequence

from jaxkd._files import escape_markdown, print_any_text
from jaxkd.metrics.spread import Spread
from jaxkd.study._files import write_file
from jaxkd.study._wording import unbroken, with_minus

Number = int | float | Spread
Cell = str | Number


@dataclasses.dataclass(frozen=True)
class Format:
    """How a column shows its numbers.

    Attributes:
      spec: Python format specification, `".2f"`.
      scale: factor of the numbers before they are shown.
      unit: unit in brackets after the column's name; empty for none.

    Example:
      >>> Format("+.2f", 100.0, "points")(-0.0123), FORMATS["percent"](0.898)
      ('−1.23', '89.80')
    """

    spec: str
    scale: float = 1.0
    unit: str = ""

    def __call__(self, value: Number) -> str:
        """Formats a number, with the sign of a minus in place of a hyphen."""
        return with_minus(format(value * self.scale if self.scale != 1.0 else value, self.spec))


FORMATS: dict[str, Format] = {
    "percent": Format(".2f", 100.0, "%"),  # fractions, an accuracy
    "points": Format("+.2f", 100.0, "points"),  # differences of fractions
    "difference": Format("+.3f"),  # differences of what "decimal" shows
    "count": Format(",.0f"),
    "decimal": Format(".3f"),  # losses, divergences
    "nats": Format(".3f", 1.0, "nats"),  # negative log-likelihoods
    "thousands": Format(",.1f", 1e-3, "k"),
    "kilobytes": Format(",.1f", 1e-3, "kB"),
    "megaflops": Format(",.2f", 1e-6, "MFLOPs"),
    "microseconds": Format(",.0f", 1e6, "µs"),
    "milliseconds": Format(",.2f", 1e3, "ms"),
    "seconds": Format(",.1f", 1.0, "s"),
    "times": Format(".1f", 1.0, "×"),  # ratios, a compression
}
"""The formats that a column can name. Their numbers are in base units: fractions, bytes, FLOPs,
seconds."""


def _plain(value: Number) -> str:
    return with_minus(str(value) if isinstance(value, int) else format(value, ".2f"))


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      name: heading of the column.
      format: a name in `FORMATS`, or any function from a number (or `Spread`) to text. Without one,
        integers have all their digits and other numbers two decimals.

    Example:
      >>> column = Column("Accuracy", "percent")
      >>> column.heading, column.show(0.898)
      ('Accuracy (%)', '89.80')
    """

    name: str
    format: str | Callable[[Number], str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.format, str) and self.format not in FORMATS:
            raise ValueError(
                f"column {self.name!r} has the unknown format {self.format!r}; "
                f"there are {', '.join(FORMATS)}"
            )

    @property
    def heading(self) -> str:
        """The name with its unit, `"Accuracy (%)"`."""
        function = self._function
        unit = function.unit if isinstance(function, Format) else ""
        return f"{self.name} ({unit})" if unit else self.name

    def show(self, cell: Cell) -> str:
        """Returns the text of one cell; a nan, which stands for no number, is a dash."""
        if isinstance(cell, str):
            return cell
        if math.isnan(cell.mean if isinstance(cell, Spread) else cell):
            return "–"
        return self._function(cell)

    @property
    def _function(self) -> Callable[[Number], str]:
        if isinstance(self.format, str):
            return FORMATS[self.format]
        return self.format or _plain


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with one row for each subject and one column for each number.

    Attributes:
      title: title above the table.
      columns: `Column`s, or plain names. The first column has the names of the rows.
      rows: rows of cells: text, numbers and `Spread`s, as many as there are columns.
      caption: caption with what a reader needs: data, seeds, units.

    Example:
      >>> table = Table(
      ...     "Students",
      ...     ["Arm", Column("Accuracy", "percent"), Column("Size", "kilobytes")],
      ...     [["labels", Spread(0.8791, 0.0012, 5), 407_080], ["distilled", 0.8957, 407_080]],
      ... )
      >>> print(table.to_markdown())
      | Arm | Accuracy (%) | Size (kB) |
      | :-- | --: | --: |
      | labels | 87.91 ± 0.12 | 407.1 |
      | distilled | 89.57 | 407.1 |
    """

    title: str
    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError(f"table {self.title!r} has no columns")
        for i, row in enumerate(self._cells):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"row {i} of table {self.title!r} has {len(row)} cells for "
                    f"{len(self.columns)} columns: {list(row)}"
                )
            for column, cell in zip(self._columns, row, strict=True):
                if not isinstance(cell, str | int | float | Spread):
                    raise TypeError(
                        f"row {i} of table {self.title!r} has a {type(cell).__name__} under "
                        f"{column.name!r}: a cell is text, a number or a Spread"
                    )

    def print(self) -> None:
        """Prints the table to the terminal."""
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            title=Text(self.title, style="bold"),
            title_justify="left",
            caption=Text(self.caption) if self.caption else None,
            caption_justify="left",
            box=box.SIMPLE_HEAD,
        )
        columns: list[list[str]] = []
        for i, (column, numeric) in enumerate(zip(self._columns, self._numeric, strict=True)):
            heading, texts = column.heading, [row[i] for row in self._texts()]
            if numeric:
                heading, texts = _aligned(heading, texts)
            width = max((len(text) for text in [*heading.splitlines(), *texts]), default=0)
            table.add_column(
                Text(heading),
                vertical="bottom",
                no_wrap=numeric,
                min_width=width if numeric else min(width, 20),
            )
            columns.append(texts)
        for row in zip(*columns, strict=True):
            table.add_row(*(Text(text) for text in row))
        print_any_text()
        console = Console()
        # A terminal too narrow for the numbers wraps the lines; a number is never cut.
        unlimited = console.options.update(width=10_000)
        console.width = max(console.width, console.measure(table, options=unlimited).minimum)
        console.print(table)

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the numbers, unscaled and with all their digits, to a CSV file.

        A column with a `Spread` becomes two, "… mean" and "… std"; the second is empty where there
        was a single run. The file is written atomically.

        Args:
          path: path of the file; an older one is replaced.
        """
        names = [column.name for column in self._columns]
        columns: list[tuple[object, ...]] = []
        for i, name in enumerate(names):
            cells = [row[i] for row in self._cells]
            if any(isinstance(cell, Spread) for cell in cells):
                pairs = [(c.mean, c.std) if isinstance(c, Spread) else (c, "") for c in cells]
                columns += [(f"{name} mean", *(p[0] for p in pairs))]
                columns += [(f"{name} std", *(p[1] for p in pairs))]
            else:
                columns += [(name, *cells)]
        text = io.StringIO()
        for line in zip(*columns, strict=True):
            csv.writer(text, lineterminator="\n").writerow("" if c != c else c for c in line)
        write_file(path, text.getvalue())

    def to_html(self) -> str:
        """Returns the table as an HTML fragment, `<table>…</table>`, with all text escaped."""
        css = [' class="number"' if numeric else "" for numeric in self._numeric]
        lines = ["<table>", f"<caption>{html.escape(self.title)}</caption>", "<thead><tr>"]
        for column, attribute in zip(self._columns, css, strict=True):
            lines.append(f'<th scope="col"{attribute}>{html.escape(column.heading)}</th>')
        lines.append("</tr></thead>\n<tbody>")
        rows = self._texts()
        tails = [_tail([row[i] for row in rows]) for i in range(len(css))]
        for first, *others in rows:
            cells = [
                f"<td{attribute}>{_html_number(text, tail)}</td>"
                for attribute, text, tail in zip(css[1:], others, tails[1:], strict=True)
            ]
            name = html.escape(unbroken(first))
            lines.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
        lines.append("</tbody>\n</table>")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.to_html()

    def to_markdown(self) -> str:
        """Returns the table in GitHub's Markdown, its text escaped, without title and caption."""
        heads = [column.heading for column in self._columns]
        rule = ["--:" if numeric else ":--" for numeric in self._numeric]
        lines = [heads, rule, *self._texts()]
        return "\n".join("| " + " | ".join(map(escape_markdown, line)) + " |" for line in lines)

    @property
    def headings(self) -> list[str]:
        """The headings of the columns, with their units."""
        return [column.heading for column in self._columns]

    @property
    def _columns(self) -> list[Column]:
        return [Column(c) if isinstance(c, str) else c for c in self.columns]

    @property
    def _cells(self) -> list[list[Cell]]:
        # Scalars of NumPy and JAX become Python's.
        return [[c.item() if hasattr(c, "item") else c for c in row] for row in self.rows]

    @property
    def _numeric(self) -> list[bool]:
        """For each column, whether it holds a number."""
        cells = self._cells
        return [any(not isinstance(row[i], str) for row in cells) for i in range(len(self.columns))]

    def _texts(self) -> list[list[str]]:
        columns = self._columns
        return [[c.show(cell) for c, cell in zip(columns, row, strict=True)] for row in self._cells]


def _tail(texts: list[str]) -> int:
    """The most characters that follow a mean in a column."""
    return max((len("".join(text.partition(" ± ")[1:])) for text in texts), default=0)


def _aligned(heading: str, texts: list[str]) -> tuple[str, list[str]]:
    """Pads a column for the terminal: to the right, with the ends of all means aligned."""
    tail = _tail(texts)
    texts = [text if " ± " in text else text + " " * tail for text in texts]
    lines = heading.replace(" (", "\n(").splitlines()
    width = max(len(text) for text in [*lines, *texts])
    return "\n".join(line.rjust(width) for line in lines), [text.rjust(width) for text in texts]


def _html_number(text: str, tail: int) -> str:
    """Escapes a cell, and pads it in a column of spreads so that the ends of all means align."""
    if not tail:
        return html.escape(text)
    mean, sign, std = text.partition(" ± ")
    # The point and the spaces are narrower than a digit.
    style = f"display: inline-block; min-width: {tail - 1}ch; text-align: left"
    return f'{html.escape(mean)}<span class="std" style="{style}">{html.escape(sign + std)}</span>'
