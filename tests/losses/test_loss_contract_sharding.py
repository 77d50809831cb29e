"""Every loss on a batch that lies on eight devices."""

import jax
import numpy as np
import pytest
from contract import BATCH, entangled, entries
from contract_calls import assert_close, evaluated, quick
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tiers import few

DEVICES = 8


@pytest.fixture(scope="module")
def devices():
    devices = jax.devices("cpu")
    assert len(devices) >= DEVICES, "tests/conftest.py requests them before JAX starts"
    return devices[:DEVICES]


@few("kind", [AxisType.Explicit, AxisType.Auto], ids=["explicit", "auto"])
@entries(first=entangled)
def test_sharded_over_the_batch(entry, kind, devices):
    mesh = jax.make_mesh((DEVICES,), ("data",), (kind,), devices=devices)
    over_batch, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    inputs, where = entry.inputs(), np.arange(BATCH) != 2
    expected = evaluated(entry, inputs, where=where)
    with jax.set_mesh(mesh):
        placed = inputs._replace(
            **jax.device_put(dict(zip(inputs._fields[:3], inputs, strict=False)), over_batch),
            shared=jax.device_put(inputs.shared, everywhere),
        )
        value, gradient = quick(entry)(placed, {"where": jax.device_put(where, over_batch)})
    for leaf in jax.tree.leaves(gradient if entry.scalar else (value, gradient)):
        assert len(leaf.sharding.device_set) == DEVICES
        assert leaf.sharding.shard_shape(leaf.shape)[0] == BATCH // DEVICES
    assert_close(
        jax.device_get((value, gradient)), (expected.value, expected.gradient), entry.scale
    )
