"""Metrics of predictions and features, in a step and in NumPy, and statistics over seeds.

`jaxkd.make_eval_step(network, metrics={"miou": MeanIoU()})` takes classes. Each is a `Metric`: it
returns sums in the compiled step, which add up over batches, devices and hosts, and computes a
number of them on the host.

| of | classes |
| :-- | :-- |
| classes | `Accuracy`, `TopKAccuracy`, `CrossEntropy`; of pixels also `MeanIoU` |
| binary and multi-label | `BinaryAccuracy`, `BinaryCrossEntropy`, `BinaryF1`, `AveragePrecision` |
| values | `MeanSquaredError`, `MeanAbsoluteError`, `R2` |
| ranked candidates | `NDCG`, `MeanReciprocalRank` |
| a student and its teacher | `Agreement`, `CosineSimilarity`, `PearsonCorrelation` |

Functions take NumPy arrays of a whole data set:

| of | metrics |
| :-- | :-- |
| logits and labels | `accuracy`, `class_accuracy`, `class_gains`, `f1`, `negative_log_likelihood` |
| the calibration of a network | `confidence`, `reliability`, `expected_calibration_error` |
| a student and its teacher | `agreement`, `mean_kl_divergence`, `cka`, `cka_matrix` |
| runs over several seeds | `Spread`, `paired_difference` |

`correct_class_bias` corrects the logits of a student for classes that its transfer set lacked.

Logits of these are `[n, num_classes]` and labels integers `[n]`; everything is computed in float64.
"""

from jaxkd.metrics import in_step
from jaxkd.metrics.accuracy import accuracy as accuracy
from jaxkd.metrics.accuracy import class_accuracy as class_accuracy
from jaxkd.metrics.accuracy import class_gains as class_gains
from jaxkd.metrics.agreement import agreement as agreement
from jaxkd.metrics.agreement import mean_kl_divergence as mean_kl_divergence
from jaxkd.metrics.calibration import Reliability as Reliability
from jaxkd.metrics.calibration import confidence as confidence
from jaxkd.metrics.calibration import expected_calibration_error as expected_calibration_error
from jaxkd.metrics.calibration import negative_log_likelihood as negative_log_likelihood
from jaxkd.metrics.calibration import reliability as reliability
from jaxkd.metrics.cka import cka as cka
from jaxkd.metrics.cka import cka_matrix as cka_matrix
from jaxkd.metrics.class_bias import correct_class_bias as correct_class_bias
from jaxkd.metrics.f1 import f1 as f1
from jaxkd.metrics.in_step import *  # noqa: F403
from jaxkd.metrics.paired_difference import PairedDifference as PairedDifference
from jaxkd.metrics.paired_difference import paired_difference as paired_difference
from jaxkd.metrics.spread import Spread as Spread

__all__ = [
    *in_step.__all__,
    "PairedDifference",
    "Reliability",
    "Spread",
    "accuracy",
    "agreement",
    "cka",
    "cka_matrix",
    "class_accuracy",
    "class_gains",
    "confidence",
    "correct_class_bias",
    "expected_calibration_error",
    "f1",
    "mean_kl_divergence",
    "negative_log_likelihood",
    "paired_difference",
    "reliability",
]
