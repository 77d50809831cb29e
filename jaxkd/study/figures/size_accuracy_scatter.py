"""Accuracy against size."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd.metrics.spread import Spread
from jaxkd.study.figures._figure import (
    COLORS,
    WIDTH,
    Figure,
    FileFormat,
    check_arms,
    draw,
    in_words,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


_NARROW = 2.0  # largest size over the smallest one


def size_accuracy_scatter(
    networks: Mapping[str, tuple[float, Spread | float]],
    *,
    x_label: str = "Parameters",
    y_label: str = "Accuracy",
    percent: bool = True,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws accuracy against size, on a logarithmic axis.

    Args:
      networks: for each network its size (parameters, bytes, FLOPs) and its accuracy, a fraction or
        its spread over seeds.
      x_label: name of the sizes, with their unit.
      y_label: name of the values, with their unit unless `percent`.
      percent: whether the values are fractions to be drawn in percent.
      caption: caption below the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: there is no network, or a size is not positive.

    Example:
      >>> size_accuracy_scatter({"teacher": (824_458, 0.924), "student": (101_770, 0.854)}).alt
      'Scatter plot of accuracy (%) against Parameters: teacher 92.40; student 85.40.'
      >>> size_accuracy_scatter({"student": (1e4, 0.854)}, y_label="Spearman", percent=False).alt
      'Scatter plot of spearman against Parameters: student 0.85.'
    """
    check_arms(networks)
    for name, (size, _) in networks.items():
        if not size > 0:
            raise ValueError(f"network {name!r} needs a positive size, got {size}")
    sizes = np.array([size for size, _ in networks.values()], float)
    scale = 100.0 if percent else 1.0
    y_label = f"{y_label} (%)" if percent else y_label
    spreads = {
        name: (value if isinstance(value, Spread) else Spread.of([value])) * scale
        for name, (_, value) in networks.items()
    }

    def paint(figure: "matplotlib.figure.Figure") -> None:
        from matplotlib.ticker import (
            EngFormatter,
            LogLocator,
            MaxNLocator,
            NullFormatter,
            NullLocator,
        )

        axes = figure.subplots()
        axes.set_xscale("log")
        means = np.array([spread.mean for spread in spreads.values()])
        stds = np.nan_to_num([spread.std for spread in spreads.values()])
        axes.errorbar(
            sizes, means, yerr=stds, fmt="o", markersize=7, color=COLORS[0], elinewidth=1.4
        )
        axes.margins(x=0.12, y=0.15)
        ratio = sizes.max() / sizes.min()
        if ratio < _NARROW:  # Room on both sides, and round numbers, where no power of ten is near.
            axes.set_xlim(sizes.min() / _NARROW, sizes.max() * _NARROW)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 50 else (1,)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=f"{x_label}, logarithmic", ylabel=y_label)
        figure.draw_without_rendering()  # Fixes the axes, so that labels can be compared in pixels.
        figure.set_layout_engine("none")
        _name_points(axes, list(spreads), sizes, means)

    return draw(
        paint,
        size=(WIDTH, 3.6),
        alt=(
            f"Scatter plot of {y_label[:1].lower()}{y_label[1:]} against {x_label}: "
            f"{in_words(spreads)}."
        ),
        caption=caption,
        file_format=file_format,
    )


def _name_points(
    axes: "matplotlib.axes.Axes", names: list[str], xs: np.ndarray, ys: np.ndarray
) -> None:
    """Writes each name on the first side of its point where it covers nothing."""
    from matplotlib.transforms import Bbox

    points = axes.transData.transform(np.column_stack((xs, ys)))
    taken = [Bbox.from_extents(x - 9, y - 9, x + 9, y + 9) for x, y in points]
    sides: tuple[dict[str, Any], ...] = (
        {"xytext": (8, 0), "ha": "left", "va": "center"},
        {"xytext": (-8, 0), "ha": "right", "va": "center"},
        {"xytext": (0, 9), "ha": "center", "va": "bottom"},
        {"xytext": (0, -9), "ha": "center", "va": "top"},
    )
    for i, name in enumerate(names):
        others = taken[:i] + taken[i + 1 :]
        for side in sides:
            label = axes.annotate(name, (xs[i], ys[i]), textcoords="offset points", **side)
            box = label.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.figure.bbox.x1
            if inside and not any(box.overlaps(other) for other in others):
                break
            label.remove()
        else:
            label = axes.annotate(name, (xs[i], ys[i]), textcoords="offset points", **sides[0])
            box = label.get_window_extent()
        taken.append(box)
