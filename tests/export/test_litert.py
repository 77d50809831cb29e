import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_images, small_network
from exported_networks import texts_with_masks
from flax import nnx

import jaxkd
from jaxkd import compression
from jaxkd.export import ExportError, _litert, edge, export
from jaxkd.models import Encoder

pytest.importorskip("litert_converter")
Interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter

IMAGES = random_images()


def test_images_as_they_are_and_int8_weights(tmp_path, capsys):
    pytest.importorskip("litert_quantizer")
    network = small_network(1, width=8)
    done = export(
        tmp_path / "x",
        network,
        IMAGES.inputs[:60],
        labels=IMAGES.labels[:60],
        formats=["litert", "litert_int8"],
        preprocess=lambda images: images.astype(jnp.float32) / 255,
        int8_agreement=0.8,  # of random weights, whose classes lie close together
    )
    assert done.checks["litert"].agreement == 1 and done.checks["litert"].largest <= 1e-4
    assert done.checks["litert_int8"].agreement >= 0.8
    assert done.files["litert_int8"].name == "model_int8.tflite"
    assert {"ai-edge-litert", "litert-converter"} <= set(done.card["versions"])
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, IMAGES.inputs[:60])
    assert edge.main([str(done.files["litert"]), str(inputs), "--repeats=2"]) == 0
    printed = capsys.readouterr().out
    assert "ai-edge-litert 2" in printed and "latency at batch 1: median" in printed


def test_int8_that_disagrees_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("litert_quantizer")
    function = jaxkd.export._programs.forward(small_network(2))
    like = jax.ShapeDtypeStruct((8, 8, 1), jnp.float32)
    other = _litert.convert(_litert.program(function, like, 1), ["inputs"])
    monkeypatch.setattr(_litert, "quantize", lambda program: other)
    inputs = (IMAGES.inputs / 255).astype(np.float32)
    with pytest.raises(ExportError, match=r"agree in .*%; allowed: an agreement of at least 99.5"):
        export(tmp_path / "x", small_network(1), inputs, formats=["litert_int8"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trained", ["fake", "deployed", "fixed ranges"])
def test_a_network_trained_for_int8_keeps_its_int8_weights(tmp_path, trained):
    pytest.importorskip("litert_quantizer")
    pytest.importorskip("qwix")
    rngs = nnx.Rngs(0)
    layers = nnx.Conv(1, 64, (3, 3), rngs=rngs), nnx.relu, lambda x: x.mean((1, 2))
    model = nnx.Sequential(*layers, nnx.Linear(64, 40, rngs=rngs))
    inputs = (IMAGES.inputs[:40] / 255).astype(np.float32)
    every = (IMAGES.inputs / 255).astype(np.float32)
    ranges = compression.calibrate(model, [every]) if trained == "fixed ranges" else None
    fake = compression.fake_quantize(model, ranges=ranges)
    deployed = compression.from_fake_quantized(fake)
    network = jaxkd.from_nnx(fake if trained == "fake" else deployed)
    options = {"formats": ["litert_int8"], "int8_agreement": 0.8}
    done = export(tmp_path / "x", network, inputs, **options)
    interpreter = Interpreter(model_path=str(done.files["litert_int8"]))
    interpreter.allocate_tensors()
    details = interpreter.get_tensor_details()
    (kernel,) = (x["index"] for x in details if x["dtype"] == np.int8 and x["shape"].size == 2)
    # Qwix takes -128, too, which LiteRT does not have.
    wanted = np.maximum(np.asarray(deployed.layers[3].kernel[...]).T, -127)
    np.testing.assert_array_equal(interpreter.get_tensor(kernel), wanted)


def test_inputs_by_name(tmp_path, capsys):
    network, inputs = texts_with_masks()
    options = {"formats": ["litert", "stablehlo"], "litert_batch": 2}
    done = export(tmp_path / "x", network, inputs, **options)
    np.savez(
        tmp_path / "inputs.npz",
        **{"text.tokens": inputs["text"]["tokens"]} | {"mask": inputs["mask"]},
    )
    files = [str(done.files["litert"]), str(tmp_path / "inputs.npz"), "--repeats=2"]
    assert edge.main(files) == 0 and "latency at batch 2" in capsys.readouterr().out


def test_an_encoder_at_any_batch(tmp_path):
    network = jaxkd.from_nnx(Encoder(50, 16, 1, 2, num_classes=3, rngs=nnx.Rngs(0)))
    tokens = np.random.default_rng(0).integers(0, 50, (7, 6)).astype(np.int32)
    tokens[:, 0] = 1  # no text is all padding
    done = export(tmp_path / "x", network, tokens, formats=["litert"], litert_batch=None)
    runner = edge.load(done.files["litert"])
    assert runner.batch is None
    wanted = jax.jit(lambda tokens: network(tokens)["logits"])(tokens)
    for size in (1, 3, 7):
        np.testing.assert_allclose(runner.run(tokens[:size]), wanted[:size], atol=1e-5)


@pytest.mark.parametrize("batch", [1, None])
def test_average_pooling(batch):
    images = np.random.default_rng(0).normal(size=(1, 7, 6, 3)).astype(np.float32)

    def pooled(x):
        sides = ((1, 1), (1, 0))
        padded = nnx.avg_pool(x, (3, 2), (2, 1), sides)
        inside = nnx.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False)
        return jnp.concatenate([padded.mean((1, 2)), inside.mean((1, 2))], -1)

    like = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
    program = _litert.convert(_litert.program(pooled, like, batch), ["inputs"])
    interpreter = Interpreter(model_content=program)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, pooled(jnp.asarray(images)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("stablehlo.fft", lambda x: jnp.abs(jnp.fft.fft(x))),
        (r"stablehlo.sort\.", lambda x: jnp.sort(x, -1)),
        ("stablehlo.custom_call .*potrf", lambda x: jnp.linalg.cholesky(x.T @ x + jnp.eye(4))),
        ("tfl.while", lambda x: jax.lax.scan(lambda c, _: (jnp.tanh(c), None), x, length=3)[0]),
        ("tfl.right_shift .*ui64", lambda x: x + jax.random.normal(jax.random.key(0), (1, 4))),
    ],
)
def test_what_litert_does_not_have_is_named(tmp_path, name, function):
    network = jaxkd.from_function(lambda params, x: function(x @ params), jnp.ones((4, 4)))
    inputs = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    with pytest.raises(ExportError, match=f"cannot run a part of the network: {name}"):
        export(tmp_path / "x", network, inputs, formats=["litert"])
    assert list(tmp_path.iterdir()) == []


def test_int8_has_one_batch_size(tmp_path):
    with pytest.raises(ValueError, match="litert_int8 is made for one batch size"):
        export(
            tmp_path / "x",
            small_network(1),
            IMAGES.inputs,
            formats=["litert_int8"],
            litert_batch=None,
        )
