import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxkd.metrics import Spread, reliability
from jaxkd.study import learning_curves, reliability_diagram, size_accuracy_scatter


def texts(figure):
    """All texts of an SVG figure."""
    root = ElementTree.fromstring(figure.data)
    return [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]


def _bands(figure):
    return figure.data.decode().count("FillBetweenPolyCollection")


def test_curves_name_their_arms_and_axes():
    curves = {"labels": ([1, 2], [0.5, 0.6]), "distilled": ([1, 2, 3], [[0.5, 0.6, 0.7]] * 2)}
    figure = learning_curves(curves, x_label="Epoch", caption="Five seeds.")
    assert {"labels", "distilled", "Epoch", "Accuracy (%)"} <= set(texts(figure))
    assert figure.caption == "Five seeds."
    assert figure.alt == (
        "Line chart of Accuracy (%) by Epoch. Last values: labels 60.00; distilled 70.00 ± 0.00."
    )


def test_a_band_only_where_there_are_seeds():
    assert _bands(learning_curves({"a": ([1, 2], [0.5, 0.6])})) == 0
    assert _bands(learning_curves({"a": ([1, 2], [[0.5, 0.6], [0.4, 0.7]])})) == 1


def test_curves_of_other_values_keep_their_scale():
    figure = learning_curves(
        {"a": ([0, 100], [2.5, 1.25])}, y_label="Cross-entropy (nats)", percent=False
    )
    assert "Cross-entropy (nats)" in texts(figure)
    assert figure.alt.endswith("a 1.25.")


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2], [1.0]), ([1, 2], [[[1.0, 2.0]]]), ([[1, 2]], [1.0, 2.0]), ([], [])]
)
def test_curves_that_do_not_fit_are_refused(x, y):
    with pytest.raises(ValueError, match="arm 'a' needs steps"):
        learning_curves({"a": (x, y)})


def test_nothing_and_too_much_are_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        learning_curves({})
    with pytest.raises(ValueError, match="7 arms are too many"):
        learning_curves({str(i): ([1], [0.5]) for i in range(7)})


def test_reliability_diagram_shows_the_numbers_of_its_bins():
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    figure = reliability_diagram(reliability(logits, [0, 1, 0, 1]), caption="Student.")
    assert "accuracy 75.0 %, confidence 75.0 %, ECE 40.0 %" in texts(figure)
    assert {"Accuracy (%)", "Confidence (%)", "Examples (%)"} <= set(texts(figure))
    assert "Accuracy 75.0 %, mean confidence 75.0 %, calibration error 40.0 %" in figure.alt


def test_scatter_names_every_point_once():
    networks = {
        "teacher": (824_458, 0.924),
        "student": (101_770, Spread(0.854, 0.002, 5)),
        "student, int8": (101_770, 0.8535),
    }
    figure = size_accuracy_scatter(networks)
    for name in networks:
        assert texts(figure).count(name) == 1
    assert {"Parameters, logarithmic", "Accuracy (%)", "100 k"} <= set(texts(figure))


def test_names_of_close_points_do_not_cover_each_other():
    networks = {f"network {i}": (100_000, 0.85 + 0.0002 * i) for i in range(3)}
    svg = size_accuracy_scatter(networks | {"far": (1_000_000, 0.95)}).data.decode()
    found = re.findall(r'text-anchor: (\w+)[^>]* y="([\d.]+)"[^>]*>network \d<', svg)
    places = [(anchor, float(y)) for anchor, y in found]
    assert len(places) == 3
    for i, (anchor, y) in enumerate(places):
        for other_anchor, other_y in places[:i]:
            assert anchor != other_anchor or abs(y - other_y) > 10


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="network 'a' needs a positive size, got 0"):
        size_accuracy_scatter({"a": (0, 0.5)})


def test_names_from_outside_are_escaped():
    figure = learning_curves({"<script>alert(1)</script>": ([1, 2], [0.5, 0.6])})
    assert b"<script" not in figure.data
    assert "<script>alert(1)</script>" in texts(figure)
