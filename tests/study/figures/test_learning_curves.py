import pytest
from svg import texts

from jaxkd.study import learning_curves


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


def test_lines_on_top_of_each_other_are_named():
    one, other = ([1, 2], [0.5, 0.6]), ([1, 2], [0.5, 0.7])
    found = texts(learning_curves({"labels": one, "kd": other, "dkd": one}))
    assert {"labels", "kd", "dkd = labels"} <= set(found)


def test_long_names_are_broken_in_the_legend():
    name = "distilled on the unlabeled pool from the cache"
    figure = learning_curves({name: ([1, 2], [0.5, 0.6]), "b": ([1, 2], [0.5, 0.6])})
    assert name not in texts(figure) and max(len(text or "") for text in texts(figure)) <= 44


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


def test_names_from_outside_are_escaped():
    figure = learning_curves({"<script>alert(1)</script>": ([1, 2], [0.5, 0.6])})
    assert b"<script" not in figure.data
    assert "<script>alert(1)</script>" in texts(figure)
