import jax
import numpy as np
import pytest
from flax import nnx

from jaxkd import compression

pytest.importorskip("qwix")


@pytest.mark.parametrize("make", [nnx.Linear, lambda *n, rngs: nnx.Conv(*n, (1,), rngs=rngs)])
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_quantized_layers_compute_in_floating_point_within_the_context(make, weights):
    layer = nnx.Sequential(make(6, 5, rngs=nnx.Rngs(0)))
    inputs = 2 * jax.random.normal(jax.random.key(1), (3, 4, 6))
    fake = compression.fake_quantize(layer, weights=weights, ranges={"layers.0": 1.0})
    fake.eval()
    small = compression.from_fake_quantized(fake)
    kernel = np.asarray(small.layers[0].kernel[...], np.float32)
    values = np.maximum(kernel, -127) * np.asarray(small.layers[0].kernel_scale[...])
    wanted = np.clip(inputs, -1, 1) @ values.reshape(6, 5)
    for model in (fake, small):
        call = nnx.jit(lambda model, x: model(x))
        rounded = call(model, inputs)
        with compression.floating_layers():
            np.testing.assert_allclose(call(model, inputs), wanted, atol=1e-5)
        assert abs(np.asarray(rounded) - wanted).max() > 1e-4
        np.testing.assert_array_equal(call(model, inputs), rounded)
