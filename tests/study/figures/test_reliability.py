import numpy as np
import pytest
from svg import texts

from jaxkd.metrics import expected_calibration_error, reliability
from jaxkd.study import reliability_curves, reliability_diagram

LOGITS = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
LABELS = [0, 1, 0, 1]


def test_reliability_diagram_shows_the_numbers_of_its_bins():
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    figure = reliability_diagram(reliability(logits, [0, 1, 0, 1]), caption="Student.")
    assert "accuracy 75.0 %, confidence 75.0 %, ECE 40.0 %" in texts(figure)
    assert {"Accuracy (%)", "Confidence (%)", "Examples (%)"} <= set(texts(figure))
    assert "Accuracy 75.0 %, mean confidence 75.0 %, calibration error 40.0 %" in figure.alt
    assert figure.alt.endswith("of 4 examples.")


def test_bars_say_how_many_examples_are_behind_them_and_few_are_pale():
    logits = np.log([[0.9, 0.1]] * 1200 + [[0.6, 0.4]] * 3)
    figure = reliability_diagram(reliability(logits, [0] * 1203))
    assert {"1.2k", "3"} <= set(texts(figure))
    # Two bars of accuracy and what is beside them: one of the two is pale.
    assert figure.data.decode().count("opacity: 0.35") == 1


def test_every_network_has_its_name_and_error():
    bins = reliability(LOGITS, LABELS)
    figure = reliability_curves({"teacher": bins, "labels": bins}, caption="Test examples.")
    assert {"teacher, ECE 40.0 %", "labels, ECE 40.0 %", "Confidence (%)"} <= set(texts(figure))
    assert figure.alt.endswith("Calibration error (%): teacher 40.0; labels 40.0.")
    assert figure.caption == "Test examples."


def test_the_error_is_the_mean_over_seeds_not_that_of_their_sum():
    """Two seeds that err to either side would seem calibrated together."""
    high, low = np.log([[0.8, 0.2]] * 4), np.log([[0.8, 0.2]] * 4)
    right, wrong = [0] * 4, [0, 0, 0, 1]
    seeds = [reliability(high, right), reliability(low, wrong)]
    errors = [expected_calibration_error(high, right), expected_calibration_error(low, wrong)]
    figure = reliability_curves({"kd": seeds})
    mean, std = 100 * np.mean(errors), 100 * np.std(errors, ddof=1)
    assert f"kd {mean:.1f} ± {std:.1f}" in figure.alt
    pooled = reliability(np.concatenate([high, low]), right + wrong)
    assert abs(100 * pooled.expected_calibration_error - mean) > 1


def test_the_line_of_several_seeds_is_that_of_all_their_predictions():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3, 50, 4)) * 3
    labels = generator.integers(0, 4, 50)
    together = reliability(logits.reshape(-1, 4), np.tile(labels, 3))
    several = reliability_curves({"a": [reliability(x, labels) for x in logits]})

    def line(figure):
        """The paths of many points."""
        paths = [part.split('"')[0] for part in figure.data.decode().split(' d="')[1:]]
        return [path for path in paths if path.count("L") > 5]

    assert line(several) == line(reliability_curves({"a": together}))
    assert len(line(several)) >= 1


def test_what_does_not_fit_is_refused():
    bins = reliability(LOGITS, LABELS)
    with pytest.raises(ValueError, match=r"'kd' needs .* 2 seeds with numbers of bins \[5, 15\]"):
        reliability_curves({"kd": [bins, reliability(LOGITS, LABELS, num_bins=5)]})
    with pytest.raises(ValueError, match="'kd' needs one seed or more"):
        reliability_curves({"kd": []})
    with pytest.raises(ValueError, match="7 arms are too many"):
        reliability_curves({str(i): bins for i in range(7)})
    with pytest.raises(ValueError, match="nothing to draw"):
        reliability_curves({})


def test_a_png_and_the_same_bytes_again():
    bins = reliability(LOGITS, LABELS)
    first, second = (reliability_curves({"a": bins}, file_format="png") for _ in range(2))
    assert first.data == second.data and first.data.startswith(b"\x89PNG")
