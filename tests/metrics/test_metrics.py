import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxkd import metrics

LOGITS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 20), st.integers(2, 6)), elements=st.floats(-50, 50)
)


def _from_probabilities(rows):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(rows))


def test_accuracy_counts_the_right_ones():
    logits = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [4.0, 0.0, 0.0], [0.0, 0.0, 9.0]]
    assert metrics.accuracy(logits, [0, 1, 2, 2]) == 0.75


def test_class_accuracy_knows_nothing_of_an_absent_class():
    logits = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 3.0, 1.0]]
    np.testing.assert_array_equal(metrics.class_accuracy(logits, [0, 0, 1]), [0.5, 1.0, np.nan])


def test_f1_of_the_second_class_and_of_the_mean_of_more():
    labels = np.array([1, 1, 1, 0])
    logits = np.eye(2)[[1, 0, 1, 1]]  # two hits, one missed, one false
    assert metrics.f1(logits, labels) == pytest.approx(2 / 3)
    assert metrics.f1(np.eye(2)[[0, 0, 0, 0]], labels) == 0
    three = np.array([0, 1, 2, 2])
    assert metrics.f1(np.eye(3)[three], three) == 1
    assert metrics.f1(np.eye(3)[[0, 1, 2, 1]], three) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    # A class that is neither among the labels nor predicted has 0.
    assert metrics.f1(np.eye(3)[[0, 1]], [0, 1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_f1_is_that_of_scikit_learn(num_classes):
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    options = {"labels": range(num_classes), "average": "macro"} if num_classes > 2 else {}
    for n in (1, 2, 5, 20, 500):
        logits = generator.normal(size=(n, num_classes))
        labels = generator.integers(num_classes, size=n)
        expected = sklearn.f1_score(labels, logits.argmax(1), zero_division=0.0, **options)
        assert metrics.f1(logits, labels) == expected


def test_negative_log_likelihood_of_known_probabilities():
    logits = _from_probabilities([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    expected = -(np.log(0.25) + np.log(0.8)) / 2
    assert metrics.negative_log_likelihood(logits, [1, 1]) == pytest.approx(expected)


def test_numbers_stay_finite_for_large_logits():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    assert metrics.negative_log_likelihood(logits, [0, 1]) == 0.0
    assert metrics.negative_log_likelihood(logits, [1, 1]) == 1e4
    assert metrics.confidence(logits) == 1.0


def test_calibration_of_a_hand_worked_example():
    # Confidences 0.9, 0.9, 0.6 and 0.6; right, wrong, right, right.
    logits = _from_probabilities([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    labels = [0, 1, 0, 1]
    bins = metrics.reliability(logits, labels, num_bins=4)
    np.testing.assert_array_equal(bins.count, [0, 0, 2, 2])
    np.testing.assert_allclose(bins.confidence, [np.nan, np.nan, 0.6, 0.9])
    np.testing.assert_allclose(bins.accuracy, [np.nan, np.nan, 1.0, 0.5])
    assert metrics.expected_calibration_error(logits, labels, num_bins=4) == pytest.approx(0.4)


def test_fifteen_bins_unless_said_otherwise():
    bins = metrics.reliability([[1.0, 0.0]], [0])
    assert bins.edges.shape == (16,)
    assert bins.count.shape == bins.accuracy.shape == (15,)


def test_a_border_belongs_to_the_bin_below():
    logits = _from_probabilities([[0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_array_equal(metrics.reliability(logits, [0, 0], num_bins=2).count, [1, 1])


@given(LOGITS, st.data())
def test_bins_hold_every_prediction_once(logits, data):
    n, num_classes = logits.shape
    labels = data.draw(hnp.arrays(np.int32, n, elements=st.integers(0, num_classes - 1)))
    bins = metrics.reliability(logits, labels)
    assert bins.count.sum() == n
    weight = bins.count / n
    assert np.nansum(bins.accuracy * weight) == pytest.approx(metrics.accuracy(logits, labels))
    assert np.nansum(bins.confidence * weight) == pytest.approx(metrics.confidence(logits))
    assert bins.expected_calibration_error <= 1.0


def test_agreement_looks_at_the_first_choice_only():
    assert metrics.agreement([[2.0, 1.0], [0.0, 3.0]], [[9.0, 8.0], [1.0, 0.0]]) == 0.5


def test_kl_divergence_goes_from_teacher_to_student():
    student, teacher = _from_probabilities([[0.5, 0.5]]), _from_probabilities([[0.9, 0.1]])
    expected = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert metrics.mean_kl_divergence(student, teacher) == pytest.approx(expected)
    assert metrics.mean_kl_divergence(teacher, student) != pytest.approx(expected)


def test_kl_divergence_under_masks():
    masked = [[1.0, 2.0, -np.inf]]
    assert metrics.mean_kl_divergence(masked, masked) == 0.0
    assert metrics.mean_kl_divergence([[1.0, 2.0, 0.0]], masked) > 0
    assert metrics.mean_kl_divergence(masked, [[1.0, 2.0, 0.0]]) == np.inf


def test_temperature_softens_both():
    student, teacher = np.array([[0.0, 1.0]]), np.array([[3.0, 0.0]])
    assert metrics.mean_kl_divergence(student, teacher, temperature=2.0) == pytest.approx(
        metrics.mean_kl_divergence(student / 2, teacher / 2)
    )


@given(LOGITS, st.floats(0.5, 8.0), st.integers(0, 2**31))
def test_kl_divergence_is_not_negative_and_zero_between_equals(logits, temperature, seed):
    other = logits + np.random.default_rng(seed).normal(size=logits.shape)
    assert metrics.mean_kl_divergence(other, logits, temperature=temperature) >= -1e-12
    assert metrics.mean_kl_divergence(logits, logits, temperature=temperature) == 0.0


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([1.0, 2.0], [0, 1], "logits must have shape [n, num_classes], got [2]"),
        (np.zeros((0, 3)), np.zeros(0, int), "got [0, 3]"),
        ([[1.0, 2.0]], [0, 1], "got labels [2] and logits [1, 2]"),
        ([[1.0, 2.0]], [[0]], "got labels [1, 1] and logits [1, 2]"),
        ([[1.0, 2.0]], [0.0], "labels must be integers, got float64"),
        ([[1.0, 2.0]], [2], "labels must be classes 0 to 1, got 2 to 2"),
        ([[1.0, 2.0]], [-1], "got -1 to -1"),
        ([[1.0, np.nan]], [0], "nan"),
        ([[-np.inf, -np.inf]], [0], "−inf alone"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, message):
    for function in (
        metrics.accuracy,
        metrics.class_accuracy,
        metrics.negative_log_likelihood,
        metrics.reliability,
        metrics.expected_calibration_error,
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            function(logits, labels)


def test_pairs_that_do_not_fit_are_refused():
    for function in (metrics.agreement, metrics.mean_kl_divergence):
        with pytest.raises(ValueError, match=r"got \[1, 2\] and \[1, 3\]"):
            function([[0.0, 1.0]], [[0.0, 1.0, 2.0]])
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        metrics.mean_kl_divergence([[0.0, 1.0]], [[0.0, 1.0]], temperature=0.0)
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        metrics.reliability([[0.0, 1.0]], [0], num_bins=0)
