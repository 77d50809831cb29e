import numpy as np
import pytest

from experiments.common import external_teacher
from experiments.onnx_teacher import run as onnx_teacher
from experiments.torch_teacher import run as torch_teacher
from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.data import digits


def check(tmp_path, framework, file, teacher):
    """The cache holds the teacher's outputs for the same views and is refused to others."""
    data = digits.load("test")
    name = external_teacher.fingerprint_of(framework, file)
    forward = teacher(file)
    assert external_teacher.fill(tmp_path / "cache", name, forward, data, views=2) == 2 * len(data)
    assert external_teacher.fill(tmp_path / "cache", name, forward, data, views=2) == 0
    cache = caches.open(
        tmp_path / "cache", teacher=name, dataset=data, views=external_teacher.VIEWS, num_classes=10
    )
    ids = data.ids[::7]
    expected = forward(external_teacher.rendered(data, external_teacher.VIEWS, ids, 1))
    found = cache.read(ids, 1).decode()["logits"]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(CacheError, match="teacher.sha256: the cache has"):
        caches.open(
            tmp_path / "cache",
            teacher=external_teacher.fingerprint_of(framework, file),
            dataset=data,
            views=external_teacher.VIEWS,
        )


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
    file = tmp_path / "teacher.onnx"
    onnx_teacher.train_teacher(file, width=8, epochs=1, views=1)
    check(tmp_path, "onnx", file, onnx_teacher.teacher)


def test_pytorch(tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "teacher.pt"
    torch_teacher.train_teacher(file, epochs=1)
    check(tmp_path, "torch", file, torch_teacher.teacher)
