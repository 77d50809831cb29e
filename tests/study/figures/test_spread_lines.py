import pytest
from svg import texts

from jaxkd.metrics import Spread
from jaxkd.study import spread_lines


def test_lines_name_their_arms_their_axes_and_their_points():
    lines = {
        "labels": {10: Spread(0.5, 0.02, 3), 1000: Spread(0.8, 0.01, 3)},
        "teacher": {100: 0.9},
    }
    figure = spread_lines(lines, x_label="Labels a class", logarithmic=True, caption="Digits.")
    expected = {"labels", "teacher", "Labels a class, logarithmic", "Accuracy (%)"}
    assert expected | {"10", "100", "1,000"} <= set(texts(figure))
    assert figure.caption == "Digits."
    assert figure.alt == (
        "Line chart of Accuracy (%) by Labels a class, from 10 to 1,000. Last values: "
        "labels 80.00 ± 1.00; teacher 90.00."
    )


def test_names_of_points_do_not_run_into_each_other():
    points = dict.fromkeys([1, 10, 100, 143.7], 0.5)
    shown = texts(spread_lines({"a": points}, x_label="Labels", logarithmic=True))
    assert {"1", "10", "143.7"} <= set(shown) and "100" not in shown


def test_the_order_of_the_points_makes_no_difference():
    points = {20.0: 0.7, 0.0: 0.9, 40.0: 0.5}
    figures = [
        spread_lines({"a": dict(items)}, x_label="Noise (%)")
        for items in (points.items(), sorted(points.items()))
    ]
    assert figures[0].data == figures[1].data and figures[0].alt.endswith("a 50.00.")


def test_other_values_keep_their_scale():
    figure = spread_lines({"a": {1: 2.5}}, x_label="T", y_label="Loss (nats)", percent=False)
    assert "Loss (nats)" in texts(figure) and figure.alt.endswith("a 2.50.")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({}, "nothing to draw"),
        ({str(i): {1: 0.5} for i in range(7)}, "7 arms are too many"),
        ({"a": {}}, "arm 'a' has no point"),
        ({"a": {0: 0.5, 1: 0.6}}, r"arm 'a' needs positive and finite values of 'x', got \[0\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(lines, message):
    with pytest.raises(ValueError, match=message):
        spread_lines(lines, x_label="x", logarithmic=True)
