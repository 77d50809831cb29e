"""Networks made smaller for good: channels, neurons and heads cut out of the arrays."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.compression._constants import changed
from jaxkd.compression._layers import check_used, chosen
from jaxkd.compression._numbers import Numbers
from jaxkd.compression.channels import Group, Traced, follow, trace
from jaxkd.networks._network import dotted
from jaxkd.networks._nnx import PureModule

Kept = dict[str, list[int]]
Keep = float | Mapping[str, float | Sequence[int]]
Importance = Callable[[Group], Any]
IMPORTANCES = ("l1", "l2", "batch_norm", "taylor")


def shrink(
    model: nnx.Module,
    inputs: Any,
    *,
    keep: Keep,
    importance: str | Importance = "l2",
    gradients: Mapping[str, Any] | None = None,
    protect: Sequence[str] = (),
    multiple_of: int = 1,
) -> tuple[nnx.Module, Kept]:
    """Removes the least important channels, neurons and heads of a network for good.

    Unlike with masks the arrays get smaller, and with them FLOPs, memory and latency. What comes
    back is an ordinary module of the same class; it computes what the given one computes with all
    parameters of the removed channels set to zero. Before it comes back it is traced once more, and
    every channel of it must meet the same channels as before. Train it on with the teacher's help.

    Which channels go together is found by tracing, see
    [`channel_groups`][jaxkd.compression.channel_groups]; groups in which nothing can be removed are
    left whole.

    Args:
      model: an NNX module, called with the inputs alone. Its arrays are read, never changed.
      inputs: a batch as it takes it; only shapes matter.
      keep: share of the channels that stay, in (0, 1], in every group, at least one channel; or,
        by the name of a group (or a regular expression for whole names, the first that fits
        counts), a share, or the numbers of the channels that stay. Groups that are not named stay
        whole.
      importance: of a channel. `"l2"`, the norm of all weights that make it or take it; `"l1"`,
        their sum without signs; `"batch_norm"`, the scales of its normalizations; `"taylor"`, the
        sum of (parameter · gradient)², what the loss changes by without it, roughly. Or a function
        of a `Group` that returns an array `[group.size]`.
      gradients: for `"taylor"`: path → array like `jaxkd.from_nnx(model).params`, of any loss;
        `jax.grad` of an objective on some batches for one.
      protect: names of groups that stay whole, or regular expressions for whole names.
      multiple_of: the numbers of channels are rounded up to multiples, as far as there are so many;
        hardware likes multiples of 8 or more. Heads and groups of channels count one by one.

    Returns:
      The smaller module, and name of the group → ascending numbers of the channels that stayed, of
      every group that lost some. The latter is plain JSON: given as `keep` with a freshly made
      module it makes one that `jaxkd.weights.load` can fill.

    Raises:
      ValueError: shares outside of (0, 1], channels or groups that there are not or that cannot
        go, no gradients, an importance that does not apply; a network whose code does not follow
        its arrays' shapes, with the place where.

    Example:
      >>> from jaxkd import models
      >>> mlp = models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(0))
      >>> small, kept = shrink(mlp, jnp.ones((1, 4)), keep=0.5)
      >>> small.layers[1].kernel.shape, {name: len(rest) for name, rest in kept.items()}
      ((4, 3), {'layers.0': 4, 'layers.1': 3})
      >>> again, _ = shrink(models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(1)), jnp.ones((1, 4)), keep=kept)
      >>> again.layers[1].kernel.shape
      (4, 3)

    References:
      Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (l1). Liu et al., Learning
      Efficient Convolutional Networks through Network Slimming, ICCV 2017 (batch_norm). Molchanov
      et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (taylor). Fang et al.,
      DepGraph, CVPR 2023 (groups, and l2 over a whole group).
    """
    if multiple_of < 1:
        raise ValueError(f"multiple_of must be at least 1, not {multiple_of}")
    if gradients is not None and importance != "taylor":
        raise ValueError(
            f"gradients are for importance='taylor', not for importance={importance!r}: leave one "
            "of the two out"
        )
    if not callable(importance) and importance not in IMPORTANCES:
        raise ValueError(
            f"importance must be one of {list(IMPORTANCES)} or a function, not {importance!r}"
        )
    traced = trace(model, inputs)
    wanted = _wanted(traced, keep, protect)
    if not wanted:
        reasons = "\n".join(map(str, traced.groups))
        raise ValueError(f"nothing of {type(model).__name__} can be removed:\n{reasons}")
    score = _scorer(model, importance, gradients)
    kept: Kept = {}
    for group, amount in wanted:
        if isinstance(amount, list):
            rest = amount
        else:
            count = min(group.size, max(1, round(amount * group.size)))
            count = min(group.size, -(-count // multiple_of) * multiple_of)
            values = np.asarray(score(group), np.float64)
            if values.shape != (group.size,) or not np.isfinite(values).all():
                raise ValueError(
                    f"the importance of {group.name} must be {group.size} numbers, not {values}"
                )
            rest = sorted(np.argsort(-values, kind="stable")[:count].tolist())
        if len(rest) < group.size:
            kept[group.name] = rest
    return _cut(model, inputs, traced, kept), kept


def _wanted(
    traced: Traced, keep: Keep, protect: Sequence[str]
) -> list[tuple[Group, float | list[int]]]:
    """The groups to remove from, with the share or the channels that stay."""
    groups = {group.name: group for group in traced.groups}
    rules: Mapping[str, Any] = keep if isinstance(keep, Mapping) else {".*": keep}
    check_used((*protect, *(rules if isinstance(keep, Mapping) else ())), groups, "group")
    wanted: list[tuple[Group, float | list[int]]] = []
    for group in traced.groups:
        amount = chosen(group.name, rules, None)
        if amount is None or chosen(group.name, dict.fromkeys(protect, True), False):
            continue
        if group.reason:
            if group.name in rules:
                raise ValueError(f"{group.name} must stay whole, because of {group.reason}")
            continue
        wanted.append((group, _checked(group, amount)))
    return wanted


def _checked(group: Group, amount: Any) -> float | list[int]:
    if isinstance(amount, int | float):
        if not 0 < amount <= 1:
            raise ValueError(
                f"keep is the share of {group.name} that stays, in (0, 1], not {amount}; the "
                "numbers of channels are given as a list"
            )
        return float(amount)
    rest = sorted(int(channel) for channel in amount)
    if not rest or len(set(rest)) < len(rest) or rest[0] < 0 or rest[-1] >= group.size:
        raise ValueError(
            f"{group.name} has the channels 0 to {group.size - 1}; {list(amount)} are to stay"
        )
    return rest


def _scorer(
    model: nnx.Module, importance: str | Importance, gradients: Mapping[str, Any] | None
) -> Importance:
    """What tells the importance of a group's channels."""
    if callable(importance):
        return importance
    params = PureModule(model).params
    if importance == "taylor":
        given = {path: g.shape for path, g in (gradients or {}).items()}
        if wrong := sorted(p for p, leaf in params.items() if given.get(p) != leaf.shape):
            raise ValueError(
                "taylor needs gradients= like the parameters of jaxkd.from_nnx(model); they lack "
                f"{wrong[:5]} or have other shapes there"
            )

    def score(group: Group) -> np.ndarray:
        total, found = np.zeros(group.size), False
        for place in group.places:
            leaf = params.get(place.path)
            scale = place.path.rpartition(".")[2] == "scale"
            if leaf is None or (importance == "batch_norm" and not scale):
                continue
            if importance in ("l1", "l2") and leaf.ndim < 2:
                continue
            values = np.abs(np.asarray(leaf, np.float64))
            if importance == "taylor":
                values = np.square(values * np.asarray(gradients[place.path], np.float64))  # type: ignore[index]
            elif importance == "l2":
                values = np.square(values)
            others = tuple(axis for axis in range(leaf.ndim) if axis != place.axis)
            here = place.channel >= 0
            np.add.at(total, place.channel[here], values.sum(axis=others)[here])
            found = True
        if not found:
            raise ValueError(
                f"importance={importance!r} does not apply to {group.name}, which has no such "
                f"parameters: give keep= for others, or another importance. {group}"
            )
        return np.sqrt(total) if importance == "l2" else total

    return score


def _cut(model: nnx.Module, inputs: Any, traced: Traced, kept: Kept) -> nnx.Module:
    """The module without the channels that are not kept, checked by a second trace."""
    stays = {
        path: [np.ones(len(numbers), bool) for numbers in axes]
        for path, axes in traced.owners.items()
    }
    gone: list[Numbers] = []
    for group in traced.groups:
        if group.name in kept:
            lost = np.setdiff1d(np.arange(group.size), kept[group.name])
            for place in group.places:
                here = np.isin(place.channel, lost)
                stays[place.path][place.axis] &= ~here
                gone.append(traced.owners[place.path][place.axis][here])
    removed = np.unique(np.concatenate([np.zeros(0, int), *gone]))
    small = nnx.clone(model)
    for keys, variable in nnx.to_flat_state(nnx.state(small)):
        name = dotted(keys)
        if name in stays and not all(axis.all() for axis in stays[name]):
            variable.set_value(_taken(variable.get_value(), stays[name]))
    modules = {dotted(keys): module for keys, module in nnx.iter_modules(small)}
    left: dict[tuple[str, str], set[int]] = {}
    for count in traced.counts:
        rest = int((~np.isin(count.numbers, removed)).sum())
        left.setdefault((count.module, count.attribute), set()).add(rest)
    for (path, attribute), numbers in left.items():
        if len(numbers) == 1:  # else it is no count of any one layer
            setattr(modules[path], attribute, numbers.pop())
    for module in modules.values():
        _mend(module)
    owners = {
        path: tuple(n[mask] for n, mask in zip(axes, stays[path], strict=True))
        for path, axes in traced.owners.items()
    }
    _check(small, inputs, traced, owners)
    return small


def _taken(array: Any, stays: Sequence[np.ndarray]) -> Any:
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct([int(mask.sum()) for mask in stays], array.dtype)
    # On the host, where a shape of its own for every layer compiles nothing.
    return jnp.asarray(np.asarray(array)[np.ix_(*stays)])


def _mend(module: Any) -> None:
    """Brings what Flax's layers know of their shapes in line with their arrays."""
    if isinstance(module, nnx.Linear):
        module.in_features, module.out_features = module.kernel.shape
    elif isinstance(module, nnx.LinearGeneral):
        inside = len(module.in_features)
        shape = module.kernel.shape[len(module.batch_axis) :]
        module.in_features, module.out_features = shape[:inside], shape[inside:]
    elif isinstance(module, nnx.Conv):
        *_, inside, out = module.kernel_shape
        shape = module.kernel.shape
        if inside == 1 and module.feature_group_count > 1:  # depthwise
            module.feature_group_count = shape[-1] // (out // module.feature_group_count)
        module.in_features = shape[-2] * module.feature_group_count
        module.out_features, module.kernel_shape = shape[-1], shape
    elif isinstance(module, nnx.Embed):
        module.num_embeddings, module.features = module.embedding.shape
    elif isinstance(module, nnx.MultiHeadAttention):
        heads, width = module.query.kernel.shape[-2:]
        module.in_features, module.qkv_features = module.query.kernel.shape[0], heads * width
    elif hasattr(module, "num_features"):
        arrays = [getattr(module, name, None) for name in ("scale", "bias", "mean")]
        shapes = [array.shape for array in arrays if array is not None]
        if shapes:
            module.num_features = math.prod(shapes[0])


def _check(
    small: nnx.Module, inputs: Any, traced: Traced, owners: Mapping[str, tuple[Numbers, ...]]
) -> None:
    """Every channel that is left must meet the channels that it met before."""
    advice = (
        "its code does not follow the shapes of its arrays: let it read sizes off them, or leave "
        "these groups whole by protect="
    )
    try:
        _, wiring, outputs, constants = follow(small, inputs, owners, traced.plan)
    except Exception as error:
        raise ValueError(
            f"{type(small).__name__} does not run with fewer channels ({error}); {advice}"
        ) from error
    for a, b, why in wiring.joins:
        if (a != b).any():
            raise ValueError(
                f"{why}: other channels would meet than in the whole network; {advice}"
            )
    if change := changed(traced.constants, constants):
        raise ValueError(
            f"a number in the program would change with the channels, {change}; {advice}"
        )
    if outputs["logits"] != traced.outputs["logits"]:
        raise ValueError(
            f"the logits would be {outputs['logits']}, not {traced.outputs['logits']}; {advice}"
        )
