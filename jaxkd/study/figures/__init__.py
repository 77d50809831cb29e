"""The figures of a report, one function each.

Accuracies are fractions, as `jaxkd.metrics.accuracy` returns them, and are drawn in percent.
Every function returns a `jaxkd.study.Figure` that describes itself in words for those
who cannot see it; `file_format="png"` is for pages that cannot show SVG.
"""

from jaxkd.study.figures._figure import Figure as Figure
from jaxkd.study.figures.accuracy_bars import accuracy_bars as accuracy_bars
from jaxkd.study.figures.class_bars import class_accuracy_bars as class_accuracy_bars
from jaxkd.study.figures.class_bars import class_gain_bars as class_gain_bars
from jaxkd.study.figures.heat_map import heat_map as heat_map
from jaxkd.study.figures.learning_curves import learning_curves as learning_curves
from jaxkd.study.figures.reliability import reliability_curves as reliability_curves
from jaxkd.study.figures.reliability import reliability_diagram as reliability_diagram
from jaxkd.study.figures.size_accuracy_scatter import (
    size_accuracy_scatter as size_accuracy_scatter,
)
from jaxkd.study.figures.spread_lines import spread_lines as spread_lines

__all__ = [
    "Figure",
    "accuracy_bars",
    "class_accuracy_bars",
    "class_gain_bars",
    "heat_map",
    "learning_curves",
    "reliability_curves",
    "reliability_diagram",
    "size_accuracy_scatter",
    "spread_lines",
]
