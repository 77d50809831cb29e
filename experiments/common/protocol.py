"""The protocol that methods and strategies share, and what both are made from."""

import dataclasses
import json
from collections.abc import Callable

import jax
import numpy as np
import optax

from experiments.common.study import Study, adamw
from experiments.common.teachers import train_teacher
from experiments.common.validation import at_least, fields, positive
from jaxkd import Network
from jaxkd.data import Dataset

BASELINE = "labels"


@dataclasses.dataclass
class ProtocolConfig:
    """The protocol that all methods share: SGD with momentum.

    Attributes:
      examples: of the training set, the first so many; 0 for all.
      test_examples: likewise of the test set.
      epochs: passes of every student.
      learning_rate: peak.
      weight_decay: of all parameters.
      batch_size: of the students.
      schedule: `cosine`, warmed up and with Nesterov momentum; or `steps`, a tenth after 62.5, 75
        and 87.5 % of the training, the papers' 150, 180 and 210 of 240 epochs.
      options: JSON with options of recipes by name, `{"crd": {"num_negatives": 1024}}`.
      evaluations: of a student on its way, 1 to 20.
    """

    examples: int = 0
    test_examples: int = 0
    epochs: int = 10
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    batch_size: int = 64
    schedule: str = "cosine"
    options: str = "{}"
    evaluations: int = 10


def check_config(config: ProtocolConfig) -> None:
    """Raises ValueError for a protocol that cannot run; names the field."""
    at_least(1, fields(config, "epochs", "batch_size", prefix="protocol."))
    at_least(0, fields(config, "examples", "test_examples", prefix="protocol."))
    positive(fields(config, "learning_rate", prefix="protocol."))
    if config.schedule not in ("cosine", "steps"):
        raise ValueError(f"protocol.schedule must be cosine or steps, not {config.schedule!r}")
    if not 1 <= config.evaluations <= 20:
        raise ValueError(f"protocol.evaluations must lie in [1, 20], not {config.evaluations}")
    try:
        options = json.loads(config.options)
    except json.JSONDecodeError as error:
        raise ValueError(f"protocol.options must be JSON, not {config.options!r}") from error
    if not isinstance(options, dict) or not all(isinstance(o, dict) for o in options.values()):
        raise ValueError(f"protocol.options map recipes to options, {config.options!r} does not")


def schedule(config: ProtocolConfig, steps: int) -> optax.Schedule:
    """The learning rate of a training."""
    peak = config.learning_rate
    if config.schedule == "steps":
        milestones = {round(steps * share): 0.1 for share in (0.625, 0.75, 0.875)}
        return optax.piecewise_constant_schedule(peak, milestones)
    return optax.warmup_cosine_decay_schedule(0.0, peak, max(1, steps // 20), max(2, steps))


def sgd(config: ProtocolConfig, steps: int) -> optax.GradientTransformation:
    """The optimizer of a training."""
    nesterov = config.schedule == "cosine"
    momentum = optax.sgd(schedule(config, steps), momentum=0.9, nesterov=nesterov)
    return optax.chain(optax.add_decayed_weights(config.weight_decay), momentum)


@dataclasses.dataclass(frozen=True)
class Course:
    """What methods and strategies are made from.

    Attributes:
      study: of all arms.
      config: the protocol.
      train: what students learn from.
      known: what teachers were trained on.
      teacher: trained.
      teacher_steps: of its training.
      make_teacher: from a seed to a fresh teacher.
      make_student: likewise.
      make_assistant: likewise, of a size between; None where there is none.
      teacher_rate: peak learning rate of teachers under the papers' schedule, None for a student's.
      assistant_rate: of assistants, likewise.
    """

    study: Study
    config: ProtocolConfig
    train: Dataset
    known: Dataset
    teacher: Network
    teacher_steps: int
    make_teacher: Callable[[int], Network]
    make_student: Callable[[int], Network]
    make_assistant: Callable[[int], Network] | None = None
    teacher_rate: float | None = None
    assistant_rate: float | None = None

    @property
    def steps(self) -> int:
        """Of every student."""
        return self.config.epochs * max(1, len(self.train) // self.config.batch_size)

    @property
    def inputs(self) -> jax.ShapeDtypeStruct:
        """A batch as networks see it."""
        return jax.ShapeDtypeStruct((self.config.batch_size, *self.train.shape), np.float32)

    def optimizer(
        self, steps: int | None = None, rate: float | None = None
    ) -> optax.GradientTransformation:
        """SGD of a training, by default a student's."""
        config = self.config
        if rate is not None:
            config = dataclasses.replace(config, learning_rate=rate)
        return sgd(config, self.steps if steps is None else steps)

    def teacher_optimizer(self) -> optax.GradientTransformation:
        """Of teachers: the students' own in the papers' protocol, AdamW in the short one."""
        if self.config.schedule == "steps":
            return self.optimizer(self.teacher_steps, self.teacher_rate)
        return adamw(self.study.learning_rate, self.teacher_steps)

    def another(self, fresh: Network, name: str) -> Network:
        """A further teacher, trained like the first."""
        adam = self.teacher_optimizer()
        return train_teacher(
            self.study, fresh, self.known, self.teacher_steps, name=name, optimizer=adam
        )
