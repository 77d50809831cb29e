"""Networks made smaller for good: channels, neurons and heads removed from the arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx

from jaxkd.compression._layers import check_rules, first_match
from jaxkd.compression.pruning._importance import IMPORTANCES, Importance, importance_of
from jaxkd.compression.pruning._removal import KeptChannels, remove_channels
from jaxkd.compression.pruning.channels import ChannelGroup, find_wiring

Keep = float | Mapping[str, float | Sequence[int]]
"""A share of the channels, or by group a share or the numbers of the channels that stay."""


def shrink(
    model: nnx.Module,
    inputs: Any,
    *,
    keep: Keep,
    importance: str | Importance = "l2",
    gradients: Mapping[str, Any] | None = None,
    protect: Sequence[str] = (),
    multiple_of: int = 1,
) -> tuple[nnx.Module, KeptChannels]:
    """Removes the least important channels, neurons and heads of a network for good.

    Unlike with masks the arrays get smaller, and with them FLOPs, memory and latency. The result is
    an ordinary module of the same class; it computes what the given one computes with all
    parameters of the removed channels set to zero. Before it is returned it is traced once more:
    every channel of it must be combined with the same channels as before. Train it further with
    the teacher's help.

    Which channels go together is found by tracing, see
    `jaxkd.compression.channel_groups`; groups in which nothing can be removed
    stay complete.

    Args:
      model: an NNX module, called with the inputs alone. Its arrays are read, never changed.
      inputs: a batch as it takes it; only shapes matter.
      keep: share of the channels that stay, in (0, 1], in every group, at least one channel; or,
        by the name of a group (or a regular expression for complete names, the first that fits
        counts), a share, or the numbers of the channels that stay. Groups that are not named stay
        complete.
      importance: importance of a channel. `"l2"`, the norm of all weights that make it or take it;
        `"l1"`, the sum of their absolute values; `"batch_norm"`, the scales of its normalizations;
        `"taylor"`, the sum of (parameter · gradient)², roughly the change of the loss without it.
        Or a function of a `ChannelGroup` that returns an array `[group.size]`.
      gradients: for `"taylor"`: path → array like `jaxkd.from_nnx(model).params`, of any loss;
        `jax.grad` of an objective on some batches, for example.
      protect: names of groups that stay complete, or regular expressions for complete names.
      multiple_of: the numbers of channels are rounded up to multiples of this, as far as there are
        so many; hardware prefers multiples of 8 or more. Heads and groups of channels count one by
        one.

    Returns:
      The smaller module, and name of the group → ascending numbers of the channels that stayed, of
      every group that lost some. The latter is plain JSON: given as `keep` with a freshly made
      module it makes one that `jaxkd.weights.load` can fill.

    Raises:
      ValueError: a share is outside of (0, 1], channels or groups do not exist or cannot be
        removed, gradients are missing, an importance does not apply, or the network's code does not
        follow its arrays' shapes (the message says where).

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import models
      >>> mlp = models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(0))
      >>> small, kept = shrink(mlp, jnp.ones((1, 4)), keep=0.5)
      >>> small.layers[1].kernel.shape, {name: len(stay) for name, stay in kept.items()}
      ((4, 3), {'layers.0': 4, 'layers.1': 3})
      >>> again, _ = shrink(models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(1)), jnp.ones((1, 4)), keep=kept)
      >>> again.layers[1].kernel.shape
      (4, 3)

    References:
      Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (l1). Liu et al., Learning
      Efficient Convolutional Networks through Network Slimming, ICCV 2017 (batch_norm). Molchanov
      et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (taylor). Fang et al.,
      DepGraph, CVPR 2023 (groups, and l2 over a group).
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
    wiring = find_wiring(model, inputs)
    amounts = _amounts(wiring.groups, keep, protect)
    if not amounts:
        groups = "\n".join(map(str, wiring.groups))
        raise ValueError(f"nothing of {type(model).__name__} can be removed:\n{groups}")
    score = importance_of(model, importance, gradients)
    kept: KeptChannels = {}
    for group, amount in amounts:
        stay = amount if isinstance(amount, list) else _best(group, amount, multiple_of, score)
        if len(stay) < group.size:
            kept[group.name] = stay
    return remove_channels(model, inputs, wiring, kept), kept


def _amounts(
    groups: Sequence[ChannelGroup], keep: Keep, protect: Sequence[str]
) -> list[tuple[ChannelGroup, float | list[int]]]:
    """The groups to remove channels from, with the share or the channels that stay."""
    names = [group.name for group in groups]
    rules: Mapping[str, Any] = keep if isinstance(keep, Mapping) else {".*": keep}
    check_rules((*protect, *(rules if isinstance(keep, Mapping) else ())), names, "group")
    amounts: list[tuple[ChannelGroup, float | list[int]]] = []
    for group in groups:
        amount = first_match(group.name, rules, None)
        if amount is None or first_match(group.name, dict.fromkeys(protect, True), False):
            continue
        if group.reason:
            if group.name in rules:
                raise ValueError(f"{group.name} must stay complete, because of {group.reason}")
            continue
        amounts.append((group, _checked_amount(group, amount)))
    return amounts


def _checked_amount(group: ChannelGroup, amount: Any) -> float | list[int]:
    if isinstance(amount, int | float):
        if not 0 < amount <= 1:
            raise ValueError(
                f"keep is the share of {group.name} that stays, in (0, 1], not {amount}; the "
                "numbers of channels are given as a list"
            )
        return float(amount)
    stay = sorted(int(channel) for channel in amount)
    if not stay or len(set(stay)) < len(stay) or stay[0] < 0 or stay[-1] >= group.size:
        raise ValueError(
            f"{group.name} has the channels 0 to {group.size - 1}; {list(amount)} are to stay"
        )
    return stay


def _best(group: ChannelGroup, share: float, multiple_of: int, score: Importance) -> list[int]:
    """The most important channels of a group, in ascending order."""
    count = min(group.size, max(1, round(share * group.size)))
    count = min(group.size, -(-count // multiple_of) * multiple_of)
    values = np.asarray(score(group), np.float64)
    if values.shape != (group.size,) or not np.isfinite(values).all():
        raise ValueError(
            f"the importance of {group.name} must be {group.size} numbers, not {values}"
        )
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())
