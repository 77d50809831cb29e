import xml.etree.ElementTree as ElementTree

import chex
import numpy as np
import pytest

from jaxkd.metrics import class_gains
from jaxkd.study import class_gain_bars


def texts(figure):
    root = ElementTree.fromstring(figure.data)
    return [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_gains_are_differences_of_recall():
    logits = np.eye(3)[[0, 0, 1, 1]]
    baseline = np.eye(3)[[0, 1, 1, 0]]
    gains = class_gains(logits, baseline, [0, 0, 1, 1])
    chex.assert_trees_all_close(gains, np.array([0.5, 0.5, np.nan]))
    chex.assert_trees_all_close(class_gains(baseline, logits, [0, 0, 1, 1]), -gains)


def test_gains_of_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"logits and baseline .* got \[2, 3\] and \[2, 2\]"):
        class_gains(np.zeros((2, 3)), np.zeros((2, 2)), [0, 1])
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got 0 to 2"):
        class_gains(np.zeros((2, 2)), np.zeros((2, 2)), [0, 2])


def test_few_classes_are_all_drawn_in_order():
    gains = [[0.02, np.nan, -0.05, 0.10], [0.04, np.nan, -0.05, 0.20]]
    figure = class_gain_bars(gains, ["boot", "none", "coat", "bag"], caption="kd on labels.")
    shown = [text for text in texts(figure) if text in ("boot", "none", "coat", "bag")]
    assert shown == ["bag", "boot", "coat"]
    assert {"+15.00 ± 7.07", "-5.00 ± 0.00", "+3.00 ± 1.41"} <= set(texts(figure))
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
def test_bars_that_do_not_fit_are_refused(gains, names, options, match):
    with pytest.raises(ValueError, match=match):
        class_gain_bars(gains, names, **options)
