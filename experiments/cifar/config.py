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
      data_dir: of tensorflow-datasets, empty for its own default.
      mock: if positive, so many made-up training images instead.
      pair: names of teacher and student, see `jaxkd.models.names`.
      assistant: name of the network between, for the strategy `assistant`; empty for one that fits.
      method: methods by name, separated by commas; labels alone always come first.
      teacher_weights: a file with the trained teacher, see `jaxkd.weights.read`; empty to train it.
      teacher_naming: whose names it has: `repdistiller`, `torchvision`, `timm`; empty for our own.
      teacher_epochs: passes of the teacher, 0 for as many as a student's.
      norm: `batch` or `group`, empty for each network's own.
      num_views: different views of an example; 0 for new ones in every epoch.
      seeds: students of each method.
      reduced: 2,000 examples and 8 epochs under a cosine, teachers of 2 epochs on all examples, no
        augmentation, half-wide networks: for processors.
      protocol: of the training. A learning rate of 0 is each network's own: 0.01 for MobileNets and
        ShuffleNets, 0.05 for the others.
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
    """The short protocol, but for what has been chosen otherwise."""
    default = Config()
    short: dict[str, Any] = {
        "examples": 2_000,
        "epochs": 8,
        "schedule": "cosine",
        "evaluations": 2,
    }
    left = {
        k: v
        for k, v in short.items()
        if getattr(config.protocol, k) == getattr(default.protocol, k)
    }
    return dataclasses.replace(
        config,
        protocol=dataclasses.replace(config.protocol, **left),
        teacher_epochs=config.teacher_epochs or 2,
        pair="resnet20x0.5/resnet8x0.5" if config.pair == default.pair else config.pair,
    )


def network_names(config: Config) -> tuple[str, str, str]:
    """Of teacher, student and assistant; unknown ones end here, before data are read."""
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
            f"nothing is known between {teacher} and {student}: name one with --config.assistant"
        )
    return teacher, student, assistant


def default_learning_rate(name: str) -> float:
    """Of a network by its name: MobileNets and ShuffleNets need a smaller one."""
    return 0.01 if name.startswith(("mobilenet", "shufflenet")) else 0.05


def assistant_between(teacher: str, student: str) -> str:
    """A network of the student's family whose size is nearest to the geometric mean."""
    own = models.entry(student)
    sizes = {name: models.entry(name).parameters for name in models.names(own.family)}
    if (teacher, student) == ("resnet20x0.5", "resnet8x0.5"):  # whose sizes nobody published
        return "resnet14x0.5"
    low, high = own.parameters, models.entry(teacher).parameters
    if not low or not high:
        return ""
    middle = np.sqrt(low * high)
    fitting = {
        name: abs(np.log(size / middle))
        for name, size in sizes.items()
        if size and low < size < high and models.entry(name).image_size == own.image_size
    }
    return min(fitting, key=lambda name: fitting[name]) if fitting else ""
