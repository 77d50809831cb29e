"""What benchmarks/tuning.py counts: the price of choosing on the images that measure."""

import types

import numpy as np
import pytest

from benchmarks import tuning


def test_settings_that_are_equal_look_better_on_the_images_that_chose():
    right = np.random.default_rng(0).random((16, 1, 10_000)) < 0.8
    few, many = (tuning.optimism(right, size, 100) for size in (200, 5_000))
    # The largest of 16 normal numbers is 1.77 standard deviations above their mean.
    assert few["difference"] == pytest.approx(1.77 * np.sqrt(0.16 / 200), rel=0.1)
    assert 0 < many["difference"] < few["difference"] / 3
    assert few["on_others"] == pytest.approx(0.8, abs=0.005)
    assert few["reported"] - few["on_others"] == pytest.approx(few["difference"])


def test_a_setting_that_is_far_better_is_reported_as_it_is():
    random = np.random.default_rng(1)
    rates = np.array([0.9, 0.5, 0.5])[:, None, None]
    right = random.random((3, 2, 10_000)) < rates
    assert abs(tuning.optimism(right, 1_000, 400)["difference"]) < 2e-3


def test_settings_that_diverged_are_not_trained_again():
    found = types.SimpleNamespace(
        tried=types.SimpleNamespace(arms={"one": 1, "two": 2}), diverged=["one"]
    )
    assert tuning.with_numbers(found) == ["two"]


def test_the_table_has_a_row_for_each_number_of_images():
    row = {"reported": 0.82, "on_others": 0.8, "difference": 0.02, "std": 0.01}
    text = tuning.optimism_table({"optimism": {200: row}, "settings": 16}).to_markdown()
    assert "| 200 | 82.00 | 80.00 | +2.00 ± 1.00 |" in text
