"""Configuration of experiments.text_classification."""

import dataclasses

from experiments.common.validation import field, validate

DATASETS = ("spam", "fortunes")
STUDENTS = ("static", "encoder")

LABELS = "labels"
POOL = "distilled on the pool"
CONTROL = "control: teacher of few labels"
ALL = "all labels"
"""Names of the arms."""


@dataclasses.dataclass
class Config:
    """Configuration of the experiment.

    Attributes:
      dataset: `spam`, emails of two classes, or `fortunes`, short texts of ten topics.
      data_dir: folder that `experiments.datasets.spam` wrote, or that of the fortunes; empty for
        the default of each.
      teacher: folder of the encoder's `model.safetensors`, `config.json` and `tokenizer.json`.
      mock: if positive, number of mock sentences of three classes, which a mock encoder embeds.
      students: which of `static` and `encoder`, separated by commas.
      length: number of tokens of a text; longer texts are cut.
      labels_per_class: number of labels of each class that students with few labels have.
      alpha: weight of the teacher where there are labels too.
      temperature: temperature of the distillation.
      batch_size: number of texts in a batch of training.
      learning_rate: peak of the cosine, for all students.
      epochs: number of passes over all training texts; students that see fewer texts make as many
        steps.
      teacher_steps: number of steps of the classifiers on the encoder.
      teacher_learning_rate: peak of their cosine.
      seeds: number of students of each arm.
      static_width: width of the table of the bag of tokens.
      student_width: width of the transformer.
      student_layers: number of layers of the transformer.
      student_heads: number of heads of each attention.
      speed_batch: number of texts in a batch that is timed.
      speed_rounds: number of rounds of the timing.
    """

    dataset: str = field("spam", choices=DATASETS)
    data_dir: str = ""
    teacher: str = ""
    mock: int = field(0, ge=0)
    students: str = field("static,encoder", choices=STUDENTS, several=True)
    length: int = field(128, ge=1)
    labels_per_class: int = field(20, ge=1)
    alpha: float = field(0.9, ge=0, le=1)
    temperature: float = field(2.0, gt=0)
    batch_size: int = field(64, ge=1)
    learning_rate: float = field(2e-3, gt=0)
    epochs: int = field(5, ge=1)
    teacher_steps: int = field(1000, ge=1)
    teacher_learning_rate: float = field(1e-2, gt=0)
    seeds: int = field(3, ge=1)
    static_width: int = field(64, ge=1)
    student_width: int = field(64, ge=1)
    student_layers: int = field(2, ge=1)
    student_heads: int = field(4, ge=1)
    speed_batch: int = field(64, ge=1)
    speed_rounds: int = field(20, ge=1)


def check(config: Config) -> None:
    """Refuses a configuration that cannot run on any data.

    Raises:
      ValueError: a field out of its range; the message names it.
    """
    validate(config)
    if config.student_width % config.student_heads:
        raise ValueError(
            f"student_width must be a multiple of student_heads={config.student_heads}, not "
            f"{config.student_width}"
        )
    if config.mock and config.teacher:
        raise ValueError("mock has an encoder of its own: leave config.teacher out")
