import re

import numpy as np
import pytest
from svg import nodes, texts

from jaxkd.metrics import Spread
from jaxkd.study import heat_map

CELLS = [[0.80, 0.85, 0.83], [Spread(0.82, 0.01, 3), Spread(0.86, 0.012, 3), float("nan")]]


def example(**options):
    labels = {"row_label": "T", "column_label": "alpha"}
    return heat_map(CELLS, [1, 4], [0, 0.5, 0.9], **labels | options)


def test_every_cell_has_its_number_and_the_axes_their_names():
    shown = texts(example(caption="Three seeds."))
    assert {"80.00", "85.00", "83.00", "82.00", "± 1.00", "86.00", "± 1.20", "–"} <= set(shown)
    assert {"T", "alpha", "1", "4", "0", "0.5", "0.9", "Accuracy (%)"} <= set(shown)
    assert example(caption="Three seeds.").caption == "Three seeds."


def test_the_best_is_marked_with_those_that_may_be_as_good():
    figure = example()
    assert figure.alt == (
        "Heat map of Accuracy (%), T by alpha. Best: T 4, alpha 0.5 with 86.00 ± 1.20; worst: "
        "T 1, alpha 0 with 80.00. Within one standard deviation of the best: T 1, alpha 0.5."
    )
    (best,) = [node for node in nodes(figure) if node.text == "86.00"]
    assert "bold" in best.get("style") or "700" in best.get("style")
    assert {"best", "within its standard deviation"} <= set(texts(figure))
    alone = heat_map([[0.1, 0.2]], ["a"], ["b", "c"])
    assert "within its standard deviation" not in texts(alone)
    assert alone.alt.endswith("worst: row a, column b with 10.00.")


def test_the_smallest_loss_is_the_best():
    figure = heat_map(
        [[0.3, 0.2], [0.4, 2.5]], ["a", "b"], ["x", "y"], value_label="Loss", percent=False,
        higher_is_better=False,
    )  # fmt: skip
    assert "Best: row a, column y with 0.20; worst: row b, column y with 2.50" in figure.alt
    assert "Loss" in texts(figure)


def test_numbers_stand_out_from_their_cells_on_any_page():
    """White on the darkest cell, black on the lightest, whatever the color of the page's text."""
    colors = {node.text: node.get("style") for node in nodes(example())}
    assert "#ffffff" in colors["80.00"]
    # Black is an SVG's default and is not written.
    assert "fill" not in colors["86.00"] or "#000000" in colors["86.00"]
    assert "currentColor" not in colors["86.00"]


def test_colors_may_start_above_the_worst():
    def fill(figure):
        return figure.data.decode().count("fill: #00224e")

    assert fill(example(start=0.84)) > fill(example())
    with pytest.raises(ValueError, match=r"start=0.9 must be worse than the best number, 86.00"):
        example(start=0.9)


def test_a_png_and_the_same_bytes_again():
    first, second = (example(file_format="png") for _ in range(2))
    assert first.data == second.data and first.data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "rows", "columns", "match"),
    [
        ([[0.1, 0.2]], ["a", "b"], ["x", "y"], "each of 2 rows and 2 columns, got 1 rows"),
        ([[0.1, 0.2], [0.1]], ["a", "b"], ["x", "y"], r"got 2 rows of lengths \[1, 2\]"),
        ([], [], [], "one cell for each of 0 rows"),
        ([[np.nan]], ["a"], ["x"], "every cell is nan"),
    ],
)
def test_what_does_not_fit_is_refused(values, rows, columns, match):
    with pytest.raises(ValueError, match=match):
        heat_map(values, rows, columns)


def test_names_from_outside_are_escaped():
    figure = heat_map([[0.1, 0.2]], ["<script>"], ["a", "b"])
    assert b"<script" not in figure.data and "<script>" in texts(figure)


def test_where_no_number_is_better_nothing_is_marked():
    figure = heat_map(
        [[0.9, 0.2], [0.1, 0.8]], ["stage1", "embedding"], ["stage1", "embedding"],
        row_label="student", column_label="teacher", value_label="CKA", percent=False,
        higher_is_better=None,
    )  # fmt: skip
    assert "best" not in texts(figure) and "CKA" in texts(figure)
    assert figure.alt.endswith(
        "Highest: student stage1, teacher stage1 with 0.90; lowest: student embedding, "
        "teacher stage1 with 0.10."
    )
    assert not any("bold" in n.get("style") or "700" in n.get("style") for n in nodes(figure))


def test_maps_with_the_same_start_and_stop_can_be_compared():
    def fill(value, **options):
        """The color of the first cell."""
        figure = heat_map([[value, 0.1]], ["a"], ["b", "c"], percent=False, **options)
        return re.findall(r"fill: (#\w{6}); stroke: #", figure.data.decode())[0]

    common = {"start": 0.0, "stop": 1.0, "higher_is_better": None}
    assert fill(0.5) == fill(1.0) == fill(1.0, **common) != fill(0.5, **common)
    assert fill(1.5, **common) == fill(1.0, **common)
    with pytest.raises(ValueError, match=r"start=0.5 must be worse than stop=0.5"):
        example(start=0.5, stop=0.5)
    with pytest.raises(ValueError, match=r"the worst number, 80.00, must be worse than stop=0.7"):
        example(stop=0.7)


def test_names_wider_than_their_cells_are_turned():
    names = [f"stage{i} of the network" for i in range(6)]
    turned = heat_map([[0.1] * 6], ["a"], names)
    straight = heat_map([[0.1] * 6], ["a"], [f"stage{i}" for i in range(6)])
    (first,) = [n for n in nodes(turned) if n.text == names[0]]
    assert "rotate(-45" in first.get("transform")
    (first,) = [n for n in nodes(straight) if n.text == "stage0"]
    assert "rotate(-45" not in first.get("transform")
