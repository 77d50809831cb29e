import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxkd.metrics import Spread
from jaxkd.study import accuracy_bars, class_accuracy_bars


def nodes(figure):
    root = ElementTree.fromstring(figure.data)
    return list(root.iter("{http://www.w3.org/2000/svg}text"))


def texts(figure):
    return [node.text for node in nodes(figure)]


def test_bars_show_names_values_and_the_teacher():
    arms = {"labels": 0.806, "distilled": Spread(0.854, 0.002, 5)}
    shown = texts(accuracy_bars(arms, teacher=0.924))
    assert {"labels", "80.60", "distilled", "85.40 ± 0.20", "teacher 92.40"} <= set(shown)
    assert "Accuracy (%)" in shown


def test_a_cut_axis_says_so():
    arms = {"labels": 0.806, "distilled": 0.854}
    assert "Accuracy (%), axis starts at 75" in texts(accuracy_bars(arms, start=0.75))
    with pytest.raises(ValueError, match="start must be below every accuracy"):
        accuracy_bars(arms, start=0.81)


def test_bars_start_at_zero_even_where_nothing_is_right():
    assert "0.00" in texts(accuracy_bars({"labels": 0.0, "distilled": 0.7}))


def test_class_bars_mark_the_class_left_out():
    arms = {"labels": [[0.9, 0.0], [0.8, 0.0]], "distilled": [[0.9, 0.6], [0.8, 0.8]]}
    figure = class_accuracy_bars(arms, ["boot", "bag"], left_out="bag")
    assert {"labels", "distilled", "boot", "bag", "0", "70"} <= set(texts(figure))
    assert figure.alt.endswith("On bag, left out: labels 0.00 ± 0.00; distilled 70.00 ± 14.14.")
    (label,) = [node for node in nodes(figure) if node.text == "bag"]
    assert "bold" in label.get("style") or "700" in label.get("style")


def test_class_bars_without_a_class_left_out():
    figure = class_accuracy_bars({"labels": [0.9, np.nan, 0.5]}, ["a", "b", "c"])
    assert figure.alt.endswith("Mean over the classes: labels 70.00.")
    assert {"a", "b", "c", "Accuracy on the class (%)"} <= set(texts(figure))


def test_class_bars_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"arm 'x' has shape \[3\], but there are 2 class names"):
        class_accuracy_bars({"x": [0.1, 0.2, 0.3]}, ["a", "b"])
    with pytest.raises(ValueError, match="left_out 'c' is not a class name: a, b"):
        class_accuracy_bars({"x": [0.1, 0.2]}, ["a", "b"], left_out="c")
    with pytest.raises(ValueError, match="7 arms are too many"):
        class_accuracy_bars({str(i): [0.1] for i in range(7)}, ["a"])
    with pytest.raises(ValueError, match="nothing to draw"):
        accuracy_bars({})
