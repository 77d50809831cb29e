"""How far a batch's statistics are from those that a network tracks, whatever its layers.

In training mode a layer that tracks a running statistic goes on from `old` to
`momentum · old + (1 - momentum) · batch`. What the batch has comes out of the new state, and the
momentum is what a change of `old` by 1 changes, since nothing else depends on it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.networks import Network, PyTree
from jaxkd.strategies._composite import is_float


# The name is part of the architecture that a cache of the teacher's outputs is bound to.
class _OpenBatchNorm(nnx.BatchNorm):
    """Batch normalization with a gradient from its new running statistics to its inputs."""

    def __call__(
        self,
        x: jax.Array,
        use_running_average: bool | None = None,
        *,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        running = self.use_running_average if use_running_average is None else use_running_average
        if running:
            return super().__call__(x, use_running_average, mask=mask)
        old = self.mean[...], self.var[...]
        result = super().__call__(x, use_running_average, mask=mask)
        kept = (self.axis,) if isinstance(self.axis, int) else self.axis
        axes = tuple(i for i in range(x.ndim) if i not in {axis % x.ndim for axis in kept})
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        now = jnp.mean(wide, axes, where=mask), jnp.var(wide, axes, where=mask)
        for variable, before, batch in zip((self.mean, self.var), old, now, strict=True):
            variable[...] = self.momentum * before + (1 - self.momentum) * batch
        return result


def differentiable_statistics(model: nnx.Module) -> nnx.Module:
    """Copies an NNX model so that gradients pass through its batch statistics.

    Flax NNX cuts the gradient between a layer's inputs and its new running statistics, which
    `data_free(…, statistics=…)` needs; Linen does not. Nothing else changes.

    Args:
      model: the trained teacher; left as it is.

    Returns:
      The copy, for `jaxkd.from_nnx`.

    Example:
      >>> import jaxkd
      >>> model = jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0))
      >>> teacher = jaxkd.from_nnx(differentiable_statistics(model))
      >>> same = jaxkd.from_nnx(model)
      >>> images = jnp.ones((1, 8, 8, 1))
      >>> bool((teacher(images)["logits"] == same(images)["logits"]).all())
      True
    """
    copy = nnx.clone(model)
    for _, module in nnx.iter_modules(copy):
        if type(module) is nnx.BatchNorm:
            module.__class__ = _OpenBatchNorm
    return copy


def kept_shares(network: Network, images: jax.Array) -> PyTree:
    """Measures the momentum of every running statistic of a network, None for other state.

    Args:
      network: network, which is run in training mode.
      images: random images `[batch, ...]`.

    Returns:
      A pytree like the network's state: the share of the old value that a step keeps, or None.

    Raises:
      ValueError: the network tracks no statistics, or no gradient comes from them.
    """

    @jax.jit
    def moved(value, params, state, images):
        filled = jax.tree.map(lambda x: jnp.full_like(x, value) if is_float(x) else x, state)
        return network.apply(params, filled, images, train=True, key=jax.random.key(0))[1]

    low, high = (moved(value, network.params, network.state, images) for value in (0, 1))

    def share(old, low, high):
        if not is_float(old):
            return None
        found = float(jnp.mean(high - low))
        return found if -1e-6 < found < 1 - 1e-6 else None

    shares = jax.tree.map(share, network.state, low, high)
    if not jax.tree.leaves(shares):
        raise ValueError(
            f"the teacher {network.name} has no running statistics in its state: leave statistics=0"
        )

    @jax.jit
    def slope(images, params, state):
        def total(images):
            new = network.apply(params, state, images, train=True, key=jax.random.key(0))[1]
            return distance(state, new, shares)

        return jnp.max(jnp.abs(jax.grad(total)(images)))

    if not slope(images, network.params, network.state) > 0:
        raise ValueError(
            f"no gradient comes from the running statistics of the teacher {network.name}: make "
            "it of jaxkd.strategies.differentiable_statistics(model)"
        )
    return shares


def distance(old: PyTree, new: PyTree, shares: PyTree) -> jax.Array:
    """Computes the sum over statistics of the distance between the batch's and the running one.

    Args:
      old: state before a forward pass in training mode.
      new: state after it.
      shares: momenta, as `kept_shares` returns them.

    Returns:
      A scalar.
    """
    tree: Any
    leaves, tree = jax.tree.flatten(old)
    columns = leaves, tree.flatten_up_to(new), tree.flatten_up_to(shares)
    total = jnp.zeros((), jnp.float32)
    for before, after, share in zip(*columns, strict=True):
        if share is not None:
            squares = jnp.sum(jnp.square((after - before).astype(jnp.float32) / (1 - share)))
            # The root of 0 has no gradient.
            total += jnp.sqrt(squares + 1e-12)
    return total
