"""The accuracy of each arm while it trains."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.metrics.spread import Spread
from jaxkd.study.figures._figure import (
    COLORS,
    DASHES,
    MARKERS,
    WIDTH,
    Figure,
    FileFormat,
    check_arms,
    draw,
    in_words,
    legend_above,
)

if TYPE_CHECKING:
    import matplotlib.figure


def learning_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    x_label: str = "Step",
    y_label: str = "Accuracy",
    percent: bool = True,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws one line an arm: the mean over its seeds, in a band of one standard deviation.

    Every line has its own dashes and markers, the markers at other steps than its neighbor's, so
    that lines on top of each other are told apart; the legend says which equals an earlier one.

    Args:
      curves: for each arm the steps or epochs, `[points]`, and the values, `[points]` of one run or
        `[seeds, points]` of several. At most six arms.
      x_label: name of the steps, with their unit if they have one.
      y_label: name of the values, with their unit unless `percent`.
      percent: whether the values are fractions to be drawn in percent.
      caption: caption below the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: there is no arm or more than six, or steps and values of an arm do not fit.

    Example:
      >>> figure = learning_curves({"labels": ([1, 2, 3], [[0.7, 0.8, 0.81], [0.6, 0.78, 0.8]])})
      >>> figure.alt
      'Line chart of Accuracy (%) by Step. Last values: labels 80.50 ± 0.71.'
    """
    check_arms(curves, len(COLORS))
    scale = 100.0 if percent else 1.0
    y_label = f"{y_label} (%)" if percent else y_label
    lines = {}
    for name, (x, y) in curves.items():
        xs, ys = np.asarray(x, float), np.atleast_2d(np.asarray(y, float)) * scale
        if xs.ndim != 1 or ys.ndim != 2 or ys.shape[1] != xs.size or 0 in ys.shape:
            raise ValueError(
                f"arm {name!r} needs steps [points] and values [points] or [seeds, points], "
                f"got {list(np.shape(x))} and {list(np.shape(y))}"
            )
        lines[name] = xs, ys
    last = {name: Spread.of(ys[:, -1]) for name, (_, ys) in lines.items()}
    same = _equal_lines(lines)

    def paint(figure: "matplotlib.figure.Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for i, (name, (xs, ys)) in enumerate(lines.items()):
            mean = ys.mean(0)
            axes.plot(
                xs,
                mean,
                label=f"{name} = {same[name]}" if name in same else name,
                color=COLORS[i],
                linestyle=DASHES[i],
                # The first lines are wider: they show on both sides of one that covers them.
                linewidth=1.6 + 0.5 * max(0, 3 - i),
                marker=MARKERS[i],
                markersize=5,
                markevery=(i % xs.size, min(len(lines), xs.size)),
            )
            if len(ys) > 1:
                std = ys.std(0, ddof=1)
                axes.fill_between(
                    xs, mean - std, mean + std, color=COLORS[i], alpha=0.18, linewidth=0
                )
        axes.margins(x=0.01)
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
        axes.set(xlabel=x_label, ylabel=y_label)
        legend_above(axes)

    return draw(
        paint,
        size=(WIDTH, 3.6),
        alt=f"Line chart of {y_label} by {x_label}. Last values: {in_words(last)}.",
        caption=caption,
        file_format=file_format,
    )


def _equal_lines(lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, str]:
    """For each line that covers an earlier one, the name of that."""
    same: dict[str, str] = {}
    names = list(lines)
    for index, name in enumerate(names):
        xs, ys = lines[name]
        for other in names[:index]:
            others = lines[other]
            if np.array_equal(xs, others[0]) and np.array_equal(ys.mean(0), others[1].mean(0)):
                same[name] = other
                break
    return same
