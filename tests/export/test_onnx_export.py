"""Files for ONNX; the extra onnx-export needs an environment of its own, others skip this."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_images, small_network
from exported_networks import texts_with_masks
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.export import ExportError, _onnx, edge, export
from jaxkd.ops import max_pool

pytest.importorskip("jax2onnx")
pytest.importorskip("onnxruntime")

IMAGES = random_images()


def test_images_at_any_batch_and_at_one(tmp_path, capsys):
    network = small_network(1)
    given = {"labels": IMAGES.labels, "preprocess": lambda x: x.astype(jnp.float32) / 255}
    done = export(tmp_path / "x", network, IMAGES.inputs, formats=["onnx"], **given)
    assert done.checks["onnx"].agreement == 1 and done.checks["onnx"].largest <= 1e-4
    assert {"jax2onnx", "onnxruntime"} <= set(done.card["versions"])
    runner = edge.load(done.files["onnx"], threads=2)
    assert (runner.batch, runner.shape, runner.dtype) == (None, (8, 8, 1), np.uint8)
    wanted = network((IMAGES.inputs[:5] / 255).astype(np.float32))["logits"]
    for size in (1, 3, 5):
        np.testing.assert_allclose(runner.run(IMAGES.inputs[:size]), wanted[:size], atol=1e-5)
    np.save(tmp_path / "inputs.npy", IMAGES.inputs)
    assert edge.main([str(done.files["onnx"]), str(tmp_path / "inputs.npy"), "--repeats=2"]) == 0
    printed = capsys.readouterr().out
    assert "onnxruntime 1" in printed and "latency at batch 1: median" in printed
    few = export(
        tmp_path / "y",
        network,
        IMAGES.inputs[:5],
        formats=["onnx"],
        onnx_batch=2,
        preprocess=given["preprocess"],
    )
    assert edge.load(few.files["onnx"]).batch == 2 and few.checks["onnx"].examples == 5


def test_inputs_by_name(tmp_path):
    network, inputs = texts_with_masks()
    done = export(tmp_path / "x", network, inputs, formats=["onnx"])
    runner = edge.load(done.files["onnx"])
    assert runner.shape == {"mask": (5,), "text.tokens": (5,)} and runner.batch is None


@pytest.mark.parametrize("padding", [0, 1])
def test_max_pooling(padding):
    images = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
    agrees(lambda x: max_pool(x, 3, 2, padding=padding), images)
    agrees(lambda x: nnx.max_pool(x, (2, 3), (2, 1), "SAME"), images)


@pytest.mark.slow
def test_residual_blocks_and_convolutions_of_all_kinds(tmp_path):
    for name in ("resnet8x4", "mobilenet_v2_cifar", "shufflenet_v1_cifar", "wrn_16_1"):
        create = models.create(name, num_classes=5, image_size=32, rngs=nnx.Rngs(0))
        inputs = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
        export(tmp_path / name, jaxkd.from_nnx(create), inputs, formats=["onnx"])


def test_rules_of_differentiation_have_no_part_in_it():
    @jax.custom_vjp
    def doubled(x):
        return 2 * jax.checkpoint(jnp.tanh)(x)

    doubled.defvjp(lambda x: (doubled(x), None), lambda _, g: (g,))
    agrees(lambda x: jax.jit(doubled)(x).sum(-1, keepdims=True), np.ones((2, 3), np.float32))


def agrees(function, inputs):
    """Compares a function with its file, in this process."""
    import onnxruntime

    like = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    session = onnxruntime.InferenceSession(_onnx.convert(function, like, None))
    (found,) = session.run(None, {"inputs": inputs})
    np.testing.assert_allclose(found, function(jnp.asarray(inputs)), atol=1e-6)


def test_what_cannot_be_converted_is_refused(tmp_path):
    network = jaxkd.from_function(lambda p, x: jnp.linalg.eigvals(x @ p).real, jnp.ones((4, 4)))
    inputs = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    with pytest.raises(ExportError, match="cannot be converted to ONNX|is not the network|run"):
        export(tmp_path / "x", network, inputs, formats=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_refused(tmp_path, monkeypatch):
    honest = _onnx.convert
    monkeypatch.setattr(
        _onnx, "convert", lambda f, *given: honest(lambda x: f(x) + jnp.arange(3.0), *given)
    )
    network = jaxkd.from_nnx(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(ExportError, match=r"model\.onnx is not the network: .* difference of a"):
        export(tmp_path / "x", network, np.ones((2, 4), np.float32), formats=["onnx"])
    assert list(tmp_path.iterdir()) == []
