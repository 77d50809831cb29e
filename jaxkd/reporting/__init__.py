"""What an experiment shows: metrics of logits, tables, figures and an HTML report.

Metrics are NumPy functions of logits and labels, or of features. A `Table` prints itself and writes
CSV, HTML and Markdown; a figure is SVG or PNG; a `Report` gathers both, with findings that say no
more than the seeds can show, in one HTML file that loads nothing. matplotlib and jinja2 (the
`experiments` extra) are imported when a figure is drawn or a page is written.
"""

from jaxkd.reporting._bars import accuracy_bars as accuracy_bars
from jaxkd.reporting._bars import class_accuracy_bars as class_accuracy_bars
from jaxkd.reporting._bars import class_gain_bars as class_gain_bars
from jaxkd.reporting._bias import raise_class as raise_class
from jaxkd.reporting._figure import Figure as Figure
from jaxkd.reporting._findings import Finding as Finding
from jaxkd.reporting._findings import compare as compare
from jaxkd.reporting._heat import heat_map as heat_map
from jaxkd.reporting._lines import spread_lines as spread_lines
from jaxkd.reporting._metrics import Reliability as Reliability
from jaxkd.reporting._metrics import accuracy as accuracy
from jaxkd.reporting._metrics import agreement as agreement
from jaxkd.reporting._metrics import class_accuracy as class_accuracy
from jaxkd.reporting._metrics import class_gains as class_gains
from jaxkd.reporting._metrics import confidence as confidence
from jaxkd.reporting._metrics import expected_calibration_error as expected_calibration_error
from jaxkd.reporting._metrics import mean_kl_divergence as mean_kl_divergence
from jaxkd.reporting._metrics import negative_log_likelihood as negative_log_likelihood
from jaxkd.reporting._metrics import reliability as reliability
from jaxkd.reporting._plots import learning_curves as learning_curves
from jaxkd.reporting._plots import reliability_diagram as reliability_diagram
from jaxkd.reporting._plots import size_accuracy_scatter as size_accuracy_scatter
from jaxkd.reporting._reliability import reliability_curves as reliability_curves
from jaxkd.reporting._report import Report as Report
from jaxkd.reporting._report import Section as Section
from jaxkd.reporting._similarity import cka as cka
from jaxkd.reporting._similarity import cka_matrix as cka_matrix
from jaxkd.reporting._tables import FORMATS as FORMATS
from jaxkd.reporting._tables import Column as Column
from jaxkd.reporting._tables import Format as Format
from jaxkd.reporting._tables import Spread as Spread
from jaxkd.reporting._tables import Table as Table
