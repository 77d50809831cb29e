import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import models
from jaxkd.compression import (
    choose_ranks,
    count_parameters,
    describe_factorization,
    factorize,
    flops,
)

IMAGES = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
TOKENS = jax.random.randint(jax.random.key(1), (4, 7), 1, 32)


def _make(seed=0):
    return models.CNN((8, 8, 3), (8, 16), 32, 5, rngs=nnx.Rngs(seed))


@functools.cache  # Nothing changes a module that it is given.
def _cnn():
    return nnx.jit(_make)()


class _Grouped(nnx.Module):
    """A dense convolution, a depthwise one and a 1×1 one."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.stem = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.depthwise = nnx.Conv(16, 16, (3, 3), feature_group_count=16, rngs=rngs)
        self.project = nnx.Conv(16, 8, (1, 1), rngs=rngs)


def _logits(model, inputs):
    return jax.jit(jaxkd.from_nnx(model))(inputs)["logits"]


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@few(
    ("make", "inputs"),
    [
        (_cnn, IMAGES),
        (nnx.jit(lambda: models.ResNet(8, 3, 5, widths=(4, 4, 8), rngs=nnx.Rngs(0))), IMAGES),
        (nnx.jit(lambda: models.Encoder(32, 16, 1, 2, num_classes=5, rngs=nnx.Rngs(0))), TOKENS),
    ],
    ids=["cnn", "resnet", "encoder"],
)
def test_full_rank_reproduces_the_outputs(make, inputs, scheme):
    model = make()
    full = {}
    for path, layer in nnx.iter_modules(model):
        if type(layer) in (nnx.Linear, nnx.Conv):
            *size, before, after = layer.kernel.shape
            sides = math.prod(size) * before, after
            if scheme == "spatial" and size:
                sides = size[0] * before, size[1] * after
            full[".".join(map(str, path))] = min(sides)
    whole = factorize(model, full, scheme=scheme)
    wanted = _logits(model, inputs)
    tolerance = 1e-5 * max(1.0, float(jnp.max(jnp.abs(wanted))))
    np.testing.assert_allclose(_logits(whole, inputs), wanted, atol=tolerance)


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@few(
    "options",
    [
        {"strides": 2, "padding": "VALID"},
        {"strides": (1, 2), "padding": 1},
        {"padding": [(1, 0), (2, 1)], "kernel_dilation": (1, 2)},
        {"padding": "CIRCULAR", "use_bias": False},
        {"input_dilation": 2, "padding": 1},
    ],
    ids=str,
    keep=3,
)
def test_a_convolution_keeps_what_it_does_in_space(options, scheme):
    layer = nnx.Conv(3, 6, (3, 2), bias_init=nnx.initializers.ones, rngs=nnx.Rngs(0), **options)
    rank = {"channel": 6, "spatial": 9}[scheme]  # of 18×6 and 9×12
    np.testing.assert_allclose(
        factorize(layer, {"": rank}, scheme=scheme)(IMAGES), layer(IMAGES), atol=1e-5
    )


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
def test_the_error_is_that_of_the_discarded_singular_values(scheme):
    layer = nnx.Conv(4, 6, (3, 3), use_bias=False, rngs=nnx.Rngs(0))
    kernel = np.asarray(layer.kernel[...])
    matrix = kernel.reshape(36, 6)
    if scheme == "spatial":
        matrix = kernel.transpose(0, 2, 1, 3).reshape(12, 18)
    values = np.linalg.svd(matrix, compute_uv=False)
    first, second = factorize(layer, {"": 2}, scheme=scheme).layers
    a, b = np.asarray(first.kernel[...]), np.asarray(second.kernel[...])
    made = (
        np.einsum("hwir,uvro->hwio", a, b)
        if scheme == "channel"
        else np.einsum("huir,vwro->hwio", a, b)
    )
    discarded = np.sqrt(np.square(kernel - made).sum())
    np.testing.assert_allclose(discarded, np.sqrt(np.square(values[2:]).sum()), rtol=1e-4)
    table = describe_factorization(layer, {"": 2}, scheme=scheme)[""]
    np.testing.assert_allclose(table.error, discarded / np.linalg.norm(kernel), rtol=1e-4)
    assert table.factored_parameters == a.size + b.size
    assert table.parameters == kernel.size
    # The two share the singular values evenly, so that both learn alike.
    np.testing.assert_allclose(np.linalg.norm(a), np.linalg.norm(b), rtol=1e-4)


def test_parameters_and_flops_fall_as_counted_by_hand():
    model = models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
    thin = factorize(model, {"layers.0": 8})
    dense, factored = jaxkd.from_nnx(model), jaxkd.from_nnx(thin)
    saved = 64 * 64 - 8 * 128
    assert count_parameters(factored.params) == count_parameters(dense.params) - saved
    inputs = jnp.ones((2, 64))
    assert flops(factored, inputs) == flops(dense, inputs) - 2 * saved


def test_ranks_by_number_share_and_energy():
    model = nnx.Sequential(*(nnx.Linear(16, 16, rngs=nnx.Rngs(0)) for _ in range(2)))
    values = jnp.diag(jnp.array([2.0, 1.0, 1.0] + [0.0] * 13))
    model.layers[0].kernel = nnx.Param(values)
    both = ["layers.0", "layers.1"]
    assert choose_ranks(model, rank=7) == dict.fromkeys(both, 7)
    assert choose_ranks(model, rank=0.25) == dict.fromkeys(both, 4)
    assert choose_ranks(model, rank=0.01) == dict.fromkeys(both, 1)
    energies = {0.6: 1, 0.7: 2, 0.9: 3}  # of 4 + 1 + 1
    for energy, rank in energies.items():
        assert choose_ranks(model, energy=energy)["layers.0"] == rank
    only = choose_ranks(model, rank=2, where=lambda path, layer: path.endswith("1"))
    assert only == {"layers.1": 2}


def test_layers_that_would_grow_and_grouped_ones_stay_whole():
    model = _Grouped()
    ranks = choose_ranks(model, rank=0.25)
    assert ranks == {"project": 2, "stem": 4}
    assert choose_ranks(model, rank=6) == {"stem": 6}
    table = describe_factorization(model, ranks)
    assert list(table) == list(ranks)
    assert all(row.factored_parameters < row.parameters for row in table.values())
    thin = factorize(model, ranks)
    assert thin.stem.layers[1].kernel.shape == (1, 1, ranks["stem"], 16)


def test_a_fresh_module_takes_saved_weights_by_the_plan(tmp_path):
    model = _cnn()
    ranks = choose_ranks(model, energy=0.5)
    network = jaxkd.from_nnx(factorize(model, ranks))
    jaxkd.weights.save(network, tmp_path / "thin.npz")
    plan = json.loads(json.dumps(ranks))
    fresh = jaxkd.from_nnx(nnx.eval_shape(lambda: factorize(_make(3), plan)))
    loaded, _ = jaxkd.weights.load(fresh, tmp_path / "thin.npz")
    np.testing.assert_array_equal(loaded(IMAGES)["logits"], network(IMAGES)["logits"])
    assert loaded.fingerprint()["architecture"] == network.fingerprint()["architecture"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either rank or energy, not rank=None and energy=None"),
        ({"rank": 2, "energy": 0.5}, "not rank=2 and energy=0.5"),
        ({"energy": 1.0}, "energy is a share above 0 and below 1, not 1.0"),
        ({"rank": 0}, "rank is an integer of at least 1 or a share .* not 0"),
        ({"rank": 1.0}, "not 1.0"),
        ({"rank": True}, "not True"),
        ({"rank": 500}, "no layer would get smaller .*rank 500 of 27×8"),
        ({"rank": 2, "scheme": "cp"}, "scheme must be one of .* not 'cp'"),
    ],
)
def test_silly_ranks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        choose_ranks(_cnn(), **options)


@pytest.mark.parametrize(
    ("ranks", "options", "message"),
    [
        ({}, {}, "no layers cannot be factorized"),
        ({"tail": 2}, {}, r"\['tail'\] cannot be factorized .*'convs.0'"),
        ({"head": 0}, {}, "rank of 'head' must be between 1 and 5, not 0"),
        ({"head": 6}, {}, "rank of 'head' must be between 1 and 5, not 6"),
        ({"head": 2}, {"scheme": "cp"}, "scheme must be one of"),
    ],
)
@pytest.mark.parametrize("function", [factorize, describe_factorization])
def test_plans_that_do_not_fit_are_refused(function, ranks, options, message):
    with pytest.raises(ValueError, match=message):
        function(_cnn(), ranks, **options)


def test_a_grouped_convolution_cannot_be_named():
    layer = nnx.Conv(4, 4, (3, 3), feature_group_count=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="cannot be factorized"):
        factorize(nnx.Sequential(layer), {"layers.0": 1})
