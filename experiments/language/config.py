"""Configuration of experiments.language."""

import dataclasses

from experiments.common.validation import field, validate

ARMS = {
    "labels": "labels alone",
    "top_k": "top-k and labels",
    "top_k_alone": "top-k alone",
    "sampled": "samples and labels",
    "on_policy": "on-policy",
    "sequences": "generated texts",
}
"""The arms, and their names in the report."""

CACHED = ("top_k", "top_k_alone", "sampled")
"""Arms that learn from the teacher's cached outputs."""


@dataclasses.dataclass
class Size:
    """Size of a decoder.

    Attributes:
      width: width of the tokens' embeddings and of all layers.
      layers: number of layers.
      heads: number of heads of each attention.
      hidden: width of each layer's MLP.
    """

    width: int = field(ge=1)
    layers: int = field(ge=1)
    heads: int = field(ge=1)
    hidden: int = field(ge=1)


@dataclasses.dataclass
class Config:
    """Configuration of the experiment.

    Attributes:
      dataset: `austen`, or a text data set of tensorflow-datasets with the splits train and test.
      data_dir: folder of the prepared novels, or of tensorflow-datasets; empty for the default.
      text: a folder of .txt files instead; every tenth block of them is held out.
      mock: if positive, number of characters of mock text instead.
      vocabulary: number of tokens of a BPE trained on the training text; 0 for bytes.
      length: number of tokens of a row.
      test_rows: largest number of held-out rows, evenly spread, on which networks are measured.
      teacher: size of the teacher.
      student: size of the students.
      teacher_weights: folder of a published checkpoint (Llama, Mistral, Qwen2 and 3, Gemma), whose
        tokenizer all networks then use; empty to train a teacher.
      eos: the token that ends a text, of such a tokenizer; empty for none.
      teacher_steps: number of steps of the teacher's training.
      teacher_learning_rate: peak of its cosine.
      steps: number of steps of each student.
      batch_size: number of rows in a batch, of all training.
      learning_rate: peak of the students' cosine.
      seeds: number of students of each arm.
      arms: which of the arms, separated by commas; labels must be among them.
      alpha: weight of the teacher where there are labels too.
      temperature: temperature of the distillation.
      k: number of likeliest tokens that the cache keeps.
      samples: number of sampled tokens that the cache keeps.
      share: share of the on-policy steps that train on the student's own texts.
      warm: share of the steps before the first of these.
      beta: of the on-policy Jensen-Shannon divergence, from 0 (forward KL) to 1 (reverse KL).
      prompt_length: number of tokens of a row that a network continues.
      generated_rows: number of rows that the teacher generates for the arm `sequences`.
      fused: whether the cached arms compute the head and the loss together, without the logits.
    """

    dataset: str = "austen"
    data_dir: str = ""
    text: str = ""
    mock: int = field(0, ge=0)
    vocabulary: int = field(1024, ge=0)
    length: int = 128
    test_rows: int = field(256, ge=1)
    teacher: Size = dataclasses.field(default_factory=lambda: Size(192, 4, 6, 512))
    student: Size = dataclasses.field(default_factory=lambda: Size(64, 2, 4, 192))
    teacher_weights: str = ""
    eos: str = ""
    teacher_steps: int = field(800, ge=1)
    teacher_learning_rate: float = field(2e-3, gt=0)
    steps: int = field(600, ge=1)
    batch_size: int = field(16, ge=1)
    learning_rate: float = field(6e-3, gt=0)
    seeds: int = field(3, ge=1)
    arms: str = field(",".join(ARMS), choices=ARMS, several=True)
    alpha: float = field(0.7, ge=0, le=1)
    temperature: float = field(1.0, gt=0)
    k: int = field(16, ge=1)
    samples: int = field(12, ge=1)
    share: float = field(0.5, ge=0, le=1)
    warm: float = field(0.5, ge=0, le=1)
    beta: float = field(0.1, ge=0, le=1)
    prompt_length: int = 32
    generated_rows: int = 512
    fused: bool = False


def check(config: Config) -> None:
    """Refuses a configuration that cannot run on any text.

    Raises:
      ValueError: a field out of its range; the message names it and its value.
    """
    validate(config)
    arms = config.arms.split(",")
    if "labels" not in arms:
        raise ValueError(f"arms must have labels, to compare with: {config.arms!r}")
    sources = [name for name in ("text", "mock") if getattr(config, name)]
    if len(sources) == 2 or (sources and config.dataset != Config.dataset):
        raise ValueError(
            f"several texts: dataset={config.dataset!r}, text={config.text!r}, "
            f"mock={config.mock}; choose one"
        )
    for role in ("teacher", "student"):
        size = getattr(config, role)
        if size.width % (2 * size.heads):
            raise ValueError(
                f"{role}.width={size.width} must be a multiple of twice the {role}.heads="
                f"{size.heads}: the width of a head is even"
            )
    if 0 < config.vocabulary < 257:
        raise ValueError(
            f"vocabulary={config.vocabulary} must hold 256 bytes and the end of a text: 257 at "
            "least, or 0 for these alone"
        )
    if not config.teacher_weights and config.k >= (config.vocabulary or 257):
        raise ValueError(
            f"k={config.k} must be less than the {config.vocabulary or 257} tokens of the "
            "vocabulary"
        )
    if not 1 <= config.prompt_length < config.length:
        raise ValueError(
            f"prompt_length={config.prompt_length} must be at least 1 and leave something to "
            f"generate of length={config.length}"
        )
    if "sequences" in arms and config.generated_rows < config.batch_size:
        raise ValueError(
            f"generated_rows={config.generated_rows} rows do not fill a batch of "
            f"batch_size={config.batch_size}"
        )
