import numpy as np
import pytest

from experiments.common import external_teacher
from experiments.onnx_teacher import run as onnx_teacher
from experiments.torch_teacher import run as torch_teacher
from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.data import digits
from jaxkd.teachers import from_onnx


def check(tmp_path, teacher, other):
    """The cache holds the teacher's outputs for the same views and is refused to others."""
    data, views = digits.load("test"), external_teacher.VIEWS
    cache = caches.build(tmp_path / "cache", teacher, data, views, num_views=2, progress=False)
    ids = data.ids[::7]
    expected = teacher(external_teacher.rendered(data, views, ids, 1))["logits"]
    found = cache.read(ids, 1).decode()["logits"]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    caches.open(tmp_path / "cache", teacher=teacher, dataset=data, views=views, num_classes=10)
    with pytest.raises(CacheError, match=r"teacher\.(file|parameters): the cache has"):
        caches.open(tmp_path / "cache", teacher=other, dataset=data, views=views)


def test_a_teacher_whose_training_was_cut_short_is_trained_again(tmp_path):
    def cut(file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    def whole(file):
        file.write_bytes(b"whole")

    file = tmp_path / "teacher.pt"
    with pytest.raises(KeyboardInterrupt):
        external_teacher.train_once(file, cut)
    external_teacher.train_once(file, whole)
    assert file.read_bytes() == b"whole"


def test_onnx_runtime(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file, other = tmp_path / "teacher.onnx", tmp_path / "other" / "teacher.onnx"
    onnx_teacher.train_teacher(file, width=8, epochs=1, views=1)
    onnx_teacher.train_teacher(other, width=9, epochs=1, views=1)
    check(tmp_path, from_onnx(file), from_onnx(other))


def test_pytorch(tmp_path):
    pytest.importorskip("torch")
    file, other = tmp_path / "teacher.pt", tmp_path / "other.pt"
    torch_teacher.train_teacher(file, epochs=1)
    torch_teacher.train_teacher(other, epochs=2)
    check(tmp_path, torch_teacher.teacher(file), torch_teacher.teacher(other))
