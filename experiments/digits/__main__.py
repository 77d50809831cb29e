"""Digits: the demonstration. Ends in under two minutes on two cores; needs no download.

Scikit-learn's 1,797 handwritten digits of 8×8 pixels. The outputs of a small
convolutional teacher are cached; perceptrons learn from them with few labels and a pool without
labels, and with all labels.

Command:
  python -m experiments.digits --workdir=runs/digits

Writes `report.html`, the tables as CSV, the curves for TensorBoard, and prints the tables. Killed
and started again with the same command, it resumes where it was.
"""

import pathlib

from experiments.common import comparison_report, launch
from experiments.digits.config import Config
from experiments.digits.run import run
from jaxkd.study.runtime import Runtime


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    compared, title = run(config, workdir, runtime), "Distilling on digits"
    launch.publish(lambda: comparison_report.write(compared, workdir, title), workdir)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/digits")
