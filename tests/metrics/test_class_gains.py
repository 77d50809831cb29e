import chex
import numpy as np
import pytest

from jaxkd.metrics import class_gains


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
