import compiled_losses as losses
import jax
import numpy as np
import pytest

# One program in place of one for each bin.
hcl = jax.jit(losses.hcl)


def pooled(maps, size):
    parts = maps.shape[1] // size
    return maps.reshape(len(maps), size, parts, size, parts, -1).mean(axis=(2, 4))


@pytest.mark.parametrize(("height", "levels"), [(8, [4, 2, 1]), (4, [2, 1]), (2, [1]), (1, [])])
def test_levels_below_the_height(height, levels):
    shape = (2, 3, height, height, 4)
    student, teacher = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    difference = student - teacher
    terms = [np.mean(difference**2, axis=(1, 2, 3))]
    terms += [np.mean(pooled(difference, size) ** 2, axis=(1, 2, 3)) for size in levels]
    weights = 0.5 ** np.arange(len(terms))
    expected = np.average(terms, axis=0, weights=weights)
    np.testing.assert_allclose(hcl(student, teacher), expected, rtol=1e-5)


def test_bins_that_overlap():
    student = np.zeros((1, 7, 7, 1), np.float32)
    student[0, 1] = 1
    # Row 1 is half of the first bin of four and a third of the second; 1 of 4 rows in two bins.
    terms = [1 / 7, (1 / 4 + 1 / 9) / 4, (1 / 16) / 2, 1 / 49]
    expected = np.average(terms, weights=[1, 1 / 2, 1 / 4, 1 / 8])
    np.testing.assert_allclose(hcl(student, 0 * student), [expected], rtol=1e-5)


def test_vectors_are_maps_of_one_position():
    student, teacher = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    expected = np.mean((student - teacher) ** 2, axis=1)
    np.testing.assert_allclose(hcl(student, teacher), expected, rtol=1e-5)
    stages = losses.over_stages(losses.hcl)(
        (np.ones((3, 8, 8, 2)), student), (np.zeros((3, 8, 8, 2)), teacher)
    )
    np.testing.assert_allclose(stages, 1 + expected, rtol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match=r"\[batch, height, width, channels\].*\(2, 9, 4\)"):
        losses.hcl(np.zeros((2, 9, 4)), np.zeros((2, 9, 4)))
    with pytest.raises(ValueError, match=r"\(2, 4\), teacher features \(2, 1, 1, 4\)"):
        losses.hcl(np.zeros((2, 4)), np.zeros((2, 1, 1, 4)))
    with pytest.raises(ValueError, match="connector"):
        losses.hcl(np.zeros((2, 3, 3, 4)), np.zeros((2, 3, 3, 5)))
