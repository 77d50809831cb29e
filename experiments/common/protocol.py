"""The protocol that methods and strategies share, and what both are made from."""

import dataclasses
import pathlib
from collections.abc import Callable

import optax

from experiments.common.teachers import train_teacher
from experiments.common.validation import field
from jaxkd import Network
from jaxkd.data import Dataset
from jaxkd.study import Study
from jaxkd.study.arms import WEIGHT_DECAY
from jaxkd.study.runtime import Runtime
from jaxkd.views import Normalize, Views

BASELINE = "labels"

# Peak of the teachers' learning rate in the short protocol.
_SHORT_RATE = 3e-3


@dataclasses.dataclass
class ProtocolConfig:
    """The protocol that all methods share: SGD with momentum.

    Attributes:
      examples: number of training examples, from the first on; 0 for all.
      test_examples: number of test examples, likewise.
      epochs: passes of every student.
      learning_rate: peak of the schedule; 0 for the networks' own where an experiment has one.
      weight_decay: weight decay of all parameters.
      batch_size: number of examples in a batch.
      schedule: `cosine`, warmed up and with Nesterov momentum; or `steps`, a tenth after 62.5, 75
        and 87.5 % of the training, the papers' 150, 180 and 210 of 240 epochs.
      options: JSON with options of recipes by name, `{"crd": {"num_negatives": 1024}}`.
      evaluations: number of evaluations of a student during its training, 1 to 20.
    """

    examples: int = field(0, ge=0)
    test_examples: int = field(0, ge=0)
    epochs: int = field(10, ge=1)
    learning_rate: float = field(0.05, ge=0)
    weight_decay: float = field(5e-4, ge=0)
    batch_size: int = field(64, ge=1)
    schedule: str = field("cosine", choices=("cosine", "steps"))
    options: str = "{}"
    evaluations: int = field(10, ge=1, le=20)


def schedule(config: ProtocolConfig, steps: int) -> optax.Schedule:
    """Makes the learning rate schedule of a training."""
    peak = config.learning_rate
    if config.schedule == "steps":
        milestones = {round(steps * share): 0.1 for share in (0.625, 0.75, 0.875)}
        return optax.piecewise_constant_schedule(peak, milestones)
    return optax.warmup_cosine_decay_schedule(0.0, peak, max(1, steps // 20), max(2, steps))


def sgd(config: ProtocolConfig, steps: int) -> optax.GradientTransformation:
    """Makes the optimizer of a training: SGD with momentum."""
    nesterov = config.schedule == "cosine"
    momentum = optax.sgd(schedule(config, steps), momentum=0.9, nesterov=nesterov)
    return optax.chain(optax.add_decayed_weights(config.weight_decay), momentum)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodNetworks:
    """The networks of a comparison of methods.

    Attributes:
      make_teacher: function from a seed to an untrained teacher.
      make_student: function from a seed to an untrained student.
      make_assistant: function from a seed to an untrained network of a size between, for the
        strategy `assistant`; None where there is none.
      trained_teacher: teacher to use instead of one trained here.
      teacher_rate: peak learning rate of teachers under the papers' schedule; None for that of the
        students.
      assistant_rate: peak learning rate of assistants, likewise.
    """

    make_teacher: Callable[[int], Network]
    make_student: Callable[[int], Network]
    make_assistant: Callable[[int], Network] | None = None
    trained_teacher: Network | None = None
    teacher_rate: float | None = None
    assistant_rate: float | None = None


@dataclasses.dataclass(frozen=True)
class MethodData:
    """The examples of a comparison of methods, and how networks see them.

    Attributes:
      train: training examples, with all labels.
      test: held-out examples.
      views: how networks see training examples.
      test_views: how networks see held-out examples.
      num_views: number of different views of an example, None for new ones in every epoch.
    """

    train: Dataset
    test: Dataset
    views: Views = Views((Normalize(),))
    test_views: Views = Views((Normalize(),))
    num_views: int | None = 1


@dataclasses.dataclass(frozen=True)
class MethodContext:
    """What methods and strategies are made from.

    Attributes:
      study: what all arms share, with the teacher.
      config: protocol of all trainings.
      networks: functions that make the networks, and their learning rates.
      teacher_train: training examples of the teachers.
      teacher_steps: number of updates of their training.
    """

    study: Study
    config: ProtocolConfig
    networks: MethodNetworks
    teacher_train: Dataset
    teacher_steps: int

    def teacher_optimizer(self) -> optax.GradientTransformation:
        """Makes the teachers' optimizer: SGD in the papers' protocol, AdamW in the short one."""
        if self.config.schedule == "steps":
            return self.study.optimizer(self.teacher_steps, self.networks.teacher_rate)
        schedule = self.study.schedule(self.teacher_steps, _SHORT_RATE)
        return optax.adamw(schedule, weight_decay=WEIGHT_DECAY)

    def train_teacher(
        self, fresh: Network, name: str = "teacher", *, anchors: bool = False
    ) -> Network:
        """Trains a teacher, the first or a further one; saves its `anchors` for `anchors_of`."""
        options = {"optimizer": self.teacher_optimizer(), "anchors": anchors}
        data, steps = self.teacher_train, self.teacher_steps
        return train_teacher(self.study, fresh, data, steps, name=name, **options)


def make_study(
    config: ProtocolConfig,
    networks: MethodNetworks,
    data: MethodData,
    workdir: pathlib.Path,
    runtime: Runtime,
    seeds: int,
) -> Study:
    """Makes the study of a comparison of methods, without its teacher and its arms.

    Args:
      config: protocol of all trainings.
      networks: functions that make the networks.
      data: examples and views.
      workdir: folder of all runs.
      runtime: devices, tracing and consent.
      seeds: number of students of each method.

    Returns:
      The study, in which methods are compared on the test examples.
    """
    train = _first(data.train, config.examples)
    return Study(
        {"train": train, "test": _first(data.test, config.test_examples)},
        networks.make_student,
        seeds=seeds,
        steps=config.epochs * max(1, len(train) // config.batch_size),
        workdir=workdir,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        make_optimizer=lambda steps, rate: sgd(
            dataclasses.replace(config, learning_rate=rate), steps
        ),
        views=data.views,
        eval_views=data.test_views,
        num_views=data.num_views or 0,
        population=False,
        evaluations=config.evaluations,
        runtime=runtime,
    )


def _first(data: Dataset, examples: int) -> Dataset:
    """Returns the first examples of a dataset, all of them for 0."""
    return data.select(data.ids[:examples]) if examples else data
