"""Teachers and students of the transfer experiment, one function a regime."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
from flax import nnx

import jaxkd
from experiments.common import teachers
from experiments.transfer.config import Config
from jaxkd import Network, metrics
from jaxkd.data import Dataset
from jaxkd.models import CNN
from jaxkd.study import Arm, ArmResult, Study
from jaxkd.study.runner import file_name


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained teacher and its logits on the test examples."""

    network: Network
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class LeftOutResults:
    """Results of a transfer set without some classes.

    Attributes:
      name: name of the transfer set.
      unseen: classes that it lacks.
      corrected: classes whose bias is corrected together.
      labels: students that are trained on the labels.
      distilled: students that are trained on the teacher's outputs alone.
    """

    name: str
    unseen: tuple[int, ...]
    corrected: tuple[int, ...]
    labels: ArmResult
    distilled: ArmResult


@dataclasses.dataclass(frozen=True)
class TeacherResults:
    """A teacher and its students."""

    teacher: Teacher
    students: ArmResult


@dataclasses.dataclass(frozen=True)
class TransferTrainer:
    """Trains teachers and students by one protocol.

    Attributes:
      config: complete configuration.
      study: what all students share.
      train: training examples with all labels.
      teacher_steps: number of updates of every teacher.
    """

    config: Config
    study: Study
    train: Dataset
    teacher_steps: int

    @property
    def smoothed(self) -> Arm:
        """Students of smoothed labels."""
        options = {"label_smoothing": self.config.label_smoothing}
        return Arm("label smoothing", options, name="label smoothing")

    @property
    def kd(self) -> Callable[..., Arm]:
        """Function that makes an arm of distilled students."""
        config = self.config
        return functools.partial(
            Arm, "kd", {"alpha": config.alpha, "temperature": config.temperature}
        )

    def make_teacher(self, width: int) -> Network:
        """Makes an untrained teacher; teachers of one width start from the same weights."""
        model = CNN(
            self.train.inputs.shape[1:],
            (width, 2 * width),
            4 * width,
            self.train.num_classes,
            dropout_rate=0.3 if self.config.dataset == "digits" else 0.0,
            rngs=nnx.Rngs(100),
        )
        return jaxkd.from_nnx(model)

    def train_teacher(self, name: str, data: Dataset, width: int = 0) -> Teacher:
        """Trains a teacher on some labels."""
        network = self.make_teacher(width or self.config.teacher_width)
        folder = f"teachers/{name}"
        return self._measured(
            teachers.train_teacher(self.study, network, data, self.teacher_steps, name=folder)
        )

    def train_assistant(self, name: str, teacher: Teacher, width: int) -> Teacher:
        """Trains a teacher's assistant on its cached outputs, as students are trained."""
        study = self.study.replace(
            make_student=lambda seed: self.make_teacher(width),
            arms=[self.kd(name=name, teacher=teacher.network)],
            seeds=1,
            steps=self.teacher_steps,
            workdir=self.study.workdir / "teachers",
        )
        return self._measured(study.run().network(name))

    def train_students(
        self, regime: str, arms: Mapping[str, Arm], **data: Dataset
    ) -> dict[str, ArmResult]:
        """Trains the students of some arms.

        Args:
          regime: name of the folder of all of them.
          arms: the arms, by any key.
          **data: examples that they train on, besides `train`.

        Returns:
          Their results on the test examples, by key.
        """
        study = self.study.replace(
            data={**self.study.data, **data},
            arms=list(arms.values()),
            workdir=self.study.workdir / file_name(regime),
        )
        results = study.run()
        return {key: results[arm.name] for key, arm in arms.items()}

    def _measured(self, network: Network) -> Teacher:
        return Teacher(network, self.study.evaluator("test").logits(network))


@dataclasses.dataclass
class TransferResults:
    """Everything that the report shows; regimes that were not chosen are empty.

    Attributes:
      trainer: what all students and teachers share.
      teacher: the teacher of all labels.
      all_labels: arms with all labels: `labels`, `smoothed`, `distilled`.
      few_labels: arms by number of labels a class: `labels`, `same`, `pool`, `control`.
      controls: teachers of no more labels than the student, by number of labels a class.
      left_out: one entry for each transfer set that lacks classes.
      noise: arms by share of wrong labels: `labels`, `smoothed`, and distilled from the teacher of
        `clean` and of `noisy` labels.
      noisy_teachers: teachers of the same wrong labels, by share.
      capacity: teachers and their students by name of the teacher, the smallest first.
      assistant: the assistant and its students.
    """

    trainer: TransferTrainer
    teacher: Teacher
    all_labels: dict[str, ArmResult] = dataclasses.field(default_factory=dict)
    few_labels: dict[int, dict[str, ArmResult]] = dataclasses.field(default_factory=dict)
    controls: dict[int, Teacher] = dataclasses.field(default_factory=dict)
    left_out: list[LeftOutResults] = dataclasses.field(default_factory=list)
    noise: dict[float, dict[str, ArmResult]] = dataclasses.field(default_factory=dict)
    noisy_teachers: dict[float, Teacher] = dataclasses.field(default_factory=dict)
    capacity: dict[str, TeacherResults] = dataclasses.field(default_factory=dict)
    assistant: TeacherResults | None = None

    @property
    def labels(self) -> np.ndarray:
        """Labels of the test examples."""
        return self.trainer.study.data["test"].labels

    def accuracies(self, result: ArmResult) -> np.ndarray:
        """Returns the test accuracies of an arm, `[seeds]`."""
        return np.array([metrics.accuracy(x, self.labels) for x in result.logits["test"]])

    def teacher_accuracy(self, teacher: Teacher) -> float:
        """Returns the test accuracy of a teacher."""
        return metrics.accuracy(teacher.logits, self.labels)


def noisy(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """Replaces a share of the labels by wrong ones, all of which are equally likely.

    A larger share adds wrong labels to those of a smaller one and changes none of them.

    Args:
      data: examples with all labels, of at least two classes.
      share: share of the examples, from 0 to 1.
      seed: seed of the choice.

    Returns:
      The same examples with other labels.

    Reference:
      Symmetric noise without the true class, as in Patrini et al., Making Deep Neural Networks
      Robust to Label Noise: a Loss Correction Approach, CVPR 2017.
    """
    # NumPy promises the raw stream of a bit generator for good, not what its samplers make of it.
    keys, shifts = np.random.PCG64(seed).random_raw((2, len(data)))
    rows = np.argsort(keys, kind="stable")[: round(share * len(data))]
    labels = data.labels.copy()
    wrong = 1 + (shifts[rows] % np.uint64(data.num_classes - 1)).astype(np.int32)
    labels[rows] = (labels[rows] + wrong) % data.num_classes
    return dataclasses.replace(data, labels=labels)


def all_labels(results: TransferResults) -> None:
    """Adds students of all labels, which several regimes share."""
    trainer, teacher = results.trainer, results.teacher.network
    arms = {
        "labels": Arm("labels"),
        "smoothed": trainer.smoothed,
        "distilled": trainer.kd(name="distilled", teacher=teacher),
    }
    results.all_labels = trainer.train_students("all labels", arms)


def few_labels(results: TransferResults, count: int, ids: np.ndarray) -> None:
    """Adds a point of the curve over labels; `ids` are the labeled examples."""
    trainer, teacher = results.trainer, results.teacher.network
    few, pool = trainer.train.select(ids), trainer.train.with_labels(ids)
    control = results.controls[count] = trainer.train_teacher(f"labels_{count}", few)
    arms = {
        "labels": Arm("labels", data="few"),
        "same": trainer.kd(name="distilled on the same labels", data="few", teacher=teacher),
        "pool": trainer.kd(name="distilled on the pool", data="pool", teacher=teacher),
        "control": trainer.kd(name="control", data="pool", teacher=control.network),
    }
    name = f"few labels {count}"
    results.few_labels[count] = trainer.train_students(name, arms, few=few, pool=pool)


def left_out(results: TransferResults) -> None:
    """Adds the transfer sets that lack classes."""
    trainer, train, config = results.trainer, results.trainer.train, results.trainer.config
    names = train.class_names or tuple(map(str, range(train.num_classes)))
    classes, only = range(train.num_classes), config.only_classes
    # Each with the classes of the transfer set, and those whose bias is corrected: that of the one
    # missing class is raised, or those of the few present ones are lowered.
    sets: list[tuple[str, list[int], tuple[int, ...]]] = [
        (f"without {names[c]}", [k for k in classes if k != c], (c,))
        for c in config.left_out_classes
    ]
    sets.append((f"only {' and '.join(names[c] for c in only)}", sorted(only), only))
    for name, present, corrected in sets:
        part = train.select(train.ids[np.isin(train.labels, present)])
        unseen = tuple(k for k in classes if k not in present)
        pure = {"alpha": 1.0, "temperature": config.temperature}
        teacher = results.teacher.network
        arms = {
            "labels": Arm("labels", data="part"),
            "distilled": Arm("kd", pure, name="distilled", data="part", teacher=teacher),
        }
        made = trainer.train_students(f"left out {name}", arms, part=part)
        results.left_out.append(LeftOutResults(name, unseen, corrected, **made))


def noise(results: TransferResults, share: float) -> None:
    """Adds a share of wrong labels."""
    trainer, clean = results.trainer, results.teacher.network
    if share == 0:
        # Both teachers are the one of all labels.
        labels, smoothed, distilled = results.all_labels.values()
        made = {"labels": labels, "smoothed": smoothed, "clean": distilled, "noisy": distilled}
        results.noise[share], results.noisy_teachers[share] = made, results.teacher
        return
    data = noisy(trainer.train, share)
    teacher = results.noisy_teachers[share] = trainer.train_teacher(f"noise_{share:g}", data)
    arms = {
        "labels": Arm("labels", data="noisy"),
        "smoothed": dataclasses.replace(trainer.smoothed, data="noisy"),
        "clean": trainer.kd(name="teacher of clean labels", data="noisy", teacher=clean),
        "noisy": trainer.kd(name="teacher of noisy labels", data="noisy", teacher=teacher.network),
    }
    results.noise[share] = trainer.train_students(f"noise {share:g}", arms, noisy=data)


def capacity(results: TransferResults) -> None:
    """Adds teachers of every size, and the assistant."""
    trainer, config = results.trainer, results.trainer.config
    by_name: dict[str, Teacher] = {}
    for width in sorted(config.teacher_widths):
        is_known = width == config.teacher_width
        by_name[f"CNN-{width}"] = (
            results.teacher
            if is_known
            else trainer.train_teacher(f"width_{width}", trainer.train, width)
        )
    largest = list(by_name.values())[-1]
    assistant = trainer.train_assistant("assistant", largest, config.assistant_width)
    arms = {
        name: trainer.kd(name=name, teacher=teacher.network)
        for name, teacher in {**by_name, "assistant": assistant}.items()
        if teacher is not results.teacher
    }
    students = trainer.train_students("capacity", arms)
    students[f"CNN-{config.teacher_width}"] = results.all_labels["distilled"]
    results.capacity = {n: TeacherResults(by_name[n], students[n]) for n in by_name}
    results.assistant = TeacherResults(assistant, students["assistant"])
