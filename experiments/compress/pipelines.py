"""Names of what can be done to a network on its way to a small device.

A pipeline is a few steps joined by `-`, such as `distil-prune-qat`. It begins with `labels` or
`distil`, which train a fresh student. Later on these train it further, and say what the steps
behind them train on: `labels-prune-distil` prunes a student that was trained on labels, and trains
it further by distillation.
"""

from typing import Any

from experiments.compress.config import Config
from jaxkd.study import Arm, Stage, pipeline

STEPS = {
    "labels": "trained on labels",
    "distil": "distilled from the teacher",
    "prune": "channels removed",
    "sparse": "weights masked",
    "low_rank": "layers factorized",
    "int8": "int8 after training",
    "int4": "int4 weights after training",
    "qat": "int8 in training",
}
"""The steps, and what they do."""

FINAL_STEPS = ("int8", "int4", "qat")
"""Steps behind which nothing is trained any more."""

_TRAINING_STEPS = ("labels", "distil")


def parse(config: Config, steps_per_epoch: int) -> list[Arm]:
    """Makes the arms of the pipelines that a configuration names.

    Args:
      config: the configuration.
      steps_per_epoch: number of batches of the training examples.

    Returns:
      An arm of each pipeline, of its name.

    Raises:
      ValueError: no pipeline, a repeated one, an unknown step, or an order of steps that makes no
        sense.
    """
    names = [name.strip() for name in config.pipelines.split(",")]
    if len(set(names)) < len(names):
        raise ValueError(f"pipelines must name each pipeline once, not {config.pipelines!r}")
    try:
        return [_arm(name, config, steps_per_epoch) for name in names]
    except ValueError as error:
        raise ValueError(f"pipelines: {error}") from error


def title(name: str) -> str:
    """Returns the name of a pipeline in the report."""
    return name.replace("-", " · ").replace("_", " ")


def last_step(name: str) -> str:
    """Returns the last step of a pipeline."""
    return name.rpartition("-")[2]


def _arm(name: str, config: Config, steps_per_epoch: int) -> Arm:
    steps = name.split("-")
    if unknown := [step for step in steps if step not in STEPS]:
        raise ValueError(f"{name!r}: there is no step {unknown}; there are {list(STEPS)}")
    if steps[0] not in _TRAINING_STEPS:
        raise ValueError(f"{name!r} must begin with labels or distil, which train a student")
    options = {"alpha": config.alpha, "temperature": config.temperature}
    methods = {"labels": Arm("labels"), "distil": Arm("kd", options)}
    tuning: dict[str, Any] = {"learning_rate": config.tuning_rate}
    tuning["steps"] = config.tuning_epochs * steps_per_epoch
    qat: dict[str, Any] = {"learning_rate": config.qat_rate}
    qat["steps"] = config.qat_epochs * steps_per_epoch
    stages = {
        **{step: Stage("train", method=arm, **tuning) for step, arm in methods.items()},
        "prune": Stage("prune", fraction=1 - config.keep, **tuning),
        "sparse": Stage("sparsify", fraction=config.sparsity, **tuning),
        "low_rank": Stage("low_rank", rank=config.rank, **tuning),
        "int8": Stage("quantize"),
        "int4": Stage("quantize", weights="int4", activations=None),
        "qat": Stage("qat", **qat),
    }
    first, later = methods[steps[0]], [stages[step] for step in steps[1:]]
    if not later:
        return Arm(first.method, first.options, name=name)
    return pipeline(first, *later, name=name)
