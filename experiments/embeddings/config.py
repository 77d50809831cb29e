"""Configuration of experiments.embeddings."""

import dataclasses

from experiments.common.validation import at_least, fields, positive
from experiments.embeddings.training import ARMS, RELATIONS


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      teacher: folder of the teacher's `model.safetensors`, `config.json` and `tokenizer.json`.
      data_dir: where `experiments.datasets.austen` wrote the novels, empty for its own default.
      mock: if positive, so many made-up sentences and a made-up teacher instead.
      arms: which of `encoder`, `encoder_cosine`, `static` and `static_cosine`, by commas.
      sentences: of the training split, from all over it; 0 for all.
      length: tokens of a sentence, what is longer is cut.
      student_width: of the transformer; as wide as the teacher it starts from its layers.
      student_layers: of the transformer.
      student_heads: of each attention.
      static_width: of the table of the bag of tokens.
      relation: which loss compares the similarities in the batch: `sp`, `pkt`, `rkd` (distances) or
        `info_nce`.
      relation_weight: times the usual weight of that loss.
      batch_size: of training.
      epochs: of the transformer.
      learning_rate: peak of its cosine.
      static_epochs: of the bag of tokens.
      static_learning_rate: peak of its cosine.
      seeds: students of each arm.
      pairs: random pairs of held-out sentences.
      speed_batch: sentences in a batch whose time is taken.
      speed_rounds: how often.
    """

    teacher: str = ""
    data_dir: str = ""
    mock: int = 0
    arms: str = "encoder,static,static_cosine"
    sentences: int = 0
    length: int = 48
    student_width: int = 192
    student_layers: int = 2
    student_heads: int = 6
    static_width: int = 384
    relation: str = "sp"
    relation_weight: float = 5.0
    batch_size: int = 128
    epochs: int = 3
    learning_rate: float = 1e-3
    static_epochs: int = 10
    static_learning_rate: float = 3e-3
    seeds: int = 3
    pairs: int = 20_000
    speed_batch: int = 64
    speed_rounds: int = 20


def check(config: Config) -> None:
    """Refuses what cannot run on any data.

    Raises:
      ValueError: names the field.
    """
    arms = config.arms.split(",")
    if len(set(arms)) < len(arms) or any(name not in ARMS for name in arms):
        raise ValueError(f"arms must be some of {', '.join(ARMS)}, each once, not {config.arms!r}")
    if config.relation not in RELATIONS:
        raise ValueError(f"relation must be one of {list(RELATIONS)}, not {config.relation!r}")
    at_least(0, fields(config, "mock", "sentences"))
    sizes = ("length", "student_width", "student_layers", "student_heads", "static_width")
    counts = ("batch_size", "epochs", "static_epochs", "seeds", "pairs", "speed_batch")
    at_least(1, fields(config, *sizes, *counts, "speed_rounds"))
    positive(fields(config, "relation_weight", "learning_rate", "static_learning_rate"))
    if config.mock and config.teacher:
        raise ValueError("mock has a teacher of its own: leave config.teacher out")
