import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import Views, models, views
from jaxkd.compression import calibrate
from jaxkd.data import Dataset, Loader


def _mlp():
    return models.MLP(4, (8,), 3, rngs=nnx.Rngs(0))


def test_the_ranges_are_those_of_the_inputs_over_all_batches():
    model = _mlp()
    batches = [jax.random.normal(jax.random.key(seed), (64, 4)) for seed in range(3)]
    everything = jnp.concatenate(batches)
    hidden = nnx.relu(model.layers[0](everything))
    ranges = calibrate(model, batches)
    assert all(type(value) is float for value in ranges.values())
    np.testing.assert_allclose(ranges["layers.0"], jnp.max(jnp.abs(everything)), rtol=1e-6)
    np.testing.assert_allclose(ranges["head"], jnp.max(hidden), rtol=1e-5)


def test_a_percentile_gives_up_outliers():
    inputs = jnp.ones((128, 4)).at[0, 0].set(100.0)
    assert calibrate(_mlp(), [inputs])["layers.0"] == 100.0
    assert calibrate(_mlp(), [inputs], percentile=99.0)["layers.0"] == 1.0


def test_a_layer_called_twice_has_the_larger_range():
    class Twice(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.layer(x) + self.layer(10 * x)

    assert calibrate(Twice(), [jnp.ones((128, 2))]) == {"layer": 10.0}


def test_views_of_a_loader_calibrate():
    images = np.random.default_rng(0).integers(0, 256, (64, 2, 2, 1), np.uint8)
    labels = np.zeros(64, np.int32)
    data = Dataset.from_arrays(images, labels, name="noise", split="train", num_classes=3)
    seen = Views((views.Normalize(mean=(0.0,), std=(0.5,)),))
    loader = Loader(data, seen, 32)
    batches = (seen.render(loader[step])["inputs"] for step in range(4))
    ranges = calibrate(_mlp(), batches)
    np.testing.assert_allclose(ranges["layers.0"], 2 * float(images.max()) / 255, rtol=1e-5)


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([jnp.ones((5, 4))] * 2, {}, "saw 10 examples, and at least 128 are needed"),
        ([], {}, "saw 0 examples"),
        ([jnp.ones((64, 4)), jnp.ones((64, 5))], {}, r"batch 1 has float32\[batch, 5\] where "),
        (
            [jnp.ones((128, 2, 2), jnp.int32)],
            {"like": jax.ShapeDtypeStruct((1, 2, 2), jnp.float32)},
            r"batch 0 has int32\[batch, 2, 2\] where float32\[batch, 2, 2\] was expected",
        ),
        ([{"inputs": jnp.ones((128, 4))}], {}, r"not dict: .*views.render\(batch\)\['inputs'\]"),
        ([jnp.full((128, 4), jnp.nan)], {}, "are not finite in calibration batch 0"),
        (
            [jnp.ones((128, 4)), jnp.ones((128, 4)).at[0, 0].set(-jnp.inf)],
            {"percentile": 99.0},
            "inputs of .* are not finite in calibration batch 1",
        ),
        ([jnp.ones((128, 4))], {"percentile": 0}, "percentile must be above 0 .* not 0"),
        ([jnp.ones((128, 4))], {"percentile": 101}, "percentile .* at most 100, not 101"),
    ],
)
def test_what_does_not_calibrate_is_refused(batches, options, message):
    with pytest.raises(ValueError, match=message):
        calibrate(_mlp(), batches, **options)
