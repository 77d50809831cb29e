import numpy as np
import pytest
from svg import nodes, texts

from jaxkd.study import class_accuracy_bars, class_gain_bars


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


def test_few_classes_are_all_drawn_in_order():
    gains = [[0.02, np.nan, -0.05, 0.10], [0.04, np.nan, -0.05, 0.20]]
    figure = class_gain_bars(gains, ["boot", "none", "coat", "bag"], caption="kd on labels.")
    shown = [text for text in texts(figure) if text in ("boot", "none", "coat", "bag")]
    assert shown == ["bag", "boot", "coat"]
    assert {"+15.00 ± 7.07", "\u22125.00 ± 0.00", "+3.00 ± 1.41"} <= set(texts(figure))
    assert figure.alt.endswith(
        "bag +15.00 ± 7.07 to coat -5.00 ± 0.00: 2 of 3 classes gain, 1 lose."
    )


def test_of_many_classes_only_the_extremes_are_drawn():
    names = [f"class {i}" for i in range(1000)]
    figure = class_gain_bars(np.linspace(-0.3, 0.3, 1000), names, most=3)
    shown = [text for text in texts(figure) if str(text).startswith("class ")]
    assert shown == [f"class {i}" for i in (999, 998, 997, 2, 1, 0)]
    assert "994 classes between" in texts(figure)
    exact = class_gain_bars(np.linspace(-0.3, 0.3, 6), names[:6], most=3)
    assert not any("between" in str(text) for text in texts(exact))


def test_long_names_are_cut():
    (cut,) = [
        t for t in texts(class_gain_bars([0.1], ["great white shark, white shark"])) if "…" in t
    ]
    assert cut == "great white shark, wh…"


@pytest.mark.parametrize(
    ("gains", "names", "options", "match"),
    [
        ([0.1, 0.2], ["a"], {}, r"got shape \[2\] and 1 class names"),
        ([], [], {}, "0 class names"),
        ([[[0.1]]], ["a"], {}, r"got shape \[1, 1, 1\]"),
        ([np.nan], ["a"], {}, "every class is nan"),
        ([0.1], ["a"], {"most": 0}, "most must be at least 1, got 0"),
    ],
)
def test_gain_bars_that_do_not_fit_are_refused(gains, names, options, match):
    with pytest.raises(ValueError, match=match):
        class_gain_bars(gains, names, **options)
