"""Configuration of experiments.language."""

import dataclasses

from experiments.common.validation import at_least, fields, positive, share
from experiments.language.arms import ARMS


@dataclasses.dataclass
class Size:
    """Of a decoder.

    Attributes:
      width: of the tokens.
      layers: how many.
      heads: of each layer's attention.
      hidden: width of each layer's MLP.
    """

    width: int
    layers: int
    heads: int
    hidden: int


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      dataset: `austen`, or a text data set of tensorflow-datasets with the splits train and test.
      data_dir: where the novels are prepared, or of tensorflow-datasets; empty for the default.
      text: a folder of .txt files instead; every tenth block of them is held out.
      mock: if positive, so many characters of made-up text instead.
      vocabulary: tokens of a BPE trained on the training text; 0 for bytes.
      length: tokens of a row.
      test_rows: held-out rows that are judged by, evenly spread, at most.
      teacher: its size.
      student: its size.
      teacher_weights: folder of a published checkpoint (Llama, Mistral, Qwen2 and 3, Gemma), whose
        tokenizer all networks then use; empty to train a teacher.
      eos: the token that ends a text, of such a tokenizer; empty for none.
      teacher_steps: of the teacher's training.
      teacher_learning_rate: peak of its cosine.
      steps: of each student.
      batch_size: rows, of all training.
      learning_rate: peak of the students' cosine.
      seeds: students of each arm.
      arms: which of them, separated by commas; labels must be among them.
      alpha: weight of the teacher where there are labels too.
      temperature: of the distillation.
      k: likeliest tokens that the cache keeps.
      samples: tokens that it draws.
      share: of steps on the student's own texts, on-policy.
      warm: share of the steps before that begins.
      beta: of its Jensen-Shannon divergence, from 0 (forward KL) to 1 (reverse KL).
      prompt_length: tokens of a row that a network writes on from.
      written: rows that the teacher writes for the arm `sequences`.
      fused: whether the cached arms compute the head and the loss together, without the logits.
    """

    dataset: str = "austen"
    data_dir: str = ""
    text: str = ""
    mock: int = 0
    vocabulary: int = 1024
    length: int = 128
    test_rows: int = 256
    teacher: Size = dataclasses.field(default_factory=lambda: Size(192, 4, 6, 512))
    student: Size = dataclasses.field(default_factory=lambda: Size(64, 2, 4, 192))
    teacher_weights: str = ""
    eos: str = ""
    teacher_steps: int = 800
    teacher_learning_rate: float = 2e-3
    steps: int = 600
    batch_size: int = 16
    learning_rate: float = 6e-3
    seeds: int = 3
    arms: str = ",".join(ARMS)
    alpha: float = 0.7
    temperature: float = 1.0
    k: int = 16
    samples: int = 12
    share: float = 0.5
    warm: float = 0.5
    beta: float = 0.1
    prompt_length: int = 32
    written: int = 512
    fused: bool = False


def check(config: Config) -> None:
    """Refuses what cannot run on any text.

    Raises:
      ValueError: names the field and its value.
    """
    arms = config.arms.split(",")
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise ValueError(f"arms must be some of {', '.join(ARMS)}, not {unknown}")
    if "labels" not in arms or len(set(arms)) < len(arms):
        raise ValueError(f"arms must have labels, to compare with, and none twice: {config.arms}")
    sources = [name for name in ("text", "mock") if getattr(config, name)]
    if len(sources) == 2 or (sources and config.dataset != Config.dataset):
        raise ValueError(
            f"several texts: dataset={config.dataset!r}, text={config.text!r}, "
            f"mock={config.mock}; choose one"
        )
    counts = ("test_rows", "teacher_steps", "steps", "batch_size", "seeds", "k", "samples")
    at_least(1, fields(config, *counts))
    for role in ("teacher", "student"):
        size = getattr(config, role)
        at_least(1, {f"{role}.{name}": value for name, value in dataclasses.asdict(size).items()})
        if size.width % (2 * size.heads):
            raise ValueError(
                f"{role}.width={size.width} must be a multiple of twice the {role}.heads="
                f"{size.heads}: the width of a head is even"
            )
    share(fields(config, "alpha", "share", "warm", "beta"))
    positive(fields(config, "temperature", "learning_rate", "teacher_learning_rate"))
    at_least(0, fields(config, "mock", "vocabulary"))
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
            f"write of length={config.length}"
        )
    if "sequences" in arms and config.written < config.batch_size:
        raise ValueError(
            f"written={config.written} rows do not fill a batch of batch_size={config.batch_size}"
        )
