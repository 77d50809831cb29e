"""Teachers and students of the transfer experiment, one function a regime."""

import dataclasses
import functools

import numpy as np
from flax import nnx

import jaxkd
from experiments.common import teachers
from experiments.common.study import Arm, Result, Study, adamw, run_arm
from experiments.transfer.config import Config
from jaxkd import Network, Objective, metrics, strategies
from jaxkd.cache import Cache
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))


@dataclasses.dataclass(frozen=True)
class CachedTeacher:
    """A trained teacher and its outputs.

    Attributes:
      network: the teacher.
      cache: its logits on all training examples.
      logits: its logits on the test examples.
    """

    network: Network
    cache: Cache
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
    labels: Result
    distilled: Result


@dataclasses.dataclass(frozen=True)
class TeacherResults:
    """A teacher and its students."""

    teacher: CachedTeacher
    students: Result


@dataclasses.dataclass(frozen=True)
class TransferTrainer:
    """Trains teachers and students by one protocol.

    Attributes:
      config: complete configuration.
      study: what all students share.
      train: training examples with all labels.
      steps: number of updates of every student.
      teacher_steps: number of updates of every teacher.
      objectives: `labels`, `smoothed`, `kd`, and `pure_kd` without labels.
    """

    config: Config
    study: Study
    train: Dataset
    steps: int
    teacher_steps: int
    objectives: dict[str, Objective]

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

    def train_teacher(self, name: str, data: Dataset, width: int = 0) -> CachedTeacher:
        """Trains a teacher on some labels, and caches its outputs on all training examples."""
        network = self.make_teacher(width or self.config.teacher_width)
        folder = f"teachers/{name}"
        network = teachers.train_teacher(self.study, network, data, self.teacher_steps, name=folder)
        return self._cached(name, network)

    def train_assistant(self, name: str, teacher: CachedTeacher, width: int) -> CachedTeacher:
        """Trains a teacher's assistant on its cached outputs, as students are trained."""
        study, steps = self.study, self.teacher_steps
        phases = strategies.teacher_assistants(
            teacher.network,
            {name: self.make_teacher(width)},
            self.objectives["kd"],
            steps=steps,
            optimizer=adamw(study.learning_rate, steps),
        )

        def batches(_: Network | None) -> Loader:
            return study.runtime.loader(self.train, VIEWS, study.batch_size, cache=teacher.cache)

        log_every = max(1, steps // 20)
        trained = strategies.run_phases(
            [dataclasses.replace(phase, batches=batches) for phase in phases],
            workdir=study.workdir / "teachers",
            make_step=functools.partial(
                study.runtime.train_step, batch_size=study.batch_size, views=VIEWS
            ),
            log_every=log_every,
            checkpoint_every=log_every * 4,
            profile=study.runtime.profile,
        )
        return self._cached(name, trained[name])

    def _cached(self, name: str, network: Network) -> CachedTeacher:
        """Computes a teacher's outputs on the training examples, cached, and the test examples."""
        path = self.study.workdir / "caches" / name
        # Students of wrong labels read the same outputs, which no label changes.
        allow = {"dataset.labels"}
        cache = jaxkd.cache.build(path, network, self.train, VIEWS, allow=allow)
        return CachedTeacher(network, cache, self.study.test_evaluator.logits(network))

    def train_students(
        self, regime: str, name: str, data: Dataset, objective: str, cache: Cache | None = None
    ) -> Result:
        """Trains the students of one arm."""
        arm = Arm(name, data, self.objectives[objective], self.steps, cache=cache)
        return run_arm(self.study, arm, regime)


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
    teacher: CachedTeacher
    all_labels: dict[str, Result] = dataclasses.field(default_factory=dict)
    few_labels: dict[int, dict[str, Result]] = dataclasses.field(default_factory=dict)
    controls: dict[int, CachedTeacher] = dataclasses.field(default_factory=dict)
    left_out: list[LeftOutResults] = dataclasses.field(default_factory=list)
    noise: dict[float, dict[str, Result]] = dataclasses.field(default_factory=dict)
    noisy_teachers: dict[float, CachedTeacher] = dataclasses.field(default_factory=dict)
    capacity: dict[str, TeacherResults] = dataclasses.field(default_factory=dict)
    assistant: TeacherResults | None = None

    @property
    def labels(self) -> np.ndarray:
        """Labels of the test examples."""
        return self.trainer.study.test.labels

    def accuracies(self, result: Result) -> np.ndarray:
        """Returns the test accuracies of an arm, `[seeds]`."""
        return result.accuracies(self.labels)

    def teacher_accuracy(self, teacher: CachedTeacher) -> float:
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
    train, cache = results.trainer.train, results.teacher.cache
    run = functools.partial(results.trainer.train_students, "all labels")
    results.all_labels = {
        "labels": run("labels", train, "labels"),
        "smoothed": run("label smoothing", train, "smoothed"),
        "distilled": run("distilled", train, "kd", cache),
    }


def few_labels(results: TransferResults, count: int, ids: np.ndarray) -> None:
    """Adds a point of the curve over labels; `ids` are the labeled examples."""
    trainer, cache = results.trainer, results.teacher.cache
    few, pool = trainer.train.select(ids), trainer.train.with_labels(ids)
    control = results.controls[count] = trainer.train_teacher(f"labels_{count}", few)
    run = functools.partial(trainer.train_students, f"few labels {count}")
    results.few_labels[count] = {
        "labels": run("labels", few, "labels"),
        "same": run("distilled on the same labels", few, "kd", cache),
        "pool": run("distilled on the pool", pool, "kd", cache),
        "control": run("control", pool, "kd", control.cache),
    }


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
        run = functools.partial(trainer.train_students, f"left out {name}")
        labels = run("labels", part, "labels")
        distilled = run("distilled", part, "pure_kd", results.teacher.cache)
        results.left_out.append(LeftOutResults(name, unseen, corrected, labels, distilled))


def noise(results: TransferResults, share: float) -> None:
    """Adds a share of wrong labels."""
    trainer, clean = results.trainer, results.teacher.cache
    if share == 0:
        # Both teachers are the one of all labels.
        labels, smoothed, distilled = results.all_labels.values()
        arms = (labels, smoothed, distilled, distilled)
        teacher = results.teacher
    else:
        data = noisy(trainer.train, share)
        teacher = trainer.train_teacher(f"noise_{share:g}", data)
        run = functools.partial(trainer.train_students, f"noise {share:g}")
        arms = (
            run("labels", data, "labels"),
            run("label smoothing", data, "smoothed"),
            run("teacher of clean labels", data, "kd", clean),
            run("teacher of noisy labels", data, "kd", teacher.cache),
        )
    results.noise[share] = dict(zip(("labels", "smoothed", "clean", "noisy"), arms, strict=True))
    results.noisy_teachers[share] = teacher


def capacity(results: TransferResults) -> None:
    """Adds teachers of every size, and the assistant."""
    trainer, config = results.trainer, results.trainer.config

    def taught(name: str, teacher: CachedTeacher) -> TeacherResults:
        cache = teacher.cache
        students = trainer.train_students("capacity", name, trainer.train, "kd", cache)
        return TeacherResults(teacher, students)

    for width in sorted(config.teacher_widths):
        name = f"CNN-{width}"
        if width == config.teacher_width:
            distilled = results.all_labels["distilled"]
            results.capacity[name] = TeacherResults(results.teacher, distilled)
        else:
            teacher = trainer.train_teacher(f"width_{width}", trainer.train, width)
            results.capacity[name] = taught(name, teacher)
    largest = list(results.capacity.values())[-1].teacher
    assistant = trainer.train_assistant("assistant", largest, config.assistant_width)
    results.assistant = taught("assistant", assistant)
