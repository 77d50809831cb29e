import re

import pytest
from svg import texts

from jaxkd.metrics import Spread
from jaxkd.study import size_accuracy_scatter


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


def test_sizes_that_are_nearly_equal_have_few_ticks():
    figure = size_accuracy_scatter({"a": (37.71e-6, 0.5), "b": (37.78e-6, 0.6)}, x_label="s")
    assert 1 <= sum("µ" in (text or "") for text in texts(figure)) <= 5
    equal = size_accuracy_scatter({"a": (1_783_681, 0.5), "b": (1_783_681, 0.6)})
    assert 2 <= sum(" M" in (text or "") for text in texts(equal)) <= 5


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
