import pytest
from svg import texts

from jaxkd.metrics import Spread
from jaxkd.study import accuracy_bars


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


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        accuracy_bars({})
