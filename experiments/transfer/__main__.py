"""What a teacher's knowledge is worth, and where it comes from.

Four questions under one protocol: the same optimizer, schedule and number of steps for every
student, several seeds, the last step. The outputs of every teacher are computed once and cached.
  few_labels: how much the teacher gives over the number of labels, on the same examples and on the
    unlabeled pool, and how much of it comes from a teacher of no more labels than the student.
  left_out: what a student knows of classes that it never saw, with one class left out or with all
    but two, before and after the correction of its bias.
  noise: what helps where labels are wrong, with a teacher that knew better and with one that did
    not.
  capacity: whether a larger teacher is a better one, and whether an assistant helps in between.

Commands:
  # Digits, some minutes on 2 cores, no download.
  python -m experiments.transfer --config.dataset=digits --workdir=runs/transfer_digits
  # Fashion-MNIST, ten to twenty minutes; the data as for experiments.fashion_mnist.
  python -m experiments.transfer --config.data_dir=data --workdir=runs/transfer
  # Some of the regimes; others may join them in the same directory later. The report is of those
  # that are named, finished runs are read.
  python -m experiments.transfer --config.data_dir=data --config.regimes=noise,capacity
  # Other small images through tensorflow-datasets, or mock ones of their shape.
  python -m experiments.transfer --config.dataset=cifar10 --config.teacher_width=32 --workdir=…
  python -m experiments.transfer --config.mock=5000 --config.labels_per_class=10,100 --workdir=…

Expected on Fashion-MNIST (test accuracy in per cent, mean ± standard deviation of 3 seeds; all of
it in benchmarks/transfer.md):
  few_labels: with 10 labels a class 72.0 ± 0.3 from labels, 75.1 ± 0.1 distilled on the same
    examples, 86.3 ± 0.1 on the pool, 75.0 ± 0.1 from a teacher of the same labels; with 1,000 a
    class 85.9, 85.9, 86.4, 85.9; with all labels 87.0 ± 0.2 against 86.5 ± 0.1.
  left_out: on dresses, which no student saw, 0 from labels, 76.3 ± 1.3 distilled, 84.1 ± 0.2 with
    the bias corrected. Of sneakers and bags alone, on all classes: 19.9, 57.2 ± 0.6, 64.1 ± 0.8.
  noise: with 40 % wrong 83.1 ± 2.9 from labels, 83.9 ± 1.5 smoothed, 86.5 ± 0.1 from a teacher of
    clean labels, 83.7 ± 0.1 from one of the same labels.
  capacity: teachers of 84.9, 89.3 and 90.8 give students of 84.5, 86.5 and 86.5 (± 0.1); the
    assistant does not help.

Writes `report.html`, the tables as CSV, the figures, and prints the tables. Killed and started
again with the same command, it resumes where it was.
"""

import pathlib

from experiments.common import launch
from experiments.transfer import report
from experiments.transfer.config import Config, complete
from experiments.transfer.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    results = run(complete(config), workdir, runtime)
    launch.publish(lambda: report.write(results, workdir), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/transfer")
