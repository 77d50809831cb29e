r"""Compression: what distilling, pruning, quantizing and factorizing give, alone and together.

One teacher; students of one architecture; pipelines of steps, from `labels` and `distil` over
`distil-prune` to `distil-prune-qat`, each step with the teacher's help or without. Every network is
measured by its accuracy on the test images, its bytes and its latency; the best compromises are the
Pareto front. The first seed's networks are exported, for LiteRT where it is installed and as
StableHLO elsewhere, with weights, a card, and a program that runs them on a device.

Commands:
  python -m experiments.datasets.fashion_mnist prepare --data_dir=data
  python -m experiments.compress --config.data_dir=data --workdir=runs/compress
  # Scikit-learn's digits, nothing to prepare, ten minutes; mirrored they would be other signs.
  python -m experiments.compress --config.dataset=digits --config.views.flip=False \
      --config.batch_size=64 --config.teacher_epochs=30 --config.epochs=30 \
      --config.tuning_epochs=10 --config.qat_epochs=5 --config.learning_rate=0.005 \
      --config.student.channels=8 --config.student.hidden=32 --workdir=runs/compress_digits
  # Some pipelines; others may join them in the same directory later.
  python -m experiments.compress --config.pipelines=labels-qat,distil-qat --config.data_dir=data \
      --workdir=runs/compress

Steps: labels, distil (train a student; later on: what the steps behind train on), prune (channels
are removed), sparse (weights are masked), low_rank (layers are factorized), int8, int4 (after
training), qat (int8 in training).

Expected on the digits (5 seeds): teacher 98.9 %, labels and distil 97.6 ± 0.4, distil-int8
97.6 ± 0.4 in 1/139 of the bytes, distil-prune-qat 96.7 ± 0.2 in 1/227; the teacher adds nothing
there. On Fashion-MNIST (teacher 93.11 %) labels and distil 90.7 and 90.6, distil-prune-qat
90.57 ± 0.17; with --config.epochs=12 --config.tuning_epochs=4 --config.temperature=2 it reaches
91.87 ± 0.16 in 1/76 of the teacher's file and 1/13 of its latency.

Writes `report.html`, the tables as CSV, the figures and `exported/`, and prints the tables. The
same command resumes a run that was interrupted.
"""

import pathlib

from experiments.common import launch
from experiments.compress import report
from experiments.compress.config import Config
from experiments.compress.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment and writes its report."""
    out = run(config, workdir, runtime)
    launch.publish(lambda: report.write(out, workdir), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/compress")
