"""Configuration of experiments.embeddings."""

import dataclasses

from experiments.common.validation import field, validate
from jaxkd import losses

ARMS = {
    "encoder": "encoder",
    "encoder_cosine": "encoder, cosine alone",
    "static": "static",
    "static_cosine": "static, cosine alone",
}
"""The arms, and their names in the report."""

UNTRAINED = "static, untrained"
"""Name of the bag of tokens before training."""

RELATIONS = {
    "sp": (losses.sp, 100.0),
    "pkt": (losses.pkt, 30_000.0),
    "rkd": (losses.rkd_distance, 1.0),
    "info_nce": (losses.info_nce, 0.2),
}
"""Losses on the similarities in a batch, with the weights that make them count about as much as the
cosines: the first two average over all pairs and are small."""


@dataclasses.dataclass
class Config:
    """Configuration of the experiment.

    Attributes:
      teacher: folder of the teacher's `model.safetensors`, `config.json` and `tokenizer.json`.
      data_dir: folder in which `experiments.datasets.austen` wrote the novels, empty for its
        default.
      mock: if positive, number of mock sentences, which a mock teacher embeds.
      arms: which of `encoder`, `encoder_cosine`, `static` and `static_cosine`, separated by commas.
      sentences: number of training sentences, evenly spread over all of them; 0 for all.
      length: number of tokens of a sentence; longer sentences are cut.
      student_width: width of the transformer; as wide as the teacher it starts from its layers.
      student_layers: number of layers of the transformer.
      student_heads: number of heads of each attention.
      static_width: width of the table of the bag of tokens.
      relation: loss that compares the similarities in the batch: `sp`, `pkt`, `rkd` (distances) or
        `info_nce`.
      relation_weight: factor of the usual weight of that loss.
      batch_size: number of sentences in a batch of training.
      epochs: number of passes of the transformer.
      learning_rate: peak of its cosine.
      static_epochs: number of passes of the bag of tokens.
      static_learning_rate: peak of its cosine.
      seeds: number of students of each arm.
      pairs: number of random pairs of held-out sentences.
      speed_batch: number of sentences in a batch that is timed.
      speed_rounds: number of rounds of the timing.
    """

    teacher: str = ""
    data_dir: str = ""
    mock: int = field(0, ge=0)
    arms: str = field("encoder,static,static_cosine", choices=ARMS, several=True)
    sentences: int = field(0, ge=0)
    length: int = field(48, ge=1)
    student_width: int = field(192, ge=1)
    student_layers: int = field(2, ge=1)
    student_heads: int = field(6, ge=1)
    static_width: int = field(384, ge=1)
    relation: str = field("sp", choices=RELATIONS)
    relation_weight: float = field(5.0, gt=0)
    batch_size: int = field(128, ge=1)
    epochs: int = field(3, ge=1)
    learning_rate: float = field(1e-3, gt=0)
    static_epochs: int = field(10, ge=1)
    static_learning_rate: float = field(3e-3, gt=0)
    seeds: int = field(3, ge=1)
    pairs: int = field(20_000, ge=1)
    speed_batch: int = field(64, ge=1)
    speed_rounds: int = field(20, ge=1)


def check(config: Config) -> None:
    """Refuses a configuration that cannot run on any data.

    Raises:
      ValueError: a field out of its range; the message names it.
    """
    validate(config)
    if config.mock and config.teacher:
        raise ValueError("mock has a teacher of its own: leave config.teacher out")


def student_of(arm: str) -> str:
    """Returns the student that an arm trains, `encoder` or `static`."""
    return arm.removesuffix("_cosine")
