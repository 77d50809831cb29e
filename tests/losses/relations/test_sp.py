import compiled_losses as losses
import numpy as np
import pytest


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_sp_by_hand(norm):
    """The Gram matrices are the identity and (1, 2), (2, 4)."""
    teacher = np.array([[1.0], [2.0]])
    row = np.array([1.0, 2.0]) / (np.sqrt(5) if norm == "l2" else 3)
    by_hand = (np.sum((row - [1, 0]) ** 2) + np.sum((row - [0, 1]) ** 2)) / 4
    value = losses.sp(np.eye(2, dtype=np.float32), teacher, norm=norm)
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)


def test_sp_has_two_norms():
    with pytest.raises(ValueError, match="'max'"):
        losses.sp(np.eye(2), np.eye(2), norm="max")
