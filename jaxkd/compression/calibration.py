"""The ranges of layers' inputs, from examples."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.compression._layers import Watched, layers_of, replaced
from jaxkd.networks import from_nnx


def calibrate(
    model: nnx.Module,
    batches: Iterable[Any],
    *,
    like: Any = None,
    percentile: float = 100.0,
    min_examples: int = 128,
) -> dict[str, float]:
    """Finds how large the inputs of every dense and convolutional layer get.

    The batches are what the network takes, `[batch, ...]`: rendered views, best those that the
    student is trained on. Of a loader, with or without a cache, the first eight steps are

        batches = (views.render(loader[step])["inputs"] for step in range(8))

    Args:
      model: the module as it will be quantized, thus with batch normalization folded. Not changed.
      batches: inputs, each batch with examples along its first axis.
      like: a batch that is known to be right, or its `jax.ShapeDtypeStruct`; its type and its shape
        behind the first axis must be those of every batch. By default those of the first batch.
      percentile: of the absolute values within a batch, whose largest over all batches counts. 100
        is the maximum; 99.9 gives up outliers for finer steps.
      min_examples: fewer are refused, since a range that new inputs exceed cuts them off.

    Returns:
      Path of each layer that was called → its range, in units of its input. Plain numbers, for
      `quantize(ranges=…)`, `fake_quantized(ranges=…)` and JSON.

    Raises:
      ValueError: too few examples, a batch of another shape or type, values that are not finite, a
        percentile beyond 100 or not above 0.

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
    seen: dict[str, list[jax.Array]] = {}

    def watched(path: str, layer: nnx.Module) -> Watched:
        def record(inputs: jax.Array, outputs: Any) -> None:
            del outputs
            # A percentile alone would pass over infinities.
            largest = jnp.where(jnp.isfinite(inputs).all(), range_of(inputs, percentile), jnp.inf)
            seen.setdefault(path, []).append(largest)

        return Watched(layer, record)

    layers = layers_of(model, (nnx.Linear, nnx.Conv))
    network = from_nnx(replaced(model, {path: watched(path, layers[path]) for path in layers}))

    @jax.jit
    def measured(params: Any, state: Any, inputs: Any) -> dict[str, jax.Array]:
        seen.clear()
        network.apply(params, state, inputs)
        return {path: jnp.max(jnp.stack(values)) for path, values in seen.items()}

    wanted, examples = _kind(like), 0
    ranges: dict[str, float] = {}
    for number, batch in enumerate(batches):
        if wanted is None:
            wanted = _kind(batch)
        if _kind(batch) != wanted:
            raise ValueError(
                f"calibration batch {number} has {_told(batch)} where {_told_kind(wanted)} was "
                "expected: calibrate with the inputs that the network is trained on"
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
            "more batches, or lower min_examples if ranges that new inputs exceed will do"
        )
    return ranges


def range_of(inputs: jax.Array, percentile: float) -> jax.Array:
    """The percentile of an array's absolute values, in float32."""
    sizes = jnp.abs(inputs).astype(jnp.float32)
    return jnp.max(sizes) if percentile == 100 else jnp.percentile(sizes, percentile)


def check_percentile(percentile: float) -> None:
    """Refuses what is no percentile above 0."""
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must be above 0 and at most 100, not {percentile}")


def _kind(batch: Any) -> tuple[str, tuple[int, ...]] | None:
    """Type and shape of one example."""
    if batch is None:
        return None
    if not hasattr(batch, "dtype") or not batch.shape:
        raise ValueError(
            "a calibration batch is an array [batch, ...] of inputs, not "
            f"{type(batch).__name__}: of a batch of a loader, views.render(batch)['inputs']"
        )
    return str(jax.dtypes.canonicalize_dtype(batch.dtype)), tuple(batch.shape[1:])


def _told(batch: Any) -> str:
    return _told_kind(_kind(batch))


def _told_kind(kind: tuple[str, tuple[int, ...]] | None) -> str:
    assert kind is not None
    dtype, shape = kind
    return f"{dtype}[batch, {', '.join(map(str, shape))}]"
