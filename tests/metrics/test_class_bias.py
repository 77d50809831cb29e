import numpy as np
import pytest

from jaxkd import metrics


@pytest.mark.parametrize("classes", [2, (2,), (0, 3)])
def test_classes_are_raised_to_their_share_together(classes):
    logits = np.random.default_rng(0).normal(size=(1000, 5))
    logits[:, 2] -= 5.0
    chosen = np.atleast_1d(classes)
    raised = metrics.correct_class_bias(logits, classes, 0.3)
    assert np.isin(raised.argmax(-1), chosen).mean() == pytest.approx(0.3, abs=0.002)
    others = np.setdiff1d(np.arange(5), chosen)
    np.testing.assert_array_equal(raised[:, others], logits[:, others])
    assert np.ptp(raised[:, chosen] - logits[:, chosen]) < 1e-9


@pytest.mark.parametrize(
    ("classes", "share", "message"),
    [
        (1, 1.5, r"share must lie in \[0, 1\], not 1.5"),
        ((1, 3), 0.5, r"classes \[3\] are not among the 3"),
        ((0, 1, 2), 0.5, "are all classes"),
        ([], 0.5, "classes is empty: name at least one class"),
    ],
)
def test_refuses(classes, share, message):
    with pytest.raises(ValueError, match=message):
        metrics.correct_class_bias(np.zeros((4, 3)), classes, share)


def test_refuses_logits_that_are_not_finite():
    with pytest.raises(ValueError, match="logits have nan or"):
        metrics.correct_class_bias(np.array([[0.0, np.nan], [0.0, 1.0]]), 0, 0.5)
