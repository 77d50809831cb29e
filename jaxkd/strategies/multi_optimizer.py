"""Optimizers for parts of a student, and parts that are not trained."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from jaxkd.networks import PyTree
from jaxkd.networks._network import dotted


def multi_optimizer(
    optimizer: optax.GradientTransformation, others: Mapping[str, optax.GradientTransformation]
) -> optax.GradientTransformationExtraArgs:
    """Trains parts of the student by optimizers of their own.

    Args:
      optimizer: optimizer of all parameters that no path covers, connectors among them.
      others: path in the student's parameters, with dots, → optimizer of all parameters under it;
        the longest path decides.

    Returns:
      An optax transformation for the parameters of a `TrainState`; not around
      `jaxkd.training.dot`, which takes the gradients of all parameters.

    Raises:
      ValueError: on `init`, a path that no parameter is under; names the paths there are.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0)))
      >>> slow_head = multi_optimizer(optax.adam(1e-3), {"head": optax.sgd(1e-4)})
      >>> step = jaxkd.make_train_step(network, jaxkd.recipes.labels(), slow_head)
      >>> state = step.init()
    """
    paths = sorted(others, key=len, reverse=True)

    def labels(params: PyTree) -> PyTree:
        used = set()

        def one(path: Any, _: Any) -> str:
            name = dotted(path)
            for own in paths:
                if is_under(name, f"student.{own}"):
                    used.add(own)
                    return own
            return ""

        made = jax.tree_util.tree_map_with_path(one, params)
        if missing := sorted(set(paths) - used):
            known = sorted(
                {p.rpartition(".")[0] for p in leaves_by_path(params.get("student", {}))}
            )
            raise ValueError(f"no parameter of the student lies under {missing}; there are {known}")
        return made

    return optax.with_extra_args_support(
        optax.multi_transform({**dict(others), "": optimizer}, labels)
    )


def freeze(
    optimizer: optax.GradientTransformation, *paths: str
) -> optax.GradientTransformationExtraArgs:
    """Leaves parts of the student as they are.

    For a classifier that was copied from the teacher, or lower layers that were trained in an
    earlier phase. Parameters alone are frozen: the running statistics of a BatchNorm in training
    still move.

    Args:
      optimizer: optimizer of everything else.
      *paths: paths in the student's parameters, with dots: `"head"`, `"stages.0"`.

    Returns:
      An optax transformation, as `multi_optimizer`.

    Raises:
      ValueError: no path; in `make_train_step`, one that no parameter is under.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0)))
      >>> frozen = freeze(optax.sgd(1), "hed")
      >>> jaxkd.make_train_step(network, jaxkd.recipes.labels(), frozen)
      Traceback (most recent call last):
        ...
      ValueError: no parameter of the student lies under ['hed']; there are ['head', 'layers.0']...
    """
    if not paths:
        raise ValueError("nothing to freeze: name at least one path of the student's parameters")
    return multi_optimizer(optimizer, {path: optax.set_to_zero() for path in paths})


def is_under(path: str, part: str) -> bool:
    """Returns whether a dotted path is a part, or lies in it."""
    return path == part or path.startswith(part + ".")


def leaves_by_path(tree: PyTree) -> dict[str, jax.Array]:
    """Returns the leaves of a tree by dotted path."""
    return {dotted(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
