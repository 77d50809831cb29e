"""Metrics of an evaluation step: sums in the compiled step, a number on the host.

Those of classes are `Accuracy`, `TopKAccuracy`, `CrossEntropy`; of yes or no, `BinaryAccuracy`,
`BinaryCrossEntropy`, `BinaryF1`, `AveragePrecision`; of values, `MeanSquaredError`,
`MeanAbsoluteError`, `R2`; of label maps, `MeanIoU`; of ranked candidates, `NDCG`,
`MeanReciprocalRank`; of a student and its teacher, `Agreement`, `CosineSimilarity`,
`PearsonCorrelation`. `Metric` is what one of your own must be, and `default_metrics` chooses where
labels and logits leave no doubt.
"""

from jaxkd.metrics.in_step._defaults import default_metrics as default_metrics
from jaxkd.metrics.in_step._metric import Metric as Metric
from jaxkd.metrics.in_step.binary import AveragePrecision as AveragePrecision
from jaxkd.metrics.in_step.binary import BinaryAccuracy as BinaryAccuracy
from jaxkd.metrics.in_step.binary import BinaryCrossEntropy as BinaryCrossEntropy
from jaxkd.metrics.in_step.binary import BinaryF1 as BinaryF1
from jaxkd.metrics.in_step.classes import Accuracy as Accuracy
from jaxkd.metrics.in_step.classes import CrossEntropy as CrossEntropy
from jaxkd.metrics.in_step.classes import MeanIoU as MeanIoU
from jaxkd.metrics.in_step.classes import TopKAccuracy as TopKAccuracy
from jaxkd.metrics.in_step.pairs import Agreement as Agreement
from jaxkd.metrics.in_step.pairs import CosineSimilarity as CosineSimilarity
from jaxkd.metrics.in_step.pairs import PearsonCorrelation as PearsonCorrelation
from jaxkd.metrics.in_step.ranking import NDCG as NDCG
from jaxkd.metrics.in_step.ranking import MeanReciprocalRank as MeanReciprocalRank
from jaxkd.metrics.in_step.values import R2 as R2
from jaxkd.metrics.in_step.values import MeanAbsoluteError as MeanAbsoluteError
from jaxkd.metrics.in_step.values import MeanSquaredError as MeanSquaredError

__all__ = [
    "Accuracy",
    "Agreement",
    "AveragePrecision",
    "BinaryAccuracy",
    "BinaryCrossEntropy",
    "BinaryF1",
    "CosineSimilarity",
    "CrossEntropy",
    "MeanAbsoluteError",
    "MeanIoU",
    "MeanReciprocalRank",
    "MeanSquaredError",
    "Metric",
    "NDCG",
    "PearsonCorrelation",
    "R2",
    "TopKAccuracy",
    "default_metrics",
]
