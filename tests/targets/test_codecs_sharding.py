"""Codecs on batches that lie on eight devices."""

import functools

import jax
import numpy as np
import pytest
from codec_calls import QUICK
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tiers import few

from jaxkd import losses
from jaxkd.targets import Dense, Pooled, Sampled, TopK, TopP

DEVICES, BATCH = 8, 16
CASES = [
    (Dense("int8"), (30,)),
    (Pooled((2, 2)), (5, 4, 3)),
    (TopK(5, values="int8", label=True), (70_000,)),
    (TopP(0.9, 8), (2, 30)),
    (Sampled(6), (2, 300)),
]


def encoded_and_decoded(codec, values, wants):
    arrays = codec.encode(values, **wants)
    decoded = codec.decode(arrays, values.shape[1:])
    is_logits = not isinstance(codec, Pooled)
    taught = losses.kl_divergence(values[::-1], decoded) if is_logits else ()
    return arrays, codec.invalid_rows(values), decoded, taught


@functools.cache
def compiled(codec):
    call = functools.partial(encoded_and_decoded, codec)
    return jax.jit(call, compiler_options=QUICK)


@few("kind", [AxisType.Explicit, AxisType.Auto], ids=["explicit", "auto"])
@pytest.mark.parametrize(("codec", "shape"), CASES, ids=str)
def test_sharded_over_the_batch(codec, shape, kind):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(BATCH, *shape)).astype(np.float32)
    wants = {
        "labels": generator.integers(0, shape[-1], (BATCH, *shape[:-1])),
        "keys": jax.random.split(jax.random.key(0), BATCH),
    }
    wants = {name: wants[name] for name in codec.needs}

    expected = compiled(codec)(values, wants)
    mesh = jax.make_mesh((DEVICES,), ("data",), (kind,), devices=jax.devices("cpu")[:DEVICES])
    over_batch = NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        sharded = compiled(codec)(*jax.device_put((values, wants), over_batch))
    for leaf in jax.tree.leaves(sharded[:3]):
        assert leaf.sharding.shard_shape(leaf.shape)[0] == BATCH // DEVICES
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        jax.device_get(sharded),
        expected,
    )
