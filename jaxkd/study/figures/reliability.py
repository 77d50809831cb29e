"""Accuracy by confidence: the diagram of one network, and the curves of several."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxkd.metrics.calibration import Reliability
from jaxkd.metrics.spread import Spread
from jaxkd.study._wording import counted
from jaxkd.study.figures._figure import (
    COLORS,
    DASHES,
    INK,
    WIDTH,
    Figure,
    FileFormat,
    check_arms,
    draw,
    legend_above,
)

if TYPE_CHECKING:
    import matplotlib.figure

# Accuracies of fewer examples say next to nothing.
_FEW = 10


def reliability_diagram(
    bins: Reliability, *, caption: str = "", file_format: FileFormat = "svg"
) -> Figure:
    """Draws accuracy by confidence, above the number of examples that stand behind each bar.

    A bar of fewer than ten examples is pale: its height may be chance.

    Args:
      bins: bins that `jaxkd.metrics.reliability` returns.
      caption: caption below the figure, such as which network it is.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure.

    Example:
      >>> from jaxkd.metrics import reliability
      >>> figure = reliability_diagram(reliability([[0.0, 0.0], [9.0, 0.0]], [1, 0]))
      >>> figure.alt
      'Reliability diagram. Accuracy 50.0 %, mean confidence 75.0 %, calibration error 25.0 %, of
      2 examples.'

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
        bars = top.bar(left + 0.05 * width, accuracy, color=COLORS[0], **inner)
        top.bar([0], [0], width=0, color=COLORS[0], label="accuracy")  # Never pale in the legend.
        for bar, count in zip(bars, bins.count, strict=True):
            bar.set_alpha(0.35 if 0 < count < _FEW else 1.0)
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
        for x, height, count in zip(left + 0.5 * width, share, bins.count, strict=True):
            if count:
                bottom.annotate(
                    _short(int(count)),
                    (x, height),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7.5,
                )
        bottom.margins(y=0.25)
        bottom.set(xlabel="Confidence (%)", ylabel="Examples (%)")

    return draw(
        paint,
        size=(WIDTH, 4.8),
        alt=(
            f"Reliability diagram. Accuracy {overall[0]:.1f} %, mean confidence "
            f"{overall[1]:.1f} %, calibration error {error:.1f} %, of "
            f"{counted(int(bins.count.sum()), 'example')}."
        ),
        caption=caption,
        file_format=file_format,
    )


def reliability_curves(
    networks: Mapping[str, Reliability | Sequence[Reliability]],
    *,
    caption: str = "",
    file_format: FileFormat = "svg",
) -> Figure:
    """Draws accuracy by confidence, one line for each network.

    A network whose line is below the diagonal is overconfident, above it underconfident. The area
    of a point grows with the bin's share of the predictions, which the panel below shows: points of
    few examples mean little.

    Args:
      networks: for each network the bins that `jaxkd.metrics.reliability` returns, or a sequence of
        such, one for each seed, with equal bins; the line is then that of the seeds' predictions
        together. At most six networks.
      caption: caption below the figure.
      file_format: `"svg"` or `"png"`.

    Returns:
      The figure. The calibration errors in it are means over the seeds.

    Raises:
      ValueError: there is no network or more than six, or the seeds of one differ in their bins.

    Example:
      >>> from jaxkd.metrics import reliability
      >>> sure, right = [[9.0, 0.0], [9.0, 0.0]], [[0.0, 9.0], [9.0, 0.0]]
      >>> figure = reliability_curves(
      ...     {"teacher": reliability(right, [1, 0]), "student": [reliability(sure, [1, 0])] * 2}
      ... )
      >>> figure.alt
      'Reliability of several networks. Calibration error (%): teacher 0.0; student 50.0 ± 0.0.'

    References:
      Guo et al., On Calibration of Modern Neural Networks, 2017.
      https://arxiv.org/abs/1706.04599
    """
    check_arms(networks, len(COLORS))
    seeds = {k: [v] if isinstance(v, Reliability) else list(v) for k, v in networks.items()}
    pooled = {name: _pool(name, each) for name, each in seeds.items()}
    errors = {
        name: Spread.of([100.0 * bins.expected_calibration_error for bins in each])
        for name, each in seeds.items()
    }

    def paint(figure: "matplotlib.figure.Figure") -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=DASHES[1])
        for i, (name, bins) in enumerate(pooled.items()):
            share, look = bins.count / bins.count.sum(), {"color": COLORS[i]}
            used = bins.count > 0
            x, y = 100.0 * bins.confidence[used], 100.0 * bins.accuracy[used]
            label = f"{name}, ECE {errors[name]:.1f} %"
            top.plot(x, y, linestyle=DASHES[i], linewidth=1.4, label=label, **look)
            top.scatter(x, y, s=6.0 + 90.0 * share[used], clip_on=False, **look)
            edges = 100.0 * bins.edges
            bottom.stairs(100.0 * share, edges, linestyle=DASHES[i], linewidth=1.4, **look)
        top.set(ylabel="Accuracy (%)", xlim=(0, 100), ylim=(0, 100))
        legend_above(top, columns=1)  # Names with their errors are long.
        bottom.set(xlabel="Confidence (%)", ylabel="Examples (%)", ylim=(0, None))

    words = "; ".join(f"{name} {error:.1f}" for name, error in errors.items())
    return draw(
        paint,
        size=(WIDTH, 4.4 + 0.2 * len(networks)),
        alt=f"Reliability of several networks. Calibration error (%): {words}.",
        caption=caption,
        file_format=file_format,
    )


def _short(count: int) -> str:
    """Returns a count that fits above a narrow bar."""
    if count < 1000:
        return str(count)
    thousands = f"{count / 1000:.1f}" if count < 9950 else f"{count / 1000:.0f}"
    return f"{thousands.removesuffix('.0')}k" if count < 999_500 else f"{count / 1e6:.1f}M"


def _pool(name: str, seeds: list[Reliability]) -> Reliability:
    """The bins of the predictions of all seeds together."""
    if not seeds or any(not np.array_equal(s.edges, seeds[0].edges) for s in seeds):
        numbers = sorted({len(seed.count) for seed in seeds})
        raise ValueError(
            f"network {name!r} needs one seed or more with equal bins, got {len(seeds)} seeds "
            f"with numbers of bins {numbers}"
        )
    counts = np.stack([seed.count for seed in seeds])
    count = counts.sum(0)
    divisor = np.where(count > 0, count, np.nan)
    confidence, accuracy = (
        np.nansum(np.stack([getattr(seed, part) for seed in seeds]) * counts, axis=0) / divisor
        for part in ("confidence", "accuracy")
    )
    return Reliability(seeds[0].edges, confidence, accuracy, count)
