"""Bars of each class: the accuracy of each arm, and the gain of one arm over another."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.metrics.spread import Spread
from jaxkd.study._wording import with_minus
from jaxkd.study.figures._figure import (
    COLORS,
    INK,
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


def class_accuracy_bars(
    arms: Mapping[str, ArrayLike],
    class_names: Sequence[str],
    *,
    left_out: str | None = None,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws the accuracy of each arm on each class, and marks the class that was left out.

    Args:
      arms: for each arm the fractions that `jaxkd.metrics.class_accuracy` returns,
        `[num_classes]` of one run or `[seeds, num_classes]` of several. At most six arms.
      class_names: one name a class.
      left_out: class that was missing from the transfer set.
      caption: caption below the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: there is no arm or more than six, an arm has another number of classes, or
        `left_out` is not among the names.

    Example:
      >>> figure = class_accuracy_bars(
      ...     {"labels": [0.9, 0.0], "distilled": [0.9, 0.7]}, ["boot", "bag"], left_out="bag"
      ... )
      >>> figure.alt
      'Bar chart of accuracy (%) by class. On bag, left out: labels 0.00; distilled 70.00.'
    """
    check_arms(arms, len(COLORS))
    values = {name: np.atleast_2d(np.asarray(v, float)) for name, v in arms.items()}
    for name, array in values.items():
        if array.ndim != 2 or array.shape[1] != len(class_names):
            raise ValueError(
                f"arm {name!r} has shape {list(np.shape(arms[name]))}, but there are "
                f"{len(class_names)} class names"
            )
    if left_out is not None and left_out not in class_names:
        raise ValueError(f"left_out {left_out!r} is not a class name: {', '.join(class_names)}")
    spreads = {
        name: [Spread.of(100.0 * column) for column in array.T] for name, array in values.items()
    }
    if left_out is None:
        words = {name: Spread.of([100.0 * np.nanmean(array)]) for name, array in values.items()}
        ending = f"Mean over the classes: {in_words(words)}."
    else:
        place = list(class_names).index(left_out)
        words = {name: row[place] for name, row in spreads.items()}
        ending = f"On {left_out}, left out: {in_words(words)}."

    def paint(figure: "matplotlib.figure.Figure") -> None:
        axes = figure.subplots()
        height = 0.8 / len(spreads)
        rows = np.arange(len(class_names))
        for i, (name, row) in enumerate(spreads.items()):
            where = rows - 0.4 + (i + 0.5) * height
            means = [spread.mean for spread in row]
            axes.barh(where, means, height=0.9 * height, color=COLORS[i], label=name)
            stds = np.nan_to_num([spread.std for spread in row])
            if stds.any():
                axes.errorbar(means, where, xerr=stds, fmt="none", ecolor=INK, elinewidth=1)
            if left_out is not None:  # A bar of no length needs a number to be seen.
                end = means[place] + stds[place] + 1.0
                axes.text(end, where[place], f"{means[place]:.0f}", va="center", fontsize=8)
        axes.set_yticks(rows, list(class_names))
        if left_out is not None:
            axes.axhspan(place - 0.5, place + 0.5, color=INK, alpha=0.08, linewidth=0, zorder=0)
            axes.get_yticklabels()[place].set_fontweight("bold")
        axes.set_ylim(len(class_names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="Accuracy on the class (%)", xlim=(0, 100))
        legend_above(axes)

    return draw(
        paint,
        size=(WIDTH, 1.3 + len(class_names) * (0.16 + 0.11 * len(spreads))),
        alt=f"Bar chart of accuracy (%) by class. {ending}",
        caption=caption,
        file_format=file_format,
    )


def class_gain_bars(
    gains: ArrayLike,
    class_names: Sequence[str],
    *,
    most: int = 10,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws the gain or loss of each class, the largest gain first.

    Of many classes only the extremes are drawn. These are the largest of many noisy numbers, so
    that another set of examples would show smaller ones, of other classes too.

    Args:
      gains: differences that `jaxkd.metrics.class_gains` returns, `[num_classes]` of one run or
        `[seeds, num_classes]` of several. A class that is nan is left out.
      class_names: one name a class.
      most: number of classes to draw from each end; all if there are no more than twice as many.
      caption: caption below the figure, such as who gains on whom.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: the numbers of classes differ, `most` is below one, or every class is nan.

    Example:
      >>> class_gain_bars([-0.02, 0.07, 0.0], ["boot", "bag", "coat"]).alt
      'Bar chart of the gain in accuracy (points) by class, from bag +7.00 to boot -2.00: 1 of 3
      classes gain, 1 lose.'
    """
    values = np.atleast_2d(np.asarray(gains, float))
    if values.ndim != 2 or values.shape[1] != len(class_names) or 0 in values.shape:
        raise ValueError(
            f"gains must be [num_classes] or [seeds, num_classes] with one name a class, got shape "
            f"{list(np.shape(gains))} and {len(class_names)} class names"
        )
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    known = [i for i, column in enumerate(values.T) if not np.isnan(column).any()]
    if not known:
        raise ValueError("there is nothing to draw: every class is nan")
    spreads = {i: Spread.of(100.0 * values[:, i]) for i in known}
    ordered = sorted(known, key=lambda i: -spreads[i].mean)
    up, down = (sum(sign * s.mean > 0 for s in spreads.values()) for sign in (1, -1))
    hidden = max(0, len(ordered) - 2 * most)
    shown = ordered[:most] + ordered[-most:] if hidden else ordered
    # A line is left free for what is not drawn.
    rows = [row + (hidden > 0 and row >= most) for row in range(len(shown))]

    def paint(figure: "matplotlib.figure.Figure") -> None:
        axes = figure.subplots()
        for row, i in zip(rows, shown, strict=True):
            mean, std = spreads[i].mean, np.nan_to_num(spreads[i].std)
            axes.barh(row, mean, height=0.6, color=COLORS[0 if mean >= 0 else 1])
            if std:
                axes.errorbar(mean, row, xerr=std, fmt="none", ecolor=INK, elinewidth=1)
            place = axes.get_yaxis_transform()
            axes.text(
                1.02,
                row,
                with_minus(f"{spreads[i]:+.2f}"),
                va="center",
                fontsize=9,
                transform=place,
            )
        if hidden:
            note = f"{hidden:,} classes between"
            axes.text(0.5, most, note, ha="center", va="center", transform=place, style="italic")
        axes.axvline(0.0, color=INK, linewidth=0.8)
        axes.set_yticks(rows, [_shorten(class_names[i]) for i in shown])
        axes.set_ylim(rows[-1] + 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set(xlabel="Gain in accuracy (points)")

    first, last = ordered[0], ordered[-1]
    return draw(
        paint,
        size=(WIDTH, 1.0 + 0.27 * (rows[-1] + 1)),
        alt=(
            f"Bar chart of the gain in accuracy (points) by class, from {class_names[first]} "
            f"{spreads[first]:+.2f} to {class_names[last]} {spreads[last]:+.2f}: {up} of "
            f"{len(known)} classes gain, {down} lose."
        ),
        caption=caption,
        file_format=file_format,
    )


def _shorten(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21].rstrip(' ,')}…"
