"""Digits: the demonstration. Ends in under two minutes on two cores; needs no download.

Scikit-learn's 1,797 handwritten digits of 8×8 pixels. A small convolutional teacher answers once;
perceptrons learn from its answers with few labels and a pool without labels, and with all labels.

Command:
  python -m experiments.digits --workdir=runs/digits

Writes `report.html`, the tables as CSV, the curves for TensorBoard, and prints the tables. Killed
and started again with the same command, it goes on where it was.
"""

import pathlib

from experiments.common import comparison_report, launch
from experiments.common.runtime import Runtime
from experiments.digits.config import Config
from experiments.digits.run import run
from jaxkd.training import is_first


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    compared = run(config, workdir, runtime)
    if not is_first():  # one writes for all
        return
    report = comparison_report.write(compared, workdir, "Distilling on digits")
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


if __name__ == "__main__":
    launch.run(main, Config(), "runs/digits")
