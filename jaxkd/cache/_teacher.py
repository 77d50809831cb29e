"""The compiled program that computes a teacher's outputs and encodes them."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxkd.cache._contents import CacheContents
from jaxkd.cache._encode import encode_batch
from jaxkd.cache._foreign import make_foreign_fn
from jaxkd.networks import Network
from jaxkd.teachers import ForeignTeacher

TeacherFn = Callable[[dict[str, Any]], Any]
"""Raw batch → (`<output>.<array>` → encoded array, output → rows that cannot be stored, sketches).

The sketches are those of `encode_sketches`: few numbers, which one program computes with the rest.
"""


def make_teacher_fn(
    contents: CacheContents,
    sharding: jax.sharding.Sharding | None = None,
    *,
    records: bool = True,
) -> TeacherFn:
    """Compiles rendering, forward pass of the teacher, and encoding into one program.

    A foreign teacher runs between two programs, one that renders and one that encodes.

    Args:
      contents: the teacher, its data set and views, and the format of the records.
      sharding: where batches are put; None: on the default device.
      records: whether to encode the outputs; False: sketches alone, the others are None.

    Returns:
      A function that computes the encoded outputs of the teacher for a batch of examples.
    """
    network = contents.teacher
    if isinstance(network, ForeignTeacher):
        return make_foreign_fn(contents, records)
    assert isinstance(network, Network)

    def encoded_outputs(params: Any, state: Any, batch: Any) -> Any:
        token_mask = batch.pop("token_mask", None)
        inputs = contents.views.render(batch)["inputs"]
        outputs = network.apply(params, state, inputs)[0]
        return encode_batch(
            outputs, batch, token_mask, record_format=contents.record_format, records=records
        )

    def with_token_mask(batch: dict[str, Any]) -> dict[str, Any]:
        mask = contents.dataset.token_mask(batch["id"])
        return batch if mask is None else {**batch, "token_mask": mask}

    # Arguments rather than constants, which the compiler would copy into the program.
    variables = network.params, network.state
    if not isinstance(sharding, NamedSharding):
        compiled = jax.jit(encoded_outputs)

        def on_one_device(batch: dict[str, Any]) -> Any:
            batch = with_token_mask(batch)
            return compiled(
                *variables, batch if sharding is None else jax.device_put(batch, sharding)
            )

        return on_one_device
    mesh, replicated = sharding.mesh, PartitionSpec()
    assert isinstance(mesh, Mesh)
    # The result is small and goes to the host, so every device may have a copy of it.
    if mesh.explicit_axes:
        # Networks are written without regard to a mesh.
        sharded = jax.jit(jax.sharding.auto_axes(encoded_outputs, out_sharding=replicated))
    else:
        sharded = jax.jit(encoded_outputs, out_shardings=NamedSharding(mesh, replicated))

    def on_mesh(batch: dict[str, Any]) -> Any:
        # Each process hands over its own shards only: the batch is the same in all of them.
        placed = jax.tree.map(
            lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__),
            with_token_mask(batch),
        )
        with jax.set_mesh(mesh):
            return sharded(*variables, placed)

    return on_mesh
