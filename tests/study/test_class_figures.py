import dataclasses

import numpy as np
from test_conclusion import BASE, arm_result, results

from jaxkd.study._study_report import class_section
from jaxkd.study.class_figures import confusion

LABELS = np.array([0, 1, 1, -1])
LOGITS = np.array([[[9.0, 0], [9, 0], [0, 9], [0, 9]]] * 3)


def studied(labels=LABELS, logits=LOGITS):
    found = results(kd=arm_result("kd", BASE))
    parts = {"test": logits}
    arms = {name: dataclasses.replace(arm, logits=parts) for name, arm in found.arms.items()}
    return dataclasses.replace(found, arms=arms, labels={"test": labels}, class_names=("a", "b"))


def test_shares_of_what_is_predicted():
    shares = confusion(LOGITS[:, :3], LABELS[:3])
    np.testing.assert_allclose(shares, [[1.0, 0.0], [0.5, 0.5]])
    assert np.isnan(confusion(LOGITS[:, :1], LABELS[:1])[1]).all()


def test_gains_confusion_and_confidence_of_classes():
    gains, matrix, bins = class_section(studied(), "kd").figures
    assert "a" in gains.alt and "of 2 classes gain" in gains.alt
    assert "Share" in matrix.alt and bins.alt.endswith("of 3 examples.")
    assert len(class_section(studied(), "labels").figures) == 2


def test_other_tasks_have_no_such_section():
    assert class_section(studied(LABELS.astype(float)), "kd") is None
    assert class_section(studied(np.full(4, -1)), "kd") is None
    assert class_section(studied(np.zeros((4, 2), int)), "kd") is None
    assert class_section(results(kd=arm_result("kd", BASE)), "kd") is None
