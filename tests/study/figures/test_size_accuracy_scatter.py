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
