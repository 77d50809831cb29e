import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.compression import drop_layers


def _mlp():
    return models.MLP(4, (4, 4, 4), 3, rngs=nnx.Rngs(0))


def test_the_rest_keeps_its_weights_and_its_order():
    model, inputs = _mlp(), jnp.arange(8.0).reshape(2, 4)
    small, kept = drop_layers(model, inputs, {"layers": [2, 0]})
    assert kept == {"layers": [0, 2]} and len(model.layers) == 3
    hidden = nnx.relu(model.layers[2](nnx.relu(model.layers[0](inputs))))
    np.testing.assert_allclose(small(inputs)[0], model.head(hidden), rtol=1e-6)


def test_a_number_of_layers_is_spread_evenly_and_nested_lists_are_found():
    make = lambda: models.ResNet(20, 3, 5, widths=(4, 6, 8), rngs=nnx.Rngs(0))  # noqa: E731
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    small, kept = drop_layers(nnx.eval_shape(make), images, {"stages.0": 2, "stages.2": [0]})
    assert kept == {"stages.0": [0, 2], "stages.2": [0]}
    assert [len(stage) for stage in small.stages] == [2, 3, 1]
    paths = jaxkd.from_nnx(small).params
    assert "stages.0.1.conv1.kernel" in paths and "stages.2.1.conv1.kernel" not in paths


def test_lists_within_lists_are_shortened_by_the_paths_of_the_whole():
    make = lambda: models.ResNet(20, 3, 5, widths=(4, 6, 8), rngs=nnx.Rngs(0))  # noqa: E731
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    keep = {"stages": [0, 1, 2], "stages.0": 2, "stages.1": [0]}
    small, kept = drop_layers(nnx.eval_shape(make), images, keep)
    assert kept == {"stages": [0, 1, 2], "stages.0": [0, 2], "stages.1": [0]}
    assert [len(stage) for stage in small.stages] == [2, 1, 3]
    again, _ = drop_layers(nnx.eval_shape(make), images, kept)
    assert [len(stage) for stage in again.stages] == [2, 1, 3]
    with pytest.raises(ValueError, match=r"layers of stages.0 are .* stages keeps \[1, 2\] alone"):
        drop_layers(nnx.eval_shape(make), images, {"stages": [1, 2], "stages.0": 2})


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"blocks": 2}, r"'blocks' is no list of layers; there are \['layers'\]"),
        ({"layers": [0, 3]}, r"layers 0 to 2; \[0, 3\] are to stay"),
        ({"layers": []}, r"\[\] are to stay"),
        ({"layers": 4}, "4 layers cannot be chosen from 3"),
    ],
)
def test_invalid_arguments_are_refused(keep, message):
    with pytest.raises(ValueError, match=message):
        drop_layers(_mlp(), jnp.ones((2, 4)), keep)


def test_a_layer_that_changes_the_width_cannot_go():
    model = models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="does not run with the layers"):
        drop_layers(model, jnp.ones((2, 4)), {"layers": [1]})
