"""Meshes of devices."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

AXES = ("data", "fsdp", "model")


def make_mesh(
    *,
    data: int = -1,
    fsdp: int = 1,
    model: int = 1,
    explicit: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Makes a mesh with the axes `data`, `fsdp` and `model`.

    A batch is spread over `data` and `fsdp`; parameters are spread over `fsdp` (each device keeps a
    part and gathers the rest when it needs it) and `model` (each device computes a part).

    Args:
      data: number of devices along the axis; -1, in one of the three, for as many as are left.
      fsdp: number of devices along the axis, or -1.
      model: number of devices along the axis, or -1.
      explicit: whether axes are of JAX's Explicit type, for code that goes on with sharded types;
        a `TrainStep` runs on both alike.
      devices: the devices, by default all, those of other processes too.

    Returns:
      A `jax.sharding.Mesh`.

    Raises:
      ValueError: sizes whose product is not the number of devices.

    Example:
      >>> make_mesh(devices=jax.devices()[:1]).axis_names
      ('data', 'fsdp', 'model')
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = dict(zip(AXES, (data, fsdp, model), strict=True))
    free = [name for name, size in sizes.items() if size == -1]
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    bad = len(free) > 1 or any(size < 1 for size in sizes.values() if size != -1)
    if not bad and free:
        sizes[free[0]] = len(devices) // known
        known *= sizes[free[0]]
    if bad or known != len(devices):
        axes = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(
            f"{len(devices)} devices cannot be arranged as {axes}: the product must be their "
            "number, and one of the three may be -1"
        )
    kind = AxisType.Explicit if explicit else AxisType.Auto
    shape = tuple(sizes[name] for name in AXES)
    try:
        return jax.make_mesh(shape, AXES, (kind,) * 3, devices=devices)
    except NotImplementedError:
        # A small axis on a large torus takes a part of one of its physical axes.
        arranged = mesh_utils.create_device_mesh(
            shape, list(devices), allow_split_physical_axes=True
        )
        return Mesh(arranged, AXES, axis_types=(kind,) * 3)
