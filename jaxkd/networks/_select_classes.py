"""Networks with other classes: in another order, a part of them, or merged."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.networks._kinds import check_network
from jaxkd.networks._network import Network
from jaxkd.networks._outputs import logits_of

Class = int | str
Classes = Sequence[Class | Sequence[Class]] | Mapping[str, Sequence[Class]]


def select_classes(
    network: Network, classes: Classes, *, class_names: Sequence[str] | None = None
) -> Network:
    """Gives a network the classes of another data set: a part of its own, reordered, or merged.

    The logit of merged classes is the logarithm of the sum of their exponentials, so that their
    probability is the sum of those of the members, at temperature 1.

    Args:
      network: network whose last axis of `"logits"` is the classes.
      classes: for each new class the index of an old one, or its name; a sequence of several
        merges them. A mapping from new names to such sequences is taken in its order.
      class_names: names of the network's own classes, in the order of its logits; needed where
        `classes` has names.

    Returns:
      A network with the same variables, `"logits"` `[..., len(classes)]` and an architecture of
      its own. An output `"head"` `[width, num_classes]` is selected alike, and left out where
      classes are merged.

    Raises:
      TypeError: no network, or classes that are neither indices nor names, such as a mask.
      ValueError: no classes, an empty group, an unknown name, a class twice in a group; when first
        called, an index that the logits do not have, or no logits.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> names = ("cat", "dog", "car")
      >>> teacher = select_classes(network, ["car", "cat"], class_names=names)
      >>> teacher(jnp.asarray([[1.0, 2.0, 3.0]]))["logits"].tolist()
      [[3.0, 1.0]]
      >>> select_classes(network, [[0, 1], 2])(jnp.ones((1, 3)))["logits"].shape
      (1, 2)
    """
    check_network("network", network)
    groups = [_indices(group, class_names) for group in _listed(classes)]
    if not groups or not all(groups):
        raise ValueError(f"select_classes needs at least one class in every group, got {classes!r}")
    merges = any(len(group) > 1 for group in groups)

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, state = network.apply(params, state, inputs, train=train, key=key)
        chosen = dict(outputs)
        chosen["logits"] = _selected(
            logits_of(outputs, "select_classes", network.name), groups, network.name
        )
        if "head" in outputs:
            del chosen["head"]
            if not merges:
                chosen["head"] = _selected(outputs["head"], groups, network.name)
        return chosen, state

    return dataclasses.replace(
        network, apply=apply, architecture=f"{network.architecture}\nclasses: {groups}"
    )


def _listed(classes: Classes) -> list[Any]:
    if isinstance(classes, str) or not isinstance(classes, Mapping | Sequence | np.ndarray):
        raise TypeError(
            "classes are indices [3, 0], names ['cat', 'dog'] with class_names=…, or groups "
            f"[[0, 1], 2], not {classes!r}"
        )
    return list(classes.values() if isinstance(classes, Mapping) else classes)


def _indices(group: Any, class_names: Sequence[str] | None) -> list[int]:
    members = [group] if isinstance(group, str) or np.ndim(group) == 0 else list(group)
    names = [name for name in members if isinstance(name, str)]
    if names and class_names is None:
        raise ValueError(
            f"select_classes with the names {names} needs those of the network's own classes, "
            "class_names=[…] in the order of its logits"
        )
    known = list(class_names or ())
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"class_names has no class {unknown}; it has {known[:20]}")
    if twice := sorted({name for name in names if known.count(name) > 1}):
        raise ValueError(f"class_names has the classes {twice} more than once: give their indices")
    for member in members:
        if not isinstance(member, str | int | np.integer) or isinstance(member, bool):
            raise TypeError(
                f"classes are indices or names, not {member!r}: of a mask write "
                "np.flatnonzero(mask)"
            )
    indices = [known.index(m) if isinstance(m, str) else int(m) for m in members]
    if len(set(indices)) < len(indices):
        raise ValueError(f"a group has a class twice, {members}, which would count double")
    if negative := [index for index in indices if index < 0]:
        raise ValueError(f"indices of classes are at least 0, got {negative}")
    return indices


def _selected(values: jax.Array, groups: list[list[int]], name: str) -> jax.Array:
    largest = max(max(group) for group in groups)
    if largest >= values.shape[-1]:
        raise ValueError(
            f"select_classes names the class {largest}, {name} has logits {values.shape} of "
            f"{values.shape[-1]} classes"
        )
    if all(len(group) == 1 for group in groups):
        return values[..., np.asarray(groups)[:, 0]]
    merged = [
        values[..., group[0]]
        if len(group) == 1
        else jax.nn.logsumexp(values[..., np.asarray(group)], axis=-1)
        for group in groups
    ]
    return jnp.stack(merged, axis=-1)
