"""Teachers in ONNX Runtime; most of it on an object in place of a session."""

import sys
import types

import numpy as np
import pytest

from jaxkd.teachers import from_onnx
from jaxkd.teachers._trial import check_teacher

IMAGES = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype(np.float32)


def node(name, shape, kind="tensor(float)"):
    return types.SimpleNamespace(name=name, shape=shape, type=kind)


class Session:
    def __init__(self, inputs, outputs, function):
        self._inputs, self._outputs, self._function = inputs, outputs, function

    def get_inputs(self):
        return self._inputs

    def get_outputs(self):
        return [node(name, None) for name in self._outputs]

    def run(self, names, feed):
        return [self._function(**feed)[name] for name in names]


def images_session(shape=("batch", 3, 6, 6), outputs=("scores",), kind="tensor(float)"):
    def function(x):
        for size, wanted in zip(x.shape, shape, strict=True):
            assert not isinstance(wanted, int) or size == wanted
        SEEN.append((x.shape, x.dtype))
        flat = x.reshape(len(x), -1).astype(np.float32)
        return {"scores": flat[:, :5], "pooled": flat[:, 5:7]}

    return Session([node("x", list(shape), kind)], outputs, function)


SEEN: list = []


def test_the_shapes_of_the_graph_say_the_layout():
    first = from_onnx(images_session(), name="t")
    expected = IMAGES.transpose(0, 3, 1, 2).reshape(8, -1)[:, :5]
    np.testing.assert_array_equal(first(IMAGES)["logits"], expected)
    check_teacher(first, IMAGES)
    last = from_onnx(images_session(("batch", 6, 6, 3)), name="t")
    np.testing.assert_array_equal(last(IMAGES)["logits"], IMAGES.reshape(8, -1)[:, :5])
    unknown = images_session(("batch", "c", "h", "w"))
    with pytest.raises(ValueError, match=r"t takes the images \(8, 6, 6, 3\) both.*layout='NCHW'"):
        from_onnx(unknown, name="t")(IMAGES)
    np.testing.assert_array_equal(
        from_onnx(unknown, name="t", layout="NCHW")(IMAGES)["logits"], expected
    )
    with pytest.raises(ValueError, match=r"has the shape \['batch', 3, 9, 9\]; the views are \[8"):
        from_onnx(images_session(("batch", 3, 9, 9)), name="t")(IMAGES)


def test_batches_of_a_fixed_size_and_dtypes():
    SEEN.clear()
    teacher = from_onnx(images_session((3, 3, 6, 6), kind="tensor(float16)"), name="t")
    assert teacher(IMAGES)["logits"].shape == (8, 5)
    assert [((3, 3, 6, 6), np.float16)] * 3 == SEEN
    quantized = from_onnx(images_session(kind="tensor(int32)"), name="t")
    with pytest.raises(TypeError, match=r"is tensor\(int32\), .* are float32: .*inputs="):
        quantized(IMAGES)


def test_outputs_by_name():
    names = ("scores", "pooled")
    assert set(from_onnx(images_session(outputs=names), name="t")(IMAGES)) == set(names)
    chosen = {"logits": "scores"}
    teacher = from_onnx(images_session(outputs=names), name="t", outputs=chosen)
    assert set(teacher(IMAGES)) == {"logits"}
    with pytest.raises(ValueError, match=r"no output \['logits'\]; it has \['scores', 'pooled'\]"):
        from_onnx(images_session(outputs=names), name="t", outputs={"logits": "logits"})

    def doubled(found):
        return {"logits": 2 * found["scores"]}

    teacher = from_onnx(images_session(outputs=names), name="t", outputs=doubled)
    assert set(teacher(IMAGES)) == {"logits"}


def test_graphs_of_several_inputs():
    def function(ids, mask):
        return {"logits": (ids * mask).astype(np.float32)}

    kinds = [node("ids", ["n", 4], "tensor(int64)"), node("mask", ["n", 4], "tensor(int64)")]
    session = Session(kinds, ["logits"], function)
    tokens = np.arange(8, dtype=np.int32).reshape(2, 4)
    both = from_onnx(session, name="t", inputs=lambda x: {"ids": x, "mask": x * 0 + 2})
    np.testing.assert_array_equal(both(tokens)["logits"], 2 * tokens)
    with pytest.raises(ValueError, match=r"inputs \['ids', 'mask'\], and one array is given"):
        from_onnx(session, name="t")(tokens)
    with pytest.raises(ValueError, match=r"not \['ids'\]: name them by inputs="):
        from_onnx(session, name="t")({"ids": tokens})


def test_what_is_no_graph_and_a_runtime_that_is_not_installed(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"from_onnx\(session, name='…'\)"):
        from_onnx(images_session())
    with pytest.raises(TypeError, match="onnxruntime.InferenceSession is wanted, not 3"):
        from_onnx(3, name="t")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "t.onnx").write_bytes(b"")
    with pytest.raises(ImportError, match=r"jaxkd-distill\[onnx\]"):
        from_onnx(tmp_path / "t.onnx")


def test_a_file_is_known_by_its_digest(tmp_path, monkeypatch):
    made = []

    def session(path, providers):
        made.append((path, providers))
        return images_session()

    fake = types.SimpleNamespace(
        InferenceSession=session,
        get_available_providers=lambda: ["AzureExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    (tmp_path / "t.onnx").write_bytes(b"one")
    one = from_onnx(str(tmp_path / "t.onnx")).fingerprint()
    assert made == [(str(tmp_path / "t.onnx"), ["CPUExecutionProvider"])]
    assert one["name"] == "t.onnx" and one["framework"] == "onnx"
    (tmp_path / "t.onnx").write_bytes(b"two")
    assert from_onnx(tmp_path / "t.onnx").fingerprint()["file"] != one["file"]
