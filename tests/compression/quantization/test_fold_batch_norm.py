import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.compression import fold_batch_norm
from jaxkd.models._layers import batch_norm
from jaxkd.models.mobilenet_v2_cifar import _Inverted

IMAGES = jax.random.normal(jax.random.key(0), (4, 8, 8, 4))


def _with_statistics(model):
    """As after training: nothing is 0 or 1."""
    for number, (_, norm) in enumerate(nnx.iter_modules(model)):
        if isinstance(norm, nnx.BatchNorm):
            for name, low in (("mean", -0.5), ("var", 0.5), ("scale", 0.5), ("bias", -0.5)):
                variable = getattr(norm, name)
                if variable is not None:
                    key = jax.random.fold_in(jax.random.key(number), len(name))
                    value = jax.random.uniform(key, variable.shape, minval=low) + low / 2
                    variable[...] = value.astype(variable.dtype)
    return model


def _norms(model):
    return [path for path, module in nnx.iter_modules(model) if isinstance(module, nnx.BatchNorm)]


@pytest.mark.parametrize(
    "make",
    [
        nnx.jit(lambda: models.ResNet(8, 4, 5, widths=(4, 4, 8), rngs=nnx.Rngs(0))),
        nnx.jit(lambda: _Inverted(4, 4, 2, 1, norm=batch_norm, rngs=nnx.Rngs(0))),
    ],
    ids=["resnet", "inverted"],
)
def test_folded_networks_compute_the_same_without_a_normalization(make):
    model = _with_statistics(make())
    folded = fold_batch_norm(model, IMAGES)
    assert _norms(model) and not _norms(folded)
    assert not jaxkd.from_nnx(folded).state
    before, after = (jax.jit(jaxkd.from_nnx(m))(IMAGES) for m in (model, folded))
    assert before.keys() == after.keys()
    for name in before:
        scale = float(jnp.max(jnp.abs(before[name])))
        np.testing.assert_allclose(after[name], before[name], atol=1e-5 * scale, err_msg=name)


def test_a_normalization_of_a_dense_layer_with_bias_and_without_scale_is_folded():
    rngs = nnx.Rngs(0)
    model = _with_statistics(
        nnx.Sequential(
            nnx.Linear(3, 4, bias_init=nnx.initializers.ones, rngs=rngs),
            nnx.BatchNorm(4, use_scale=False, use_bias=False, rngs=rngs),
        )
    )
    inputs = jax.random.normal(jax.random.key(0), (5, 3))
    folded = fold_batch_norm(model, inputs)
    assert not _norms(folded)
    wanted = jaxkd.from_nnx(model)(inputs)["logits"]
    np.testing.assert_allclose(folded(inputs), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("params", [jnp.float32, jnp.bfloat16])
def test_half_precision_is_folded(params):
    options = {"dtype": jnp.bfloat16, "param_dtype": params, "rngs": nnx.Rngs(0)}
    model = _with_statistics(
        nnx.Sequential(
            nnx.Conv(4, 8, (3, 3), **options), nnx.BatchNorm(8, **options), nnx.relu,
            nnx.Conv(8, 4, (3, 3), **options), nnx.BatchNorm(4, **options),
        )
    )  # fmt: skip
    folded = fold_batch_norm(model, IMAGES)
    assert len(_norms(model)) == 2 and not _norms(folded)
    layer = folded.layers[0]
    assert layer.kernel.dtype == layer.bias.dtype == params and layer.dtype == jnp.bfloat16
    before, after = (jaxkd.from_nnx(m)(IMAGES)["logits"] for m in (model, folded))
    assert after.dtype == before.dtype
    scale = float(jnp.max(jnp.abs(before)))
    np.testing.assert_allclose(np.float32(after), np.float32(before), atol=0.03 * scale)


def test_a_normalization_after_something_else_stays():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Linear(3, 4, rngs=rngs), nnx.relu, nnx.BatchNorm(4, rngs=rngs))
    assert len(_norms(fold_batch_norm(model, jnp.ones((2, 3))))) == 1


def test_a_shared_layer_with_two_normalizations_stays():
    class Shared(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.layer = nnx.Linear(3, 3, rngs=rngs)
            self.norm1, self.norm2 = nnx.BatchNorm(3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)

        def __call__(self, x):
            return self.norm2(self.layer(self.norm1(self.layer(x))))

    assert len(_norms(fold_batch_norm(Shared(), jnp.ones((2, 3))))) == 2


def test_outputs_with_other_uses_are_refused_by_name():
    class Both(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.first, self.second = nnx.Linear(3, 3, rngs=rngs), nnx.Linear(3, 3, rngs=rngs)
            self.norm1, self.norm2 = nnx.BatchNorm(3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)

        def __call__(self, x):
            y = self.norm1(self.first(x))
            z = self.second(y)
            return self.norm2(z) + z

    with pytest.raises(ValueError, match=r"outputs of \['second'\] are normalized and used else"):
        fold_batch_norm(Both(), jnp.ones((2, 3)))
