"""The ranges of the inputs of layers, measured on examples."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.compression._layers import CallRecorder, find_layers, replace_layers
from jaxkd.networks import from_nnx


def calibrate(
    model: nnx.Module,
    batches: Iterable[Any],
    *,
    like: Any = None,
    percentile: float = 100.0,
    min_examples: int = 128,
) -> dict[str, float]:
    """Measures the range of the inputs of every dense and convolutional layer.

    The batches are inputs of the network, `[batch, ...]`: rendered views, best those that the
    student is trained on. The first eight steps of a loader, with or without a cache, are

        batches = (views.render(loader[step])["inputs"] for step in range(8))

    Args:
      model: the module as it will be quantized, thus with batch normalization folded. Not changed.
      batches: inputs, each batch with examples along its first axis.
      like: a batch that is known to be right, or its `jax.ShapeDtypeStruct`; every batch must have
        its type and its shape after the first axis. By default the first batch.
      percentile: percentile of the absolute values within a batch; the largest over all batches is
        the range. 100 is the maximum; 99.9 clips outliers and has finer steps.
      min_examples: least number of examples; with fewer, new inputs would exceed the range and be
        clipped.

    Returns:
      Path of each layer that was called → its range, in the units of its input. Plain numbers, for
      `quantize(ranges=…)`, `fake_quantize(ranges=…)` and JSON.

    Raises:
      ValueError: there are too few examples, a batch has another shape or type, values are not
        finite, or the percentile is above 100 or not above 0.

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0))
      >>> ranges = calibrate(mlp, [jnp.full((64, 4), 0.5), jnp.full((64, 4), -2.0)])
      >>> sorted(ranges), ranges["layers.0"]
      (['head', 'layers.0'], 2.0)

    Reference:
      Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018.
    """
    check_percentile(percentile)
    recorded: dict[str, list[jax.Array]] = {}

    def recorder(path: str, layer: nnx.Module) -> CallRecorder:
        def record(inputs: jax.Array, outputs: Any) -> None:
            del outputs
            # A percentile alone would miss infinities.
            largest = jnp.where(jnp.isfinite(inputs).all(), range_of(inputs, percentile), jnp.inf)
            recorded.setdefault(path, []).append(largest)

        return CallRecorder(layer, record)

    layers = find_layers(model, (nnx.Linear, nnx.Conv))
    recorders = {path: recorder(path, layer) for path, layer in layers.items()}
    network = from_nnx(replace_layers(model, recorders))

    @jax.jit
    def measured(params: Any, state: Any, inputs: Any) -> dict[str, jax.Array]:
        recorded.clear()
        network.apply(params, state, inputs)
        return {path: jnp.max(jnp.stack(values)) for path, values in recorded.items()}

    expected = None if like is None else _type_of_examples(like)
    examples = 0
    ranges: dict[str, float] = {}
    for number, batch in enumerate(batches):
        given = _type_of_examples(batch)
        expected = expected or given
        if given != expected:
            raise ValueError(
                f"calibration batch {number} has {given} where {expected} was expected: calibrate "
                "with the inputs that the network is trained on"
            )
        for path, value in measured(network.params, network.state, batch).items():
            value = float(value)
            if not np.isfinite(value):
                raise ValueError(f"inputs of {path!r} are not finite in calibration batch {number}")
            ranges[path] = max(value, ranges.get(path, 0.0))
        examples += int(np.shape(batch)[0])
    if examples < min_examples:
        raise ValueError(
            f"calibration saw {examples} examples, and at least {min_examples} are needed: give "
            "more batches, or a lower min_examples if new inputs may exceed the ranges"
        )
    return ranges


def range_of(inputs: jax.Array, percentile: float) -> jax.Array:
    """Computes the percentile of an array's absolute values, in float32."""
    sizes = jnp.abs(inputs).astype(jnp.float32)
    return jnp.max(sizes) if percentile == 100 else jnp.percentile(sizes, percentile)


def check_percentile(percentile: float) -> None:
    """Refuses a number that is no percentile above 0."""
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must be above 0 and at most 100, not {percentile}")


def _type_of_examples(batch: Any) -> str:
    """The type and the shape of a batch, for any number of examples."""
    if not hasattr(batch, "dtype") or not batch.shape:
        raise ValueError(
            "a calibration batch is an array [batch, ...] of inputs, not "
            f"{type(batch).__name__}: of a batch of a loader, views.render(batch)['inputs']"
        )
    dtype = jax.dtypes.canonicalize_dtype(batch.dtype)
    return f"{dtype}[batch, {', '.join(map(str, batch.shape[1:]))}]"
