"""A figure as SVG or PNG, and the style of all figures."""

import base64
import dataclasses
import hashlib
import html
import io
import os
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from jaxkd.metrics.spread import Spread
from jaxkd.study._files import write_file
from jaxkd.study._report_packages import check_report_packages
from jaxkd.study._wording import with_minus

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

FileFormat = Literal["svg", "png"]

# Okabe and Ito's colors for every kind of color vision, as far as they stand out from white and
# from a dark page alike; the last two are mixed to the same rule.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a6761d", "#7f7f7f")
# Dashes distinguish the arms without color.
DASHES = (
    "-",
    (0, (6, 2)),
    (0, (2, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (1, 1)),
    (0, (4, 1, 1, 1, 1, 1)),
)
# So do markers where lines cover each other.
MARKERS = "osD^vP"

# Text, axes and whatever else is no data. In an SVG it becomes the text color of the page.
INK = "#1f2328"

WIDTH = 5.2
"""Inches: on a telephone the text is then as large as the page's small print."""

_LEGEND_LINE = 0.24  # inches
_LEGEND_WIDTH = 44  # characters that fit beside a line of the legend

_STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "grid.linewidth": 0.8,
    "legend.borderaxespad": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 2.0,
    "svg.fonttype": "none",  # Text stays text: it can be searched, read aloud and scaled.
    "svg.hashsalt": "jaxkd",
    "text.color": INK,
    "text.parse_math": False,  # A dollar in a name is a dollar.
    "xtick.color": INK,
    "xtick.labelsize": 10,
    "ytick.color": INK,
    "ytick.labelsize": 10,
}


@dataclasses.dataclass(frozen=True, repr=False)
class Figure:
    """A figure as a file.

    Attributes:
      data: contents of the file.
      file_format: `"svg"` or `"png"`.
      alt: description of the figure in words, for those who cannot see it.
      caption: caption below the figure.

    Example:
      >>> figure = Figure(b"<svg ></svg>", "svg", "An empty figure.")
      >>> figure.to_html().startswith('<svg role="img" aria-label="An empty figure."')
      True
    """

    data: bytes
    file_format: FileFormat
    alt: str
    caption: str = ""

    def to_html(self) -> str:
        """Returns the figure as an HTML fragment that needs no other file: `<svg>` or `<img>`."""
        alt = html.escape(with_minus(self.alt))
        if self.file_format == "svg":
            return self.data.decode().replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
        data = base64.b64encode(self.data).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{alt}">'

    def __repr__(self) -> str:
        return f"Figure({self.file_format}, {len(self.data):,} bytes: {self.alt})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        return f"<figure>{self.to_html()}{caption}</figure>"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file atomically.

        Args:
          path: path of the file, with the suffix of the format; an older file is replaced.

        Raises:
          ValueError: the suffix is another one.
        """
        if not os.fspath(path).endswith(f".{self.file_format}"):
            raise ValueError(f"the figure is a .{self.file_format} file, got the path {path}")
        write_file(path, self.data)


def draw(
    paint: Callable[["matplotlib.figure.Figure"], None],
    *,
    size: tuple[float, float],
    alt: str,
    caption: str,
    file_format: FileFormat,
) -> Figure:
    """Calls a function that draws on an empty figure in the common style, and saves the result.

    Args:
      paint: function that draws on the figure that it is given.
      size: width and height in inches.
      alt: see `Figure`.
      caption: see `Figure`.
      file_format: `"svg"` (transparent, in the text color of the page) or `"png"` (on white).

    Returns:
      The figure; the same drawing gives the same bytes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: the format is another one.
    """
    if file_format not in ("svg", "png"):
        raise ValueError(f"file_format must be 'svg' or 'png', got {file_format!r}")
    check_report_packages()
    import matplotlib
    import matplotlib.figure

    with matplotlib.rc_context(_STYLE):
        figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
        paint(figure)
        data = io.BytesIO()
        if file_format == "png":
            figure.savefig(data, format="png", dpi=200, metadata={"Software": None})
            contents = data.getvalue()
        else:
            empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(data, format="svg", transparent=True, metadata=empty)
            contents = _inline_svg(data.getvalue().decode()).encode()
    return Figure(data=contents, file_format=file_format, alt=alt, caption=caption)


def check_arms(arms: Mapping[str, object], most: int | None = None) -> None:
    """Refuses to draw nothing, or more arms than can be distinguished."""
    if not arms:
        raise ValueError("there is nothing to draw: the mapping is empty")
    if most is not None and len(arms) > most:
        raise ValueError(f"{len(arms)} arms are too many to distinguish; draw at most {most}")


def as_percent(value: Spread | float) -> Spread:
    """Returns a fraction, or its spread, in percent."""
    return (value if isinstance(value, Spread) else Spread.of([value])) * 100.0


def in_words(spreads: Mapping[str, Spread]) -> str:
    """Returns names with their numbers, for the description of a figure."""
    return "; ".join(f"{name} {spread}" for name, spread in spreads.items())


def legend_above(
    axes: "matplotlib.axes.Axes", title: str | None = None, columns: int | None = None
) -> None:
    """Puts the legend above the data, by default in one or two columns, whatever fits.

    The figure grows by the lines of the legend behind the first, so that none squeezes the data.
    """
    handles, labels = axes.get_legend_handles_labels()
    columns = columns or (1 if max(len(label) for label in labels) > 24 else 2)
    labels = [textwrap.fill(label, _LEGEND_WIDTH) for label in labels]
    heights = [1 + label.count("\n") for label in labels]
    per_column = -(-len(labels) // columns)
    lines = max(sum(heights[start : start + per_column]) for start in (0, per_column))
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _LEGEND_LINE * (lines - 1))
    axes.legend(
        handles,
        labels,
        title=title,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0.0, 1.02),
        ncols=columns,
    )


def _inline_svg(text: str) -> str:
    """Prepares matplotlib's SVG for a page with other figures."""
    text = text[text.index("<svg") :]
    # A style sheet would apply to the whole page: its only rule becomes an inherited attribute.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = text.replace("<svg ", '<svg style="stroke-linejoin: round" ', 1)
    text = text.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")
    text = text.replace(INK, "currentColor")
    # Ids must be unique on the page, or a clip path of one figure would clip another.
    prefix = "f" + hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'(<\w+ id=")', rf"\g<1>{prefix}-", text)
    return re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}-", text)
