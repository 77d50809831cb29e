import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxkd.reporting import Spread, heat_map

CELLS = [[0.80, 0.85, 0.83], [Spread(0.82, 0.01, 3), Spread(0.86, 0.012, 3), float("nan")]]


def nodes(figure):
    root = ElementTree.fromstring(figure.data)
    return list(root.iter("{http://www.w3.org/2000/svg}text"))


def texts(figure):
    return [node.text for node in nodes(figure)]


def drawn(**options):
    labels = {"row_label": "T", "column_label": "alpha"}
    return heat_map(CELLS, [1, 4], [0, 0.5, 0.9], **labels | options)


def test_every_cell_has_its_number_and_the_axes_their_names():
    shown = texts(drawn(caption="Three seeds."))
    assert {"80.00", "85.00", "83.00", "82.00", "± 1.00", "86.00", "± 1.20", "–"} <= set(shown)
    assert {"T", "alpha", "1", "4", "0", "0.5", "0.9", "Accuracy (%)"} <= set(shown)
    assert drawn(caption="Three seeds.").caption == "Three seeds."


def test_the_best_is_marked_with_those_that_may_be_as_good():
    figure = drawn()
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
    """White on the darkest cell, black on the lightest, whatever the colour of the page's text."""
    colors = {node.text: node.get("style") for node in nodes(drawn())}
    assert "#ffffff" in colors["80.00"]
    # Black is an SVG's default and is not written.
    assert "fill" not in colors["86.00"] or "#000000" in colors["86.00"]
    assert "currentColor" not in colors["86.00"]


def test_colours_may_start_above_the_worst():
    def fill(figure):
        return figure.data.decode().count("fill: #00224e")

    assert fill(drawn(start=0.84)) > fill(drawn())
    with pytest.raises(ValueError, match=r"start=0.9 must be worse than the best number, 86.00"):
        drawn(start=0.9)


def test_a_png_and_the_same_bytes_again():
    first, second = (drawn(file_format="png") for _ in range(2))
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
