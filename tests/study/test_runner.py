import numpy as np
import pytest

from jaxkd.study.runner import save, saved


def test_arrays_are_made_once(tmp_path):
    file = tmp_path / "result.npz"
    for value in (1, 2):
        assert saved(file, lambda value=value: {"a": np.array(value)})["a"] == 1
    save(file, {"a": np.array(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["result.npz"]


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_damaged_file_is_named(tmp_path, kept):
    file = tmp_path / "result.npz"
    save(file, {"a": np.arange(100)})
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="result.npz is damaged .*: delete it"):
        saved(file, dict)
