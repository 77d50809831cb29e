"""Configuration of experiments.text_classification."""

import dataclasses

from experiments.common.validation import at_least, fields, positive, share
from experiments.text_classification.training import STUDENTS

DATASETS = ("spam", "fortunes")


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      dataset: `spam`, emails of two classes, or `fortunes`, short texts of ten topics.
      data_dir: where `experiments.datasets.spam` wrote the emails, or the fortunes' folder;
        empty for their own default.
      teacher: folder of the encoder's `model.safetensors`, `config.json` and `tokenizer.json`.
      mock: if positive, so many made-up sentences of three classes and a mock encoder instead.
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
