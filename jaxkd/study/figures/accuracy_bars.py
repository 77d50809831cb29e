"""The accuracy of each arm as a bar, beside a line for the teacher."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxkd.metrics.spread import Spread
from jaxkd.study.figures._figure import (
    COLORS,
    DASHES,
    INK,
    WIDTH,
    Figure,
    FileFormat,
    as_percent,
    check_arms,
    draw,
    in_words,
)

if TYPE_CHECKING:
    import matplotlib.figure


def accuracy_bars(
    arms: Mapping[str, Spread | float],
    *,
    teacher: Spread | float | None = None,
    start: float = 0.0,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws one bar an arm, with its standard deviation, beside a line for the teacher.

    Args:
      arms: accuracy of each arm, a fraction, or its spread over seeds.
      teacher: accuracy of the teacher.
      start: the fraction at which the bars start. Bars that do not start at zero look more
        different than they are; the axis then says where it starts.
      caption: caption below the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: there is no arm, or `start` is not below every accuracy.

    Example:
      >>> accuracy_bars({"labels": 0.806, "distilled": Spread(0.854, 0.002, 5)}, teacher=0.924).alt
      'Bar chart of accuracy (%): labels 80.60; distilled 85.40 ± 0.20; teacher 92.40.'
    """
    check_arms(arms)
    spreads = {name: as_percent(value) for name, value in arms.items()}
    line = {} if teacher is None else {"teacher": as_percent(teacher)}
    lowest = min(spread.mean for spread in spreads.values())
    if start and not 0.0 <= 100 * start < lowest:
        raise ValueError(f"start must be below every accuracy, got {start} and {lowest / 100}")

    def paint(figure: "matplotlib.figure.Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        rows = range(len(spreads))
        means = np.array([spread.mean for spread in spreads.values()])
        stds = np.nan_to_num([spread.std for spread in spreads.values()])
        axes.barh(rows, means - 100 * start, left=100 * start, height=0.5, color=COLORS[0])
        axes.errorbar(
            means,
            rows,
            xerr=stds,
            fmt="none",
            ecolor=INK,
            elinewidth=1.2,
            capsize=3 * bool(stds.any()),
        )
        for spread in line.values():
            axes.axvline(spread.mean, color=COLORS[1], linewidth=1.6, linestyle=DASHES[1])
            axes.text(
                spread.mean,
                1.01,
                f"teacher {spread}",
                color=COLORS[1],
                ha="right",
                va="bottom",
                transform=axes.get_xaxis_transform(),
            )
        for row, spread in zip(rows, spreads.values(), strict=True):
            axes.text(1.02, row, str(spread), va="center", transform=axes.get_yaxis_transform())
        for row, name in zip(rows, spreads, strict=True):
            axes.text(0.0, row - 0.3, name, va="bottom", transform=axes.get_yaxis_transform())
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.set_ylim(len(spreads) - 0.5, -0.8)
        note = f", axis starts at {100 * start:g}" if start else ""
        axes.set(xlabel=f"Accuracy (%){note}", xlim=(100 * start, None))

    return draw(
        paint,
        size=(WIDTH, 1.1 + 0.55 * len(spreads)),
        alt=f"Bar chart of accuracy (%): {in_words(spreads | line)}.",
        caption=caption,
        file_format=file_format,
    )
