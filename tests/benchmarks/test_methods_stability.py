"""What benchmarks/methods_stability.py says of MLKD, and of gradients beside that of the labels."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import methods_protocol, methods_stability


def test_the_class_level_is_its_formula_and_forty_times_larger_with_ten_classes(monkeypatch):
    value = methods_stability.formula
    assert value(64, 100) == pytest.approx(1.04, abs=0.005)
    assert value(64, 10) == pytest.approx(42.6, abs=0.05)
    monkeypatch.setattr(methods_stability, "CLASSES", (10, 100))
    monkeypatch.setattr(methods_stability, "BATCH_SIZES", (64,))
    for row in methods_stability.class_level():
        assert row["computed"] == pytest.approx(row["formula"], rel=0.02)


@pytest.mark.slow
def test_gradients_are_in_proportion_to_the_weight():
    images = jnp.asarray(np.random.default_rng(0).random((8, 14, 14, 1)), jnp.float32)
    teacher = methods_protocol.make("resnet8x0.5", 5)
    labels = jnp.arange(8)
    whole, tenth = (
        methods_stability.ratio("mlkd", {"weight": weight}, teacher, images, labels, 0)
        for weight in (1.0, 0.1)
    )
    assert whole > 1 and tenth == pytest.approx(0.1 * whole, rel=1e-3)
