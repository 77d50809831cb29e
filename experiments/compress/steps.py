"""The steps of a pipeline as functions of a network."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from flax import nnx

import jaxkd
from experiments.compress.config import Config
from experiments.compress.pipelines import TRAINING_STEPS
from jaxkd import Network, compression


@dataclasses.dataclass(frozen=True)
class Stage:
    """A network at some step of its pipeline.

    Attributes:
      model: the network.
      distilled: whether the trainings to come learn from the teacher, or from labels alone.
      sparsity: share of the weights that training must keep at zero.
      flops: for a quantized model, the FLOPs of one example before it was quantized.
    """

    model: nnx.Module
    distilled: bool
    sparsity: float = 0.0
    flops: float | None = None

    @functools.cached_property
    def network(self) -> Network:
        """The model as a network of jaxkd."""
        return jaxkd.from_nnx(self.model)


def apply_step(stage: Stage, step: str, config: Config, batches: Sequence[Any]) -> Stage:
    """Changes a network by a step, before the training that belongs to the step.

    Args:
      stage: network after the steps before.
      step: one of `STEPS`.
      config: configuration of the experiment.
      batches: training views, for shapes and for the ranges of activations.

    Returns:
      The next stage; complete if the step is one of `POST_TRAINING_STEPS`.
    """
    if step in TRAINING_STEPS:
        return dataclasses.replace(stage, distilled=step == "distil")
    if step == "sparse":
        return dataclasses.replace(stage, sparsity=config.sparsity)
    if step == "prune":
        model, _ = compression.shrink(stage.model, batches[0], keep=config.keep)
        return dataclasses.replace(stage, model=model)
    if step == "low_rank":
        model = compression.factorize(stage.model, layer_ranks(stage.model, config.rank))
        return dataclasses.replace(stage, model=model)
    folded = compression.fold_batch_norm(stage.model, batches[0])
    if step == "int4":
        model = compression.quantize(folded, weights="int4", activations=None)
    else:
        quantize = compression.fake_quantize if step == "qat" else compression.quantize
        model = quantize(folded, ranges=compression.calibrate(folded, batches))
    flops = compression.flops(jaxkd.from_nnx(folded), batches[0][:1])
    return dataclasses.replace(stage, model=model, flops=flops)


def layer_ranks(model: nnx.Module, rank: float) -> dict[str, int]:
    """Returns the ranks of all layers but the last, which needs one a class to separate them."""
    return compression.choose_ranks(model, rank=rank, where=lambda path, layer: path != "head")


def finish_step(stage: Stage, step: str) -> Stage:
    """Returns what is kept of a network after the training that belongs to a step."""
    if step != "qat":
        return stage
    return dataclasses.replace(stage, model=compression.from_fake_quantized(stage.model))
