import json

import numpy as np
import pytest

from jaxkd import weights

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 46830571\n"


@pytest.fixture
def save_file():
    return pytest.importorskip("safetensors.numpy").save_file


def sharded(folder, save_file, **names):
    """Two files with an index of their arrays."""
    parts = [{"a": np.ones(2, np.float32)}, {"b": np.zeros(3, np.float32)}]
    for number, arrays in enumerate(parts):
        save_file(arrays, folder / f"model-{number}.safetensors")
    places = {"a": "model-0.safetensors", "b": "model-1.safetensors"} | names
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    return index


def test_an_index_says_which_files_are_read(tmp_path, save_file):
    index = sharded(tmp_path, save_file)
    # Another copy of all arrays in one file, as some publish it beside the parts.
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "consolidated.safetensors")
    for path in (index, tmp_path):
        found = weights.read(path)
        assert {name: array.tolist() for name, array in found.items()} == {
            "a": [1, 1],
            "b": [0, 0, 0],
        }


def test_files_of_an_index_that_are_missing_are_named(tmp_path, save_file):
    index = sharded(tmp_path, save_file)
    (tmp_path / "model-1.safetensors").unlink()
    message = r"names 2 files, of which \['model-1.safetensors'\] is missing in .*: download it"
    with pytest.raises(FileNotFoundError, match=message):
        weights.read(index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight_map": {"c": "model-1.safetensors"}}, "says that 'c' is in model-1.safetensors"),
        ({"weight_map": {"a": "../secret.safetensors"}}, "names '../secret.safetensors', and"),
        ({"layers": 2}, "is no index of weights"),
    ],
)
def test_indices_that_do_not_fit_are_refused(tmp_path, save_file, content, message):
    index = sharded(tmp_path, save_file)
    index.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        weights.read(index)


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pth"])
def test_pointers_of_git_lfs_are_named(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_text(POINTER, encoding="utf-8")
    message = r"is a pointer of git-LFS, .* of 46,830,571 bytes itself: run `git lfs pull`"
    for place in (path, tmp_path) if suffix == "safetensors" else (path,):
        with pytest.raises(ValueError, match=message):
            weights.read(place)
