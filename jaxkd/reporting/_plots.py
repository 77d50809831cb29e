"""The figures of a distillation report.

Accuracies are fractions, as `jaxkd.reporting.accuracy` returns them, and are drawn in percent.
Every function returns a [`Figure`][jaxkd.reporting.Figure] that describes itself in words for those
who cannot see it; `file_format="png"` is for pages that cannot show SVG.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.reporting._figure import (
    COLORS,
    DASHES,
    INK,
    WIDTH,
    Figure,
    FileFormat,
    check_arms,
    draw,
    in_words,
    legend_above,
)
from jaxkd.reporting._metrics import Reliability
from jaxkd.reporting._tables import Spread

if TYPE_CHECKING:
    import matplotlib.axes
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

    Args:
      curves: For each arm the steps or epochs, `[points]`, and the values, `[points]` of one run or
        `[seeds, points]` of several. At most six arms.
      x_label: What the steps are, with their unit if they have one.
      y_label: What the values are, with their unit unless `percent`.
      percent: Whether the values are fractions to be drawn in percent.
      caption: What a reader must know to read the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: There is no arm or more than six, or steps and values of an arm do not fit.

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
                f"got {list(np.shape(x))} and {list(np.shape(y))}."
            )
        lines[name] = xs, ys
    last = {name: Spread.of(ys[:, -1]) for name, (_, ys) in lines.items()}

    def paint(figure: "matplotlib.figure.Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for i, (name, (xs, ys)) in enumerate(lines.items()):
            mean = ys.mean(0)
            axes.plot(xs, mean, label=name, color=COLORS[i], linestyle=DASHES[i])
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


def reliability_diagram(
    bins: Reliability, *, caption: str = "", file_format: FileFormat = "svg"
) -> Figure:
    """Draws how often a network is right when it is this sure, above a histogram of how sure it is.

    Args:
      bins: What `jaxkd.reporting.reliability` returns.
      caption: What a reader must know to read the figure, such as which network it is.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Example:
      >>> from jaxkd.reporting import reliability
      >>> figure = reliability_diagram(reliability([[0.0, 0.0], [9.0, 0.0]], [1, 0]))
      >>> figure.alt
      'Reliability diagram. Accuracy 50.0 %, mean confidence 75.0 %, calibration error 25.0 %.'

    References:
      Guo et al., On Calibration of Modern Neural Networks, 2017.
      https://arxiv.org/abs/1706.04599
    """
    share = 100.0 * bins.count / bins.count.sum()
    accuracy, confidence = 100.0 * bins.accuracy, 100.0 * bins.confidence
    error = 100.0 * bins.expected_calibration_error
    overall = np.nansum(share * accuracy) / 100.0, np.nansum(share * confidence) / 100.0
    left, width = 100.0 * bins.edges[:-1], 100.0 * np.diff(bins.edges)

    def paint(figure: "matplotlib.figure.Figure") -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        inner = {"align": "edge", "width": 0.9 * width}
        top.bar(left + 0.05 * width, accuracy, color=COLORS[0], label="accuracy", **inner)
        top.bar(
            left + 0.05 * width,
            confidence - accuracy,
            bottom=accuracy,
            fill=False,
            edgecolor=COLORS[1],
            linewidth=1.2,
            hatch="////",
            label="gap to confidence",
            **inner,
        )
        top.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=DASHES[1])
        top.set(ylabel="Accuracy (%)", xlim=(0, 100), ylim=(0, 100))
        numbers = f"accuracy {overall[0]:.1f} %, confidence {overall[1]:.1f} %, ECE {error:.1f} %"
        legend_above(top, title=numbers)
        bottom.bar(left + 0.05 * width, share, color=COLORS[-1], **inner)
        bottom.set(xlabel="Confidence (%)", ylabel="Examples (%)")

    return draw(
        paint,
        size=(WIDTH, 4.8),
        alt=(
            f"Reliability diagram. Accuracy {overall[0]:.1f} %, mean confidence "
            f"{overall[1]:.1f} %, calibration error {error:.1f} %."
        ),
        caption=caption,
        file_format=file_format,
    )


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
      networks: For each network its size (parameters, bytes, FLOPs) and its accuracy, a fraction or
        its spread over seeds.
      x_label: What the sizes are, with their unit.
      y_label: What is drawn against them, with its unit unless `percent`.
      percent: Whether the values are fractions to be drawn in percent.
      caption: What a reader must know to read the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Raises:
      ValueError: There is no network, or a size is not positive.

    Example:
      >>> size_accuracy_scatter({"teacher": (824_458, 0.924), "student": (101_770, 0.854)}).alt
      'Scatter plot of accuracy (%) against Parameters: teacher 92.40; student 85.40.'
      >>> size_accuracy_scatter({"student": (1e4, 0.854)}, y_label="Spearman", percent=False).alt
      'Scatter plot of spearman against Parameters: student 0.85.'
    """
    check_arms(networks)
    for name, (size, _) in networks.items():
        if not size > 0:
            raise ValueError(f"network {name!r} needs a positive size, got {size}.")
    sizes = np.array([size for size, _ in networks.values()], float)
    scale = 100.0 if percent else 1.0
    y_label = f"{y_label} (%)" if percent else y_label
    spreads = {
        name: (value if isinstance(value, Spread) else Spread.of([value])) * scale
        for name, (_, value) in networks.items()
    }

    def paint(figure: "matplotlib.figure.Figure") -> None:
        from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

        axes = figure.subplots()
        axes.set_xscale("log")
        means = np.array([spread.mean for spread in spreads.values()])
        stds = np.nan_to_num([spread.std for spread in spreads.values()])
        axes.errorbar(
            sizes, means, yerr=stds, fmt="o", markersize=7, color=COLORS[0], elinewidth=1.4
        )
        axes.margins(x=0.12, y=0.15)
        few = sizes.max() / sizes.min() < 50
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
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
