"""Pruning during training: an optax transformation whose masks are in the optimizer's state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxkd.compression.pruning.masks import (
    Structure,
    Where,
    check_options,
    masks_of,
    prunable,
    pruned_leaves,
)
from jaxkd.networks._network import dotted


class PruningState(NamedTuple):
    """The state of `magnitude_pruning`, saved and restored with the rest of a `TrainState`.

    Attributes:
      step: number of updates so far, int32.
      sparsity: sparsity of the current masks, float32; 0 before the first ones.
      masks: path → boolean array, of the pruned leaves.

    Example:
      >>> params = {"kernel": jnp.array([[3.0, -1.0], [0.5, 2.0]])}
      >>> optimizer = magnitude_pruning(0.5)
      >>> _, state = optimizer.update({"kernel": jnp.zeros((2, 2))}, optimizer.init(params), params)
      >>> int(state.step), float(state.sparsity), state.masks["kernel"].tolist()
      (1, 0.5, [[True, False], [False, True]])
    """

    step: jax.Array
    sparsity: jax.Array
    masks: dict[str, jax.Array]


def cubic_sparsity(init_value: float, final_value: float, begin: int, end: int) -> optax.Schedule:
    """Makes a schedule of a sparsity that rises fast at first, and slowly at the end.

        s(t) = final + (init − final) (1 − (t − begin) / (end − begin))³

    Args:
      init_value: sparsity until the step `begin`, in [0, 1].
      final_value: sparsity from the step `end` on, in [0, 1].
      begin: step at which the sparsity starts to rise.
      end: step at which the final sparsity is reached.

    Returns:
      An optax schedule.

    Raises:
      ValueError: a sparsity is outside of [0, 1], or the end is not after the beginning.

    Example:
      >>> schedule = cubic_sparsity(0.0, 0.8, begin=0, end=100)
      >>> [round(float(schedule(step)), 3) for step in (0, 50, 100, 200)]
      [0.0, 0.7, 0.8, 0.8]

    References:
      Zhu and Gupta, To prune, or not to prune: exploring the efficacy of pruning for model
      compression, ICLR 2018 workshop.
    """
    if not (0 <= init_value <= 1 and 0 <= final_value <= 1):
        raise ValueError(
            f"sparsities lie in [0, 1], not init_value={init_value} and final_value={final_value}"
        )
    if not 0 <= begin < end:
        raise ValueError(f"0 <= begin < end must hold, not begin={begin} and end={end}")
    return optax.polynomial_schedule(init_value, final_value, 3, end - begin, begin)


def magnitude_pruning(
    sparsity: optax.ScalarOrSchedule | None = None,
    *,
    every: int = 1,
    scope: str = "global",
    structure: Structure | None = None,
    where: Where = prunable,
) -> optax.GradientTransformation:
    """Makes an optax transformation that prunes by magnitude, the last of a chain.

    Parameters are exactly masked after every update: p + u, the parameter after the updates before
    this one, becomes mask · (p + u). New masks are made from the magnitudes of p + u every `every`
    updates for as long as the sparsity changes; with a number, or once a schedule has ended, they
    stay. Pruned weights stay pruned while the sparsity grows, whatever their updates; where it
    falls, the largest p + u return. Nothing outside of the optimizer is needed: the step of
    `make_train_step`, its checkpoints, partitionings and populations work as they are. Connectors
    are not pruned.

    JaxPruner (Lee et al., 2023) covers this ground, but its masks are applied by a second function
    around each step, and its release calls `jax.tree_map`, which JAX no longer has.

    Args:
      sparsity: share of the weights to mask: a number, or an optax schedule of the number of the
        update (such as `cubic_sparsity`).
      every: number of updates between new masks; sorting all weights takes time.
      scope: as in `magnitude_masks`.
      structure: as in `magnitude_masks`; the masks are made at the first update and stay.
      where: as in `magnitude_masks`; paths are those of a `TrainState`'s parameters, such as
        `student.head.kernel`.

    Returns:
      An optax transformation.

    Raises:
      ValueError: options are wrong as in `magnitude_masks`, or `every` is below one; in `init`,
        there is nothing to prune or an input axis does not fall into groups; in `update`, there are
        no parameters.

    Example:
      >>> params = {"kernel": jnp.array([[3.0, -1.0], [0.5, 2.0]])}
      >>> optimizer = optax.chain(optax.sgd(0.1), magnitude_pruning(0.5))
      >>> gradients, state = {"kernel": jnp.ones((2, 2))}, optimizer.init(params)
      >>> updates, state = optimizer.update(gradients, state, params)
      >>> optax.apply_updates(params, updates)["kernel"].round(1)
      Array([[2.9, 0. ],
             [0. , 1.9]], dtype=float32)

    References:
      Zhu and Gupta, 2018. Han et al., 2015. Mishra et al., 2021 (a structure).
    """
    check_options(sparsity, scope, structure)
    if every < 1:
        raise ValueError(f"every must be at least 1 update, not {every}")

    def target(step: jax.Array) -> jax.Array:
        if structure is not None:
            return jnp.asarray(1 - structure[0] / structure[1], jnp.float32)
        return jnp.asarray(sparsity(step) if callable(sparsity) else sparsity, jnp.float32)

    def init(params: optax.Params) -> PruningState:
        pruned = pruned_leaves(params, where, structure)
        masks = {path: jnp.ones(leaf.shape, bool) for path, leaf in pruned.items()}
        return PruningState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), masks)

    def update(
        updates: optax.Updates, state: PruningState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PruningState]:
        if params is None:
            raise ValueError("pruning masks parameters: pass params to update")
        leaves: list[Any]
        tree: Any
        leaves, tree = jax.tree_util.tree_flatten_with_path(params)
        paths = [dotted(path) for path, _ in leaves]
        olds = dict(zip(paths, (leaf for _, leaf in leaves), strict=True))
        moves = dict(zip(paths, tree.flatten_up_to(updates), strict=True))
        # As optax.apply_updates computes them, in the type of the parameters.
        news = {path: (olds[path] + moves[path]).astype(olds[path].dtype) for path in state.masks}
        wanted = target(state.step)
        # The update of a pruned weight could make it large again. While the sparsity grows it must
        # stay pruned, so that pruned weights rank below all others.
        grows = wanted >= state.sparsity
        pruned = {path: grows & ~mask for path, mask in state.masks.items()}
        due = (state.step % every == 0) & (wanted != state.sparsity)
        masks, reached = jax.lax.cond(
            due,
            lambda: (masks_of(news, wanted, scope, structure, pruned), wanted),
            lambda: (state.masks, state.sparsity),
        )
        for path, mask in masks.items():
            # p + (−p) is zero in every type, and other weights are p + u to the last bit.
            moves[path] = jnp.where(mask, moves[path], -olds[path])
        step = optax.safe_increment(state.step)
        return tree.unflatten(moves[path] for path in paths), PruningState(step, reached, masks)

    return optax.GradientTransformation(init, update)
