"""The heat map of a grid: one number for each combination of two settings."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd.metrics.spread import Spread
from jaxkd.study.figures._figure import INK, WIDTH, Figure, FileFormat, draw

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import matplotlib.patches

# From dark blue to yellow, evenly in lightness: the same order for every kind of color vision.
_MAP = "cividis"
# On a cell, whose color does not depend on the page's.
_DARK, _LIGHT = "#000000", "#ffffff"
_DASHES: Any = (0, (3, 2))


def heat_map(
    values: Sequence[Sequence[Spread | float]] | np.ndarray,
    rows: Sequence[str | float],
    columns: Sequence[str | float],
    *,
    row_label: str = "",
    column_label: str = "",
    value_label: str = "Accuracy",
    percent: bool = True,
    higher_is_better: bool | None = True,
    start: float | None = None,
    stop: float | None = None,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws a colored cell with its number for every row and column, and marks the best.

    Cells that lie no further from the best than its standard deviation are marked too: they may be
    as good.

    Args:
      values: a number or a spread over seeds for each cell, `[rows, columns]`; nan where there is
        none.
      rows: names of the rows, from the top.
      columns: names of the columns, from the left.
      row_label: name of the quantity of the rows, with its unit if it has one.
      column_label: name of the quantity of the columns, likewise.
      value_label: name of the numbers, with their unit unless `percent`.
      percent: whether the numbers are fractions to be drawn in percent.
      higher_is_better: whether the largest number is the best. None where no number is better than
        another, as with similarities: the colors then follow the numbers and no cell is marked.
      start: the number at which the colors start; cells beyond it share the first color. By
        default the worst one.
      stop: the number at which the colors end, likewise; by default the best one. Maps that are to
        be compared need the same start and stop.
      caption: caption below the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: there is no cell or no number, rows or columns of another count, or `start` is not
        worse than the best or than `stop`.

    Example:
      >>> figure = heat_map(
      ...     [[0.81, Spread(0.854, 0.004, 5)], [0.82, 0.851]], [1, 4], [0.5, 0.9],
      ...     row_label="T", column_label="alpha",
      ... )
      >>> figure.alt
      'Heat map of Accuracy (%), T by alpha. Best: T 1, alpha 0.9 with 85.40 ± 0.40; worst:
      T 1, alpha 0.5 with 81.00. Within one standard deviation of the best: T 4, alpha 0.9.'

    References:
      Nuñez, Anderton, Renslow, Optimizing colormaps with consideration for color vision deficiency,
      2018. https://doi.org/10.1371/journal.pone.0199239
    """
    names = [[_name(value) for value in axis] for axis in (rows, columns)]
    factor = 100.0 if percent else 1.0
    grid = _Grid(_cells(values, len(names[0]), len(names[1]), factor), higher_is_better)
    first, last = _color_range(grid, start, stop, factor)
    value_label = f"{value_label} (%)" if percent else value_label

    def paint(figure: "matplotlib.figure.Figure") -> None:
        axes = figure.subplots()
        _paint_cells(axes, grid, first, last)
        _name_axes(axes, names, row_label, column_label)
        if grid.has_best:
            _legend(axes, value_label, bool(grid.close))
        else:
            axes.set_title(value_label, loc="left", fontsize="medium")

    return draw(
        paint,
        size=(WIDTH, 1.4 + 0.5 * len(names[0])),
        alt=_describe(grid, names, row_label, column_label, value_label),
        caption=caption,
        file_format=file_format,
    )


class _Grid:
    """The cells of a heat map, and which of them are the best and the worst.

    Attributes:
      cells: a spread for each cell, `[rows][columns]`.
      means: their means, `[rows, columns]`.
      goodness: the means with the sign that makes larger numbers better.
      sign: that sign.
      has_best: whether any number is better than another.
      best: row and column of the best cell; of the largest number, if none is better.
      worst: row and column of the worst cell.
      close: other cells no further from the best than its standard deviation.
    """

    def __init__(self, cells: list[list[Spread]], higher_is_better: bool | None):
        self.cells = cells
        self.means = np.array([[cell.mean for cell in row] for row in cells])
        self.sign = -1.0 if higher_is_better is False else 1.0
        self.goodness = self.sign * self.means
        if np.isnan(self.goodness).all():
            raise ValueError("there is nothing to draw: every cell is nan")
        shape = self.means.shape
        self.best = tuple(map(int, np.unravel_index(np.nanargmax(self.goodness), shape)))
        self.worst = tuple(map(int, np.unravel_index(np.nanargmin(self.goodness), shape)))
        self.has_best = higher_is_better is not None
        self.close = _close(self.goodness, self.best, self[self.best].std) if self.has_best else []

    def __getitem__(self, index: tuple[int, ...]) -> Spread:
        return self.cells[index[0]][index[1]]


def _color_range(
    grid: _Grid, start: float | None, stop: float | None, factor: float
) -> tuple[float, float]:
    """The goodness at which the colors start and end."""
    first, last = grid.goodness[grid.worst], grid.goodness[grid.best]
    scale = grid.sign * factor
    if start is not None:
        first = start * scale
    if stop is not None:
        last = stop * scale
    if first >= last and not (start is None and stop is None):
        ends = [f"{start=}", f"{stop=}"]
        if start is None:
            ends[0] = f"the worst number, {grid[grid.worst]},"
        if stop is None:
            ends[1] = f"the best number, {grid[grid.best]}"
        raise ValueError(f"{ends[0]} must be worse than {ends[1]}")
    return first, last


def _describe(
    grid: _Grid, names: list[list[str]], row_label: str, column_label: str, value_label: str
) -> str:
    """The heat map in words: the best, the worst, and those close to the best."""

    def position(index: tuple[int, ...]) -> str:
        labels = (row_label or "row", column_label or "column")
        triples = zip(labels, names, index, strict=True)
        return ", ".join(f"{label} {axis[number]}" for label, axis, number in triples)

    words = ("Best", "worst") if grid.has_best else ("Highest", "lowest")
    extremes = [
        f"{word}: {position(index)} with {grid[index]}"
        for word, index in zip(words, (grid.best, grid.worst), strict=True)
    ]
    text = f"Heat map of {value_label}, {row_label or 'rows'} by {column_label or 'columns'}. "
    text += f"{'; '.join(extremes)}."
    if grid.close:
        text += (
            f" Within one standard deviation of the best: {'; '.join(map(position, grid.close))}."
        )
    return text


def _paint_cells(axes: "matplotlib.axes.Axes", grid: _Grid, first: float, last: float) -> None:
    """Colors the cells, writes their numbers, and frames the best."""
    clipped = np.clip(grid.goodness, first, last)
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(clipped),
        cmap=_MAP,
        vmin=first,
        vmax=max(last, first + 1e-9),
        edgecolors="face",
        linewidth=0.3,
    )
    for row, column in np.ndindex(grid.means.shape):
        red, green, blue, _ = mesh.cmap(mesh.norm(clipped[row, column]))
        lightness = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
        color = _DARK if lightness > 0.18 else _LIGHT
        is_best = grid.has_best and (row, column) == grid.best
        _write(axes, grid.cells, (row, column), color, bold=is_best)
        if is_best:
            axes.add_patch(_frame(column, row, color, "-"))
        elif (row, column) in grid.close:
            axes.add_patch(_frame(column, row, color, _DASHES))


def _name_axes(
    axes: "matplotlib.axes.Axes", names: list[list[str]], row_label: str, column_label: str
) -> None:
    """Names rows and columns, with the first row at the top and without any lines."""
    # A character of a name is about 6 points wide; names wider than their cell are rotated.
    narrow = 6.0 * max(map(len, names[1])) > 0.84 * 72 * WIDTH / len(names[1])
    rotated: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(np.arange(len(names[1])) + 0.5, names[1], **rotated if narrow else {})
    axes.set_yticks(np.arange(len(names[0])) + 0.5, names[0])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set(xlabel=column_label, ylabel=row_label)


def _name(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _cells(values: Any, rows: int, columns: int, scale: float) -> list[list[Spread]]:
    cells = [
        [(v if isinstance(v, Spread) else Spread(float(v), math.nan, 1)) * scale for v in row]
        for row in values
    ]
    shape = [len(cells), sorted({len(row) for row in cells})]
    if not rows or not columns or shape != [rows, [columns]]:
        raise ValueError(
            f"values must be [rows, columns], one cell for each of {rows} rows and {columns} "
            f"columns, got {len(cells)} rows of lengths {shape[1]}"
        )
    return cells


def _close(goodness: np.ndarray, best: tuple[int, ...], std: float) -> list[tuple[int, ...]]:
    """Other cells no further from the best than its standard deviation."""
    if math.isnan(std):
        return []
    near = np.argwhere(goodness >= goodness[best] - std)
    places = [tuple(int(i) for i in place) for place in near]
    return [place for place in places if place != best]


def _write(
    axes: "matplotlib.axes.Axes",
    cells: list[list[Spread]],
    place: tuple[int, int],
    color: str,
    *,
    bold: bool,
) -> None:
    """Writes a number in its cell, with the deviation below."""
    row, column = place
    cell = cells[row][column]
    at: dict[str, Any] = {"ha": "center", "va": "center", "color": color}
    if math.isnan(cell.mean):
        axes.text(column + 0.5, row + 0.5, "–", **at | {"color": INK})
        return
    # Six characters, each about 0.6 of its height wide, fill four fifths of a cell.
    at["size"] = min(10.0, 0.8 * 0.84 * 72 * WIDTH / len(cells[0]) / (6 * 0.6))
    spread = not math.isnan(cell.std)
    weight = "bold" if bold else "normal"
    middle = row + (0.37 if spread else 0.5)
    axes.text(column + 0.5, middle, f"{cell.mean:.2f}", weight=weight, **at)
    if spread:
        at["size"] *= 0.8
        axes.text(column + 0.5, row + 0.7, f"± {cell.std:.2f}", **at)


def _frame(column: int, row: int, color: str, style: Any) -> "matplotlib.patches.Rectangle":
    from matplotlib.patches import Rectangle

    frame = Rectangle((column + 0.05, row + 0.06), 0.9, 0.88, fill=False)
    frame.set(edgecolor=color, linewidth=2.2 if style == "-" else 1.4, linestyle=style)
    frame.set_joinstyle("miter")
    return frame


def _legend(axes: "matplotlib.axes.Axes", value_label: str, close: bool) -> None:
    from matplotlib.patches import Patch

    marks = [Patch(fill=False, edgecolor=INK, linewidth=2.2, label="best")]
    if close:
        marks.append(Patch(fill=False, edgecolor=INK, linewidth=1.4, linestyle=_DASHES))
        marks[-1].set_label("within its standard deviation")
    axes.legend(
        handles=marks,
        title=value_label,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0.0, 1.02),
        ncols=2,
    )
