"""Lines over a quantity that was varied: labels, noise, the size of a teacher."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

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


def spread_lines(
    lines: Mapping[str, Mapping[float, Spread | float]],
    *,
    x_label: str,
    y_label: str = "Accuracy",
    percent: bool = True,
    logarithmic: bool = False,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws one line an arm over a quantity that was varied, with the spread at every point.

    Args:
      lines: for each arm its values by the quantity: a number, or its spread over seeds. Arms need
        not have the same points. At most six arms.
      x_label: name of the quantity that was varied, with its unit if it has one.
      y_label: name of the values, with their unit unless `percent`.
      percent: whether the values are fractions to be drawn in percent.
      logarithmic: whether the quantity is drawn on a logarithmic axis.
      caption: caption below the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: there is no arm or more than six, an arm has no point, or a quantity is not finite
        or, on a logarithmic axis, not positive.

    Example:
      >>> labels = {10: Spread(0.52, 0.02, 5), 100: Spread(0.74, 0.01, 5)}
      >>> spread_lines({"labels": labels}, x_label="Labels a class", logarithmic=True).alt
      'Line chart of Accuracy (%) by Labels a class, from 10 to 100. Last values: labels
      74.00 ± 1.00.'
    """
    check_arms(lines, len(COLORS))
    scale = 100.0 if percent else 1.0
    y_label = f"{y_label} (%)" if percent else y_label
    points: dict[str, dict[float, Spread]] = {}
    for name, values in lines.items():
        if not values:
            raise ValueError(f"arm {name!r} has no point to draw")
        bad = [x for x in values if not np.isfinite(x) or (logarithmic and x <= 0)]
        if bad:
            wanted = "positive and finite" if logarithmic else "finite"
            raise ValueError(f"arm {name!r} needs {wanted} values of {x_label!r}, got {bad}")
        points[name] = {
            x: (v if isinstance(v, Spread) else Spread.of([v])) * scale
            for x, v in sorted(values.items())
        }
    places = sorted({x for values in points.values() for x in values})
    last = {name: list(values.values())[-1] for name, values in points.items()}

    def paint(figure: "matplotlib.figure.Figure") -> None:
        from matplotlib.ticker import NullLocator

        axes = figure.subplots()
        if logarithmic:
            axes.set_xscale("log")
        for i, (name, values) in enumerate(points.items()):
            axes.errorbar(
                list(values),
                [spread.mean for spread in values.values()],
                yerr=np.nan_to_num([spread.std for spread in values.values()]),
                label=name,
                color=COLORS[i],
                linestyle=DASHES[i],
                marker=MARKERS[i],
                markersize=5,
                elinewidth=1.2,
                capsize=3,
            )
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(places, _tick_labels(places, logarithmic))
        note = ", logarithmic" if logarithmic else ""
        axes.set(xlabel=f"{x_label}{note}", ylabel=y_label)
        legend_above(axes)

    return draw(
        paint,
        size=(WIDTH, 3.6),
        alt=(
            f"Line chart of {y_label} by {x_label}, from {_in_full(places[0])} to "
            f"{_in_full(places[-1])}. Last values: {in_words(last)}."
        ),
        caption=caption,
        file_format=file_format,
    )


def _tick_labels(places: list[float], logarithmic: bool) -> list[str]:
    """Names the places from the last one on; one that would run into its neighbor stays bare."""
    positions = np.log(places) if logarithmic else np.array(places)
    width = max(positions[-1] - positions[0], 1e-12)
    labels, limit = [""] * len(places), np.inf
    for index in reversed(range(len(places))):
        text = _in_full(places[index])
        half = 0.011 * len(text)
        place = (positions[index] - positions[0]) / width
        if place + half < limit:
            labels[index], limit = text, place - half
    return labels


def _in_full(x: float) -> str:
    """A number without an exponent that hides its size."""
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:g}"
