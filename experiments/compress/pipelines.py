"""Names of what can be done to a network on its way to a small device.

A pipeline is a few steps joined by `-`, such as `distil-prune-qat`. It begins with `labels` or
`distil`, which train a fresh student. Later on these say what the steps behind them train on:
`labels-prune-distil` prunes a student that was trained on labels, and trains it further by
distillation.
"""

Steps = tuple[str, ...]

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

TRAINING_STEPS = ("labels", "distil")
"""Steps with which a pipeline begins."""

FINAL_STEPS = ("int8", "int4", "qat")
"""Steps behind which nothing is trained any more."""

POST_TRAINING_STEPS = ("int8", "int4")
"""Steps without a training of their own."""


def parse(text: str) -> list[Steps]:
    """Parses the names of pipelines.

    Args:
      text: names separated by commas.

    Returns:
      The steps of each pipeline.

    Raises:
      ValueError: no pipeline, a repeated one, an unknown step, or an order of steps that makes no
        sense.
    """
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names):
        raise ValueError(f"pipelines must name each pipeline once, not {text!r}")
    try:
        return [_parse_one(name) for name in names]
    except ValueError as error:
        raise ValueError(f"pipelines: {error}") from error


def _parse_one(name: str) -> Steps:
    steps = tuple(name.split("-"))
    if unknown := [step for step in steps if step not in STEPS]:
        raise ValueError(f"{name!r}: there is no step {unknown}; there are {list(STEPS)}")
    if steps[0] not in TRAINING_STEPS:
        raise ValueError(f"{name!r} must begin with labels or distil, which train a student")
    repeated = [a for a, b in zip(steps, steps[1:], strict=False) if a == b]
    if any(step not in TRAINING_STEPS for step in repeated):
        raise ValueError(f"{name!r} takes {repeated[0]} twice in a row")
    if early := [step for step in steps[:-1] if step in FINAL_STEPS]:
        raise ValueError(
            f"{name!r}: nothing can follow {early[0]}, whose kernels are integers; put it last"
        )
    if "low_rank" in steps and "prune" in steps[steps.index("low_rank") :]:
        raise ValueError(f"{name!r}: prune before low_rank, which makes channels of its own")
    if "sparse" in steps and "low_rank" in steps[steps.index("sparse") :]:
        raise ValueError(f"{name!r}: low_rank before sparse, whose zeros it would fill")
    return steps


def title(steps: Steps) -> str:
    """Returns the name of a pipeline in the report."""
    return " · ".join(steps).replace("_", " ")
