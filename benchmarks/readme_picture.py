"""Draws the README's picture from the tables of a finished run.

python benchmarks/readme_picture.py runs/fashion_mnist benchmarks/few_labels.png
"""

import csv
import pathlib
import sys

from jaxkd.metrics import Spread
from jaxkd.study import accuracy_bars


def main() -> None:
    workdir, picture = map(pathlib.Path, sys.argv[1:])
    with open(workdir / "few_labels.csv") as stream:
        rows = list(csv.DictReader(stream))
    with open(workdir / "networks.csv") as stream:
        teacher = float(next(csv.DictReader(stream))["Accuracy mean"])
    arms = {
        row["Student"]: Spread(float(row["Accuracy mean"]), float(row["Accuracy std"]), 5)
        for row in rows
    }
    accuracy_bars(arms, teacher=teacher, start=0.7, file_format="png").write(picture)


if __name__ == "__main__":
    main()
