"""Configuration of experiments.cifar."""

import dataclasses
from typing import Any

import numpy as np

from experiments.common.protocol import ProtocolConfig
from experiments.common.validation import field
from jaxkd import models


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      dataset: `cifar100`, `cifar10`, another set of small images that tensorflow-datasets has, or
        `fashion_mnist` shaped as CIFAR.
      data_dir: folder of tensorflow-datasets, empty for its default.
      mock: if positive, number of mock training images instead.
      pair: names of teacher and student, see `jaxkd.models.names`.
      assistant: name of a network of a size between, for the strategy `assistant`; empty for one
        that fits.
      method: methods by name, separated by commas; labels alone always come first.
      teacher_weights: a file with the trained teacher, see `jaxkd.weights.read`; empty to train it.
      teacher_naming: library whose names the file has: `repdistiller`, `torchvision`, `timm`; empty
        for those of jaxkd.
      teacher_epochs: number of passes of the teacher, 0 for as many as a student's.
      norm: `batch` or `group`, empty for the default of each network.
      num_views: number of different views of an example; 0 for new ones in every epoch.
      seeds: number of students of each method.
      reduced: whether to run the short protocol for CPUs: 2,000 examples and 8 epochs under a
        cosine, teachers of 2 epochs on all examples, no augmentation, networks of half the width.
      protocol: protocol of all trainings. A learning rate of 0 is the default of each network: 0.01
        for MobileNets and ShuffleNets, 0.05 for the others.
    """

    dataset: str = "cifar100"
    data_dir: str = ""
    mock: int = field(0, ge=0)
    pair: str = "resnet32x4/resnet8x4"
    assistant: str = ""
    method: str = "kd"
    teacher_weights: str = ""
    teacher_naming: str = ""
    teacher_epochs: int = field(0, ge=0)
    norm: str = field("", choices=("batch", "group"), unset="")
    num_views: int = field(0, ge=0)
    seeds: int = field(3, ge=1)
    reduced: bool = False
    protocol: ProtocolConfig = dataclasses.field(
        default_factory=lambda: ProtocolConfig(epochs=240, learning_rate=0.0, schedule="steps")
    )


def reduced_config(config: Config) -> Config:
    """Returns the short protocol, except for what the configuration sets itself."""
    default, given = Config(), config.protocol
    short: dict[str, Any] = {"examples": 2_000, "epochs": 8, "schedule": "cosine", "evaluations": 2}
    unset = {k: v for k, v in short.items() if getattr(given, k) == getattr(default.protocol, k)}
    return dataclasses.replace(
        config,
        protocol=dataclasses.replace(given, **unset),
        teacher_epochs=config.teacher_epochs or 2,
        pair="resnet20x0.5/resnet8x0.5" if config.pair == default.pair else config.pair,
    )


def network_names(config: Config) -> tuple[str, str, str]:
    """Returns the names of teacher, student and assistant; the last is empty where none fits."""
    parts = config.pair.split("/")
    if len(parts) != 2:
        raise ValueError(f"pair must be teacher/student, such as vgg13/vgg8, not {config.pair!r}")
    teacher, student = parts
    assistant = config.assistant or assistant_between(teacher, student)
    for name in (teacher, student, assistant):
        if name:
            models.entry(name)
    if not config.assistant and not assistant and "assistant" in config.method.split(","):
        raise ValueError(
            f"no network is known between {teacher} and {student}: name one with --config.assistant"
        )
    return teacher, student, assistant


def default_learning_rate(name: str) -> float:
    """Returns the learning rate of a network: MobileNets and ShuffleNets need a smaller one."""
    return 0.01 if name.startswith(("mobilenet", "shufflenet")) else 0.05


def assistant_between(teacher: str, student: str) -> str:
    """Returns the network of the student's family whose size is nearest to the geometric mean."""
    if (teacher, student) == ("resnet20x0.5", "resnet8x0.5"):  # whose sizes nobody published
        return "resnet14x0.5"
    smallest = models.entry(student)
    low, high = smallest.parameters, models.entry(teacher).parameters
    if not low or not high:
        return ""
    distances = {}
    for name in models.names(smallest.family):
        size, image_size = models.entry(name).parameters, models.entry(name).image_size
        if size and low < size < high and image_size == smallest.image_size:
            distances[name] = abs(np.log(size / np.sqrt(low * high)))
    return min(distances, key=distances.__getitem__, default="")
