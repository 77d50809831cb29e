import compiled_losses as losses
import numpy as np
import pytest


def alignment(student, teacher):
    x, y = (side - side.mean(axis=0) for side in (student, teacher))
    return np.sum((x.T @ y) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


@pytest.mark.parametrize("batch", [5, 40], ids=["by examples", "by features"])
def test_cka_is_the_definition_either_way(batch):
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(batch, 6)), generator.normal(size=(batch, 9)) + 3
    value = losses.cka(student.astype(np.float32), teacher.astype(np.float32))
    np.testing.assert_allclose(value, 1 - alignment(student, teacher), rtol=1e-4)


@pytest.mark.parametrize("batch", [5, 40])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_cka_ignores_rotation_shift_and_scale(batch, scale):
    generator = np.random.default_rng(0)
    student = generator.normal(size=(batch, 6))
    rotation, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    teacher = scale * (student @ rotation + 1)
    value = losses.cka(student.astype(np.float32), teacher.astype(np.float32))
    np.testing.assert_allclose(value, 0, atol=1e-5)


@pytest.mark.parametrize("batch", [5, 40])
def test_cka_with_a_constant_side(batch):
    student = np.random.default_rng(0).normal(size=(batch, 6)).astype(np.float32)
    constant = np.full((batch, 6), 0.1, np.float32)
    assert losses.cka(student, constant) == 1
    assert losses.cka(constant, student) == 1
    assert losses.cka(constant, constant) == 0
