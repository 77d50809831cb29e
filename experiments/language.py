r"""Language models: what a small decoder learns from a larger one, on real text.

A decoder is trained on text, or a published one is read from its checkpoint. It answers once to all
training rows; its answers are cached as the k likeliest tokens with what the others weigh, and as
tokens drawn at random. Students of one size then learn for equally many steps, from batches of the
same size, with the same optimizer:
  labels: from the text alone.
  top_k: from the cached likeliest tokens and the text.
  top_k_alone: from the cached likeliest tokens alone.
  sampled: from the cached draws and the text.
  on_policy: half of the time from what they write themselves, which the teacher scores online
    (GKD). What a student writes is only worth scoring when it has learned something, so that this
    begins halfway.
  sequences: from what the teacher wrote behind beginnings of the training rows.
They are judged on held-out text: bits per byte, the next token's accuracy, agreement with the
teacher and KL divergence to it; and by the divergence from the teacher of what they write.

Commands:
  # Jane Austen's novels on two CPU cores: the cached arms take half an hour, on_policy as long.
  apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen
  python -m experiments.datasets.austen prepare --data_dir=data \
      --source_dir=austen/usr/lib/R/site-library/janeaustenr/data
  JAX_PLATFORMS=cpu python -m experiments.language --config.data_dir=data --workdir=runs/language
  # A GPU or TPU: larger networks and batches, more steps, logits never held.
  python -m experiments.language --config.data_dir=data --config.teacher.width=512 \
      --config.teacher.layers=8 --config.teacher.heads=8 --config.teacher.hidden=1536 \
      --config.student.width=128 --config.student.layers=4 --config.student.hidden=384 \
      --config.vocabulary=4096 --config.length=256 --config.batch_size=64 --config.steps=3000 \
      --config.teacher_steps=3000 --config.fused=True --workdir=runs/language_large
  # Text files of one's own, or a data set of tensorflow-datasets; bytes instead of BPE.
  python -m experiments.language --config.text=FOLDER --config.vocabulary=0 --workdir=…
  python -m experiments.language --config.dataset=ag_news_subset --workdir=…
  # A published teacher: a folder with config.json, model.safetensors and tokenizer.json.
  python -m experiments.language --config.teacher_weights=Qwen3-0.6B \
      --config.eos='<|endoftext|>' --config.fused=True --workdir=…
  # Some of the arms; others may join them in the same directory later.
  python -m experiments.language --config.arms=labels,top_k --config.data_dir=data --workdir=…

Expected on the novels (bits per byte of held-out text, mean ± standard deviation of 3 seeds, 600
steps): teacher 1.780, labels 2.160 ± 0.031, top_k 1.868 ± 0.019, sampled 1.883 ± 0.032; they agree
with the teacher on 50.4, 71.7 and 70.3 % of the next tokens. on_policy: 1.906, 1.927 and 2.141
under a teacher of 1.773; it asks the teacher in every step and takes 2.7 times as long as labels.
The other arms have not been measured at this size.

Writes `report.html`, the tables as CSV, the figures, the tokenizer, and prints the tables. Killed
and started again with the same command, it goes on where it was.
"""

import dataclasses
import pathlib

from experiments import language_arms, language_report, language_text, launch
from experiments.language_arms import ARMS
from experiments.language_lessons import Lessons
from experiments.language_report import Told
from experiments.refusals import at_least, fields, positive, share
from jaxkd.training import bind_config, is_first


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


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    check(config)
    told = run(config, workdir)
    if not is_first():  # one writes for all
        return
    report = language_report.write(told, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


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


def run(config: Config, workdir: pathlib.Path) -> Told:
    """Trains the teacher and all students, and judges them.

    Args:
      config: that `check` lets pass.
      workdir: everything is kept below it; what was finished before is read, and a work directory
        of another configuration (arms aside) is refused.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: no text, or no checkpoint.
      ValueError: texts that are too short, before anything is trained.
    """
    corpus = language_text.read(config, workdir)
    arms = [arm for arm in ARMS if arm in config.arms.split(",")]
    if "sequences" in arms:
        language_text.prompts_of(corpus.train, config.prompt_length, config.written)
    lessons = Lessons(config, workdir, corpus, launch.partitioning(), launch.PROFILE.value)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "arms"})
    language_text.keep(corpus.tokenizer, workdir)
    teacher, judged = language_arms.teach(lessons)
    cache = kept = rows = made = None
    if {"top_k", "top_k_alone", "sampled"} & set(arms):
        cache, kept = language_arms.ask(lessons, teacher)
    if "sequences" in arms:
        rows, made = language_arms.dictated(lessons, teacher)
    students = {
        arm: language_arms.learn(lessons, arm, teacher, cache, rows if arm == "sequences" else None)
        for arm in arms
    }
    return Told(config, lessons, teacher, judged, students, kept, made)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/language")
