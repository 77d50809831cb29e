"""Configuration of experiments.compress."""

import dataclasses

from experiments.common.comparison import ViewsConfig
from experiments.common.validation import at_least, fields, positive, share
from experiments.compress.steps import pipelines

PIPELINES = (
    "labels,distil,labels-labels,distil-distil,"
    "labels-prune,distil-prune,labels-prune-distil,"
    "labels-sparse,distil-sparse,labels-low_rank,distil-low_rank,"
    "labels-int8,distil-int8,distil-int4,labels-qat,distil-qat,"
    "distil-prune-int8,labels-prune-qat,distil-prune-qat,distil-sparse-qat,distil-low_rank-qat"
)


@dataclasses.dataclass
class Width:
    """Of a network of two convolutions and a hidden layer.

    Attributes:
      channels: of the first convolution; the second has twice as many.
      hidden: width of the layer before the logits.
    """

    channels: int
    hidden: int


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      dataset: `fashion_mnist`, or `digits` of scikit-learn.
      data_dir: of tensorflow-datasets, empty for its own default.
      teacher: its size.
      student: its size, before anything is cut.
      teacher_epochs: passes of the teacher.
      epochs: passes of a fresh student.
      tuning_epochs: passes behind a step that changes the network.
      qat_epochs: passes of quantization-aware training.
      batch_size: of all training.
      learning_rate: peak of the cosine of teacher and fresh students.
      tuning_rate: likewise behind later steps.
      qat_rate: likewise of quantization-aware training.
      alpha: weight of the teacher.
      temperature: of the distillation.
      keep: share of the channels that `prune` keeps.
      sparsity: share of the weights that `sparse` masks.
      rank: of `low_rank`, as a share of the largest.
      pipelines: steps joined by `-`, pipelines by commas.
      seeds: students of each pipeline.
      repeats: timed calls of each network.
      views: how training examples are seen.
    """

    dataset: str = "fashion_mnist"
    data_dir: str = ""
    teacher: Width = dataclasses.field(default_factory=lambda: Width(48, 256))
    student: Width = dataclasses.field(default_factory=lambda: Width(16, 64))
    teacher_epochs: int = 6
    epochs: int = 5
    tuning_epochs: int = 2
    qat_epochs: int = 1
    batch_size: int = 128
    learning_rate: float = 3e-3
    tuning_rate: float = 1e-3
    qat_rate: float = 3e-4
    alpha: float = 0.9
    temperature: float = 4.0
    keep: float = 0.75
    sparsity: float = 0.8
    rank: float = 0.25
    pipelines: str = PIPELINES
    seeds: int = 5
    repeats: int = 200
    views: ViewsConfig = dataclasses.field(
        default_factory=lambda: ViewsConfig(flip=True, num_views=4)
    )


def check(config: Config) -> None:
    """Refuses what cannot run on any data.

    Raises:
      ValueError: names the field.
    """
    if config.dataset not in ("fashion_mnist", "digits"):
        raise ValueError(f"dataset must be fashion_mnist or digits, not {config.dataset!r}")
    pipelines(config.pipelines)
    for name in ("teacher", "student"):
        at_least(1, fields(getattr(config, name), "channels", "hidden", prefix=f"{name}."))
    counts = ("teacher_epochs", "epochs", "tuning_epochs", "qat_epochs", "batch_size", "seeds")
    at_least(1, fields(config, *counts, "repeats"))
    rates = ("learning_rate", "tuning_rate", "qat_rate", "temperature")
    positive(fields(config, *rates, "keep", "rank"))
    share(fields(config, "alpha", "keep", "rank", "sparsity"))
