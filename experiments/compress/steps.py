"""What can be done to a network on its way to a small device, each step with a teacher or without.

A pipeline is a few steps joined by `-`, such as `distil-prune-qat`. It begins with `labels` or
`distil`, which train a fresh student; later on these say from what the steps behind them train:
`labels-prune-distil` prunes what was trained on labels, and then lets the teacher train it on.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flax import nnx

import jaxkd
from jaxkd import Network, compression
from jaxkd.networks import to_nnx

if TYPE_CHECKING:
    from experiments.compress.config import Config

STEPS = {
    "labels": "trained on labels",
    "distil": "trained by the teacher",
    "prune": "channels removed",
    "sparse": "weights masked",
    "low_rank": "layers factorized",
    "int8": "int8 after training",
    "int4": "int4 weights after training",
    "qat": "int8 in training",
}
"""Names of the steps for people."""

LAST = ("int8", "int4", "qat")
"""Steps behind which nothing is trained any more."""

AFTER = ("int8", "int4")
"""Steps without training of their own."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A network on its way.

    Attributes:
      model: trained.
      taught: whether the steps to come have the teacher's help.
      sparsity: share of the weights that training must keep at zero.
      floating: of a quantized model the same with floating weights, for runtimes that quantize on
        their own.
    """

    model: nnx.Module
    taught: bool
    sparsity: float = 0.0
    floating: nnx.Module | None = None

    @functools.cached_property
    def network(self) -> Network:
        """The model as the rest of jaxkd sees it."""
        return jaxkd.from_nnx(self.model)


def changed(point: Point, step: str, config: "Config", batches: Sequence[Any]) -> Point:
    """What a step makes of a network before it is trained on.

    Args:
      point: what the steps before made.
      step: one of `STEPS`.
      config: the experiment.
      batches: training views, for shapes and for the ranges of activations.

    Returns:
      The next point; trained already if the step is one of those after training.
    """
    if step in ("labels", "distil"):
        return dataclasses.replace(point, taught=step == "distil")
    if step == "sparse":
        return dataclasses.replace(point, sparsity=config.sparsity)
    if step == "prune":
        model, _ = compression.shrink(point.model, batches[0], keep=config.keep)
        return dataclasses.replace(point, model=model)
    if step == "low_rank":
        model = compression.factorize(point.model, ranks_of(point.model, config.rank))
        return dataclasses.replace(point, model=model)
    folded = compression.fold_batch_norm(point.model, batches[0])
    if step == "int4":
        model = compression.quantize(folded, weights="int4", activations=None)
    else:
        make = compression.fake_quantize if step == "qat" else compression.quantize
        model = make(folded, ranges=compression.calibrate(folded, batches))
    return dataclasses.replace(point, model=model, floating=folded)


def ranks_of(model: nnx.Module, rank: float) -> dict[str, int]:
    """Ranks of all layers but the last: below the number of classes it cannot tell them apart."""
    return compression.choose_ranks(model, rank=rank, where=lambda path, layer: path != "head")


def deployed(point: Point, step: str) -> Point:
    """What is kept of a point after the training that belongs to a step."""
    if step != "qat":
        return point
    # What was trained were floating kernels, rounded on their way.
    assert point.floating is not None
    before = jaxkd.from_nnx(point.floating)
    floating = to_nnx(
        before.replace(params=point.network.params, state=before.state), point.floating
    )
    model = compression.from_fake_quantized(point.model)
    return dataclasses.replace(point, model=model, floating=floating)


def pipelines(text: str) -> list[tuple[str, ...]]:
    """The steps of pipelines from their names.

    Args:
      text: names joined by commas.

    Returns:
      The steps of each.

    Raises:
      ValueError: no pipeline, one twice, an unknown step, or steps in an order that makes no sense.
    """
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names):
        raise ValueError(f"each pipeline once: {text!r}")
    found = []
    for name in names:
        steps = tuple(name.split("-"))
        if unknown := [step for step in steps if step not in STEPS]:
            raise ValueError(f"{name!r}: there is no step {unknown}; there are {list(STEPS)}")
        if steps[0] not in ("labels", "distil"):
            raise ValueError(f"{name!r} must begin with labels or distil, which train a student")
        twice = [a for a, b in zip(steps, steps[1:], strict=False) if a == b]
        if any(step not in ("labels", "distil") for step in twice):
            raise ValueError(f"{name!r} takes {twice[0]} twice in a row")
        if early := [step for step in steps[:-1] if step in LAST]:
            raise ValueError(
                f"{name!r}: nothing can follow {early[0]}, whose kernels are integers; put it last"
            )
        if "low_rank" in steps and "prune" in steps[steps.index("low_rank") :]:
            raise ValueError(f"{name!r}: prune before low_rank, which makes channels of its own")
        if "sparse" in steps and "low_rank" in steps[steps.index("sparse") :]:
            raise ValueError(f"{name!r}: low_rank before sparse, whose zeros it would fill")
        found.append(steps)
    return found


def labeled(steps: tuple[str, ...]) -> str:
    """A pipeline for people."""
    return " · ".join(steps).replace("_", " ")
