"""Draws the README's picture from the tables of a finished run.

python benchmarks/readme_picture.py runs/fashion_mnist benchmarks/few_labels.svg
"""

import argparse
import csv
import pathlib

from jaxkd.metrics import Spread
from jaxkd.study import Figure, accuracy_bars

# An image on a page does not inherit the text color of the page, so it chooses by the scheme.
_COLORS = """<style>
svg { color: #1f2328; }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; } }
</style>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("workdir", type=pathlib.Path, help="of a run of experiments.fashion_mnist")
    parser.add_argument("picture", type=pathlib.Path, help="the SVG file to write")
    arguments = parser.parse_args()
    with open(arguments.workdir / "few_labels.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with open(arguments.workdir / "networks.csv", encoding="utf-8") as stream:
        teacher = float(next(csv.DictReader(stream))["Accuracy mean"])
    arms = {
        row["Student"]: Spread(float(row["Accuracy mean"]), float(row["Accuracy std"]), 5)
        for row in rows
    }
    figure = accuracy_bars(arms, teacher=teacher, start=0.0, file_format="svg")
    arguments.picture.write_text(on_any_page(figure), encoding="utf-8")


def on_any_page(figure: Figure) -> str:
    """Returns a figure as an image that can be read on light and on dark pages.

    Args:
      figure: an SVG.
    """
    text = figure.data.decode()
    start = text.index(">") + 1  # behind the root's tag
    return f"{text[:start]}\n{_COLORS}{text[start:]}"


if __name__ == "__main__":
    main()
