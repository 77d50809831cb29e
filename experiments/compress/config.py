"""Configuration of experiments.compress."""

import dataclasses

from experiments.common.comparison import ViewsConfig
from experiments.common.validation import field

DATASETS = ("fashion_mnist", "digits")

PIPELINES = (
    "labels,distil,labels-labels,distil-distil,"
    "labels-prune,distil-prune,labels-prune-distil,"
    "labels-sparse,distil-sparse,labels-low_rank,distil-low_rank,"
    "labels-int8,distil-int8,distil-int4,labels-qat,distil-qat,"
    "distil-prune-int8,labels-prune-qat,distil-prune-qat,distil-sparse-qat,distil-low_rank-qat"
)


@dataclasses.dataclass
class Width:
    """Size of a network of two convolutions and a hidden layer.

    Attributes:
      channels: number of channels of the first convolution; the second has twice as many.
      hidden: width of the layer before the logits.
    """

    channels: int = field(ge=1)
    hidden: int = field(ge=1)


@dataclasses.dataclass
class Config:
    """Configuration of the experiment.

    Attributes:
      dataset: `fashion_mnist`, or `digits` of scikit-learn.
      data_dir: folder of the data, empty for its default.
      teacher: size of the teacher.
      student: size of the students, before anything is removed.
      teacher_epochs: number of passes of the teacher.
      epochs: number of passes of a fresh student.
      tuning_epochs: number of passes behind a step that changes the network.
      qat_epochs: number of passes of quantization-aware training.
      batch_size: number of images in a batch of all training.
      learning_rate: peak of the cosine of teacher and fresh students.
      tuning_rate: peak of the cosine behind a step that changes the network.
      qat_rate: peak of the cosine of quantization-aware training.
      alpha: weight of the teacher.
      temperature: temperature of the distillation.
      keep: share of the channels that `prune` keeps.
      sparsity: share of the weights that `sparse` masks.
      rank: rank of the layers that `low_rank` factorizes, as a share of the largest.
      pipelines: steps joined by `-`, pipelines separated by commas.
      seeds: number of students of each pipeline.
      repeats: number of timed calls of each network.
      views: how networks see training examples.
    """

    dataset: str = field("fashion_mnist", choices=DATASETS)
    data_dir: str = ""
    teacher: Width = dataclasses.field(default_factory=lambda: Width(48, 256))
    student: Width = dataclasses.field(default_factory=lambda: Width(16, 64))
    teacher_epochs: int = field(6, ge=1)
    epochs: int = field(5, ge=1)
    tuning_epochs: int = field(2, ge=1)
    qat_epochs: int = field(1, ge=1)
    batch_size: int = field(128, ge=1)
    learning_rate: float = field(3e-3, gt=0)
    tuning_rate: float = field(1e-3, gt=0)
    qat_rate: float = field(3e-4, gt=0)
    alpha: float = field(0.9, ge=0, le=1)
    temperature: float = field(4.0, gt=0)
    keep: float = field(0.75, gt=0, lt=1)
    sparsity: float = field(0.8, gt=0, lt=1)
    rank: float = field(0.25, gt=0, lt=1)
    pipelines: str = PIPELINES
    seeds: int = field(5, ge=1)
    repeats: int = field(200, ge=1)
    views: ViewsConfig = dataclasses.field(
        default_factory=lambda: ViewsConfig(flip=True, num_views=4)
    )
