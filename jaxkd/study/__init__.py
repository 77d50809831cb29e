"""The report of a study: tables, figures, comparisons over paired seeds, and one HTML file.

| to show | use |
| :-- | :-- |
| numbers | `Table`, `Column`, `Format`, `FORMATS` |
| whether an arm beats another | `compare`, `Finding` |
| accuracies | `accuracy_bars`, `class_accuracy_bars`, `class_gain_bars` |
| a quantity over steps, or over another quantity | `learning_curves`, `spread_lines` |
| a grid | `heat_map` |
| accuracy against size | `size_accuracy_scatter` |
| calibration | `reliability_diagram`, `reliability_curves` |
| all of it | `Report`, `Section` |

A `Table` prints itself and writes CSV, HTML and Markdown; a `Figure` is SVG or PNG and describes
itself in words for those who cannot see it; a `Report` gathers both, with findings that claim no
more than the seeds can show, in one HTML file that loads nothing. The numbers come from
`jaxkd.metrics`. matplotlib and jinja2 (the `experiments` extra) are imported when a figure is
drawn or a page is rendered.
"""

from jaxkd.study.comparison import Finding as Finding
from jaxkd.study.comparison import compare as compare
from jaxkd.study.figures import Figure as Figure
from jaxkd.study.figures import accuracy_bars as accuracy_bars
from jaxkd.study.figures import class_accuracy_bars as class_accuracy_bars
from jaxkd.study.figures import class_gain_bars as class_gain_bars
from jaxkd.study.figures import heat_map as heat_map
from jaxkd.study.figures import learning_curves as learning_curves
from jaxkd.study.figures import reliability_curves as reliability_curves
from jaxkd.study.figures import reliability_diagram as reliability_diagram
from jaxkd.study.figures import size_accuracy_scatter as size_accuracy_scatter
from jaxkd.study.figures import spread_lines as spread_lines
from jaxkd.study.report import Report as Report
from jaxkd.study.report import Section as Section
from jaxkd.study.tables import FORMATS as FORMATS
from jaxkd.study.tables import Column as Column
from jaxkd.study.tables import Format as Format
from jaxkd.study.tables import Table as Table

__all__ = [
    "FORMATS",
    "Column",
    "Figure",
    "Finding",
    "Format",
    "Report",
    "Section",
    "Table",
    "accuracy_bars",
    "class_accuracy_bars",
    "class_gain_bars",
    "compare",
    "heat_map",
    "learning_curves",
    "reliability_curves",
    "reliability_diagram",
    "size_accuracy_scatter",
    "spread_lines",
]
