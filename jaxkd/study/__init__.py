"""A study: ways of training a student over seeds, and the report of what they gave.

`Study` trains a student by several methods (`Arm`) over seeds, resumes where it was killed, chooses
on validation and evaluates the test examples once; `StudyResults` and `ArmResult` are what it gave.
`Study.tune` returns a `Tuning`, which says what temperature, weight and method are best;
`distill`, also `jaxkd.distill`, is the study of one arm and returns `Distilled`. A function of
one's own makes an `ArmTraining`; `pipeline` makes an arm that is trained, pruned, quantized, by
`Stage`s. `Runtime` says on which devices, and `Evaluator` measures networks.

| to show | use |
| :-- | :-- |
| numbers | `Table`, `Column`, `Format`, `FORMATS` |
| whether an arm beats another | `compare`, `Finding` |
| accuracies | `accuracy_bars`, `class_accuracy_bars`, `class_gain_bars` |
| what an arm does in each class | `class_figures` |
| a quantity over steps, or over another quantity | `learning_curves`, `spread_lines` |
| a grid | `heat_map` |
| accuracy against size | `size_accuracy_scatter` |
| calibration | `reliability_diagram`, `reliability_curves` |
| a single example | `Picture` |
| all of it | `Report`, `Section` |

A `Table` prints itself and writes CSV, HTML and Markdown; a `Figure` is SVG or PNG and describes
itself in words for those who cannot see it; a `Report` gathers both, with findings that claim no
more than the seeds can show, in one HTML file that loads nothing. The numbers come from
`jaxkd.metrics`. matplotlib and jinja2 (the `experiments` extra) are imported when a figure is
drawn or a page is rendered.
"""

from jaxkd.study._distill import Distilled as Distilled
from jaxkd.study._distill import distill as distill
from jaxkd.study.arms import Arm as Arm
from jaxkd.study.arms import ArmTraining as ArmTraining
from jaxkd.study.class_figures import class_figures as class_figures
from jaxkd.study.comparison import Finding as Finding
from jaxkd.study.comparison import compare as compare
from jaxkd.study.evaluator import Evaluator as Evaluator
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
from jaxkd.study.pictures import Picture as Picture
from jaxkd.study.pipelines import Pipeline as Pipeline
from jaxkd.study.pipelines import pipeline as pipeline
from jaxkd.study.report import Report as Report
from jaxkd.study.report import Section as Section
from jaxkd.study.results import ArmResult as ArmResult
from jaxkd.study.results import StudyResults as StudyResults
from jaxkd.study.runtime import Runtime as Runtime
from jaxkd.study.stages import Stage as Stage
from jaxkd.study.study import Study as Study
from jaxkd.study.tables import FORMATS as FORMATS
from jaxkd.study.tables import Column as Column
from jaxkd.study.tables import Format as Format
from jaxkd.study.tables import Table as Table
from jaxkd.study.tuning import Tuning as Tuning

__all__ = [
    "FORMATS",
    "Arm",
    "ArmResult",
    "ArmTraining",
    "Column",
    "Distilled",
    "Evaluator",
    "Figure",
    "Finding",
    "Format",
    "Picture",
    "Pipeline",
    "Report",
    "Runtime",
    "Section",
    "Stage",
    "Study",
    "StudyResults",
    "Table",
    "Tuning",
    "accuracy_bars",
    "class_accuracy_bars",
    "class_figures",
    "class_gain_bars",
    "compare",
    "distill",
    "heat_map",
    "learning_curves",
    "pipeline",
    "reliability_curves",
    "reliability_diagram",
    "size_accuracy_scatter",
    "spread_lines",
]
