"""A class for each pixel from label maps and teacher."""

import numpy as np
import pytest

from jaxkd import losses, recipes

STUDENT, TEACHER = np.random.default_rng(0).normal(size=(2, 2, 3, 3, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(-1, 3, (2, 3, 3)).astype(np.int32)
OUTPUTS = {"logits": STUDENT}, {"logits": TEACHER}


def test_means_are_over_the_pixels_that_are_labeled():
    objective = recipes.dense_kd(alpha=0.25, temperature=2.0, channel_weight=3.0)
    assert [term.weight for term in objective.terms.values()] == [0.75, 0.25, 3.0]
    _, metrics, _ = objective(*OUTPUTS, {"labels": LABELS})
    label = losses.cross_entropy(STUDENT, LABELS)
    assert metrics["label"] == (pytest.approx(float(label.sum()), rel=1e-5), np.sum(LABELS >= 0))
    pixels = losses.kd(STUDENT, TEACHER, temperature=2.0)
    assert metrics["dense_kd"] == (pytest.approx(float(pixels.sum()), rel=1e-5), 18)
    channels = losses.cwd(STUDENT, TEACHER, temperature=4.0)
    assert metrics["channels"] == (pytest.approx(float(channels.sum()), rel=1e-5), 2)


def test_classes_weigh_in_both_means():
    weights = np.array([1.0, 4.0, 2.0])
    objective = recipes.dense_kd(class_weights=weights, temperature=2.0)
    _, metrics, _ = objective(*OUTPUTS, {"labels": LABELS})
    size = np.where(LABELS < 0, 0, weights[LABELS])
    for name, loss in (
        ("label", losses.cross_entropy(STUDENT, LABELS)),
        ("dense_kd", losses.kd(STUDENT, TEACHER, temperature=2.0)),
    ):
        total, count = metrics[name]
        assert total / count == pytest.approx(np.average(loss, weights=size), rel=1e-5)
