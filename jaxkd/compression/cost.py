"""What a network costs: parameters, bytes, FLOPs, latency and throughput."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core as jex_core

from jaxkd.compression._forward import batch_size_of, forward_of
from jaxkd.networks import Network
from jaxkd.ops import xla_convolutions


@dataclasses.dataclass(frozen=True)
class Latency:
    """How long one call of a compiled forward pass took, over many calls.

    Attributes:
      median_s: Median time of a call, in seconds.
      p10_s: 10th percentile, in seconds: the machine at its quietest.
      p90_s: 90th percentile, in seconds.
      batch_size: Number of examples a call.
    """

    median_s: float
    p10_s: float
    p90_s: float
    batch_size: int

    @property
    def examples_per_second(self) -> float:
        """Examples a second at the median time."""
        return self.batch_size / self.median_s


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one network costs.

    Attributes:
      parameters: Number of parameters.
      parameter_bytes: Bytes of the parameter arrays.
      flops: FLOPs of the evaluation forward pass, an example.
      single: Times of a call with one example.
      batched: Times of a call with the whole batch that was given.
    """

    parameters: int
    parameter_bytes: int
    flops: float
    single: Latency
    batched: Latency

    @property
    def latency_s(self) -> float:
        """Median seconds that one example takes on its own."""
        return self.single.median_s

    @property
    def throughput(self) -> float:
        """Examples a second in the whole batch."""
        return self.batched.examples_per_second


def count_parameters(params: Any) -> int:
    """Counts the numbers in a tree of parameters.

    Args:
      params: A pytree of arrays.

    Returns:
      The sum of the sizes of all arrays. A quantized tree holds its scales as well, and they count.

    Raises:
      TypeError: A leaf is not an array.

    Example:
      >>> import numpy as np
      >>> count_parameters({"kernel": np.zeros((784, 10)), "bias": np.zeros(10)})
      7850
    """
    return sum(leaf.size for leaf in _arrays(params))


def parameter_bytes(params: Any) -> int:
    """Counts the bytes of a tree of parameters.

    Types narrower than a byte count as packed, two int4 numbers to a byte, which is what a file
    or an accelerator needs for them; the CPU backend spends a whole byte on each.

    Args:
      params: A pytree of arrays.

    Returns:
      The sum of the bytes of all arrays, each rounded up to a whole byte.

    Raises:
      TypeError: A leaf is not an array.

    Example:
      >>> import numpy as np
      >>> kernel, bias = np.zeros((784, 10), np.int8), np.zeros(10, np.float32)
      >>> parameter_bytes({"kernel": kernel, "bias": bias})
      7880
    """
    return sum(
        -(-leaf.size * jax.dtypes.itemsize_bits(leaf.dtype) // 8) for leaf in _arrays(params)
    )


def sparse_bytes(params: Any) -> int:
    """Counts the bytes of a tree of parameters whose zeros are left out.

    An array is kept as its numbers that are not zero and a bit for each place, or whole, whichever
    is less. Below about a thirtieth of zeros in float32, or an eighth in int8, that is whole.

    Args:
      params: A pytree of arrays.

    Returns:
      The sum over all arrays, each rounded up to a whole byte.

    Raises:
      TypeError: A leaf is not an array.

    Example:
      >>> import numpy as np
      >>> kernel = np.zeros((80, 10), np.float32)
      >>> kernel[:8] = 1
      >>> parameter_bytes(kernel), sparse_bytes(kernel)  # 80 numbers, 800 bits
      (3200, 420)
    """
    total = 0
    for leaf in _arrays(params):
        bits = jax.dtypes.itemsize_bits(leaf.dtype)
        kept = int(np.count_nonzero(np.asarray(leaf.astype(np.float32)))) * bits + leaf.size
        total += -(-min(kept, leaf.size * bits) // 8)
    return total


def program_flops(program: jax.stages.Lowered | jax.stages.Compiled) -> float:
    """Reads the FLOPs of one call from XLA's cost analysis of a program.

    XLA counts a multiply-add as two FLOPs and leaves out the taps of a convolution that fall on
    padding. The body of a loop is counted once, however often it runs
    ([`flops`][jaxkd.compression.flops] corrects that).

    A lowered program is the same on every backend. A compiled one is what really runs, but it can
    call a library (cuDNN, cuBLAS), and XLA may not know the cost of such a call.

    Args:
      program: What `jax.jit(function).lower(...)` returns, or that `.compile()`d.

    Returns:
      The number of floating-point operations; zero for a program that only moves data.

    Raises:
      ValueError: XLA does not know the cost of a part of the program.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> lowered = jax.jit(jnp.dot).lower(jnp.ones((8, 64)), jnp.ones((64, 10)))
      >>> program_flops(lowered)  # 2 * 8 * 64 * 10
      10240.0
    """
    analysis = program.cost_analysis() or {}
    result = float(analysis.get("flops", 0.0))
    if result < 0:  # XLA's mark for a call whose cost it does not know.
        raise ValueError(
            f"XLA's cost analysis gives {result} FLOPs: the program calls a library whose cost "
            "XLA does not know. Pass the lowered program instead of the compiled one."
        )
    return result


def flops(network: Network, inputs: Any) -> float:
    """Counts the FLOPs of the evaluation forward pass, an example.

    The count comes from XLA's analysis of the *lowered* program, so it does not depend on the
    backend, with the body of every `jax.lax.scan` (layers stacked in a scan, recurrent networks)
    multiplied by the length of the scan. On CPU the compiled program of a dense or convolutional
    network has the same count. Only what the logits need is counted: features that are tapped for
    distillation are not computed in deployment.

    Args:
      network: The network, with its parameters.
      inputs: A batch as the network takes it, `[batch, ...]`: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      FLOPs of the batch divided by the batch size; a multiply-add counts as two.

    Raises:
      ValueError: The inputs are empty or differ in their leading axis, or the network has a loop
        whose number of iterations is only known when it runs.
    """
    batch_size = batch_size_of(inputs)
    with xla_convolutions():  # whose multiplications are counted, in whatever form they run
        forward = jax.make_jaxpr(forward_of(network))(network.params, network.state, inputs)
        return _flops_with_loops(forward) / batch_size


def latency(network: Network, inputs: Any, *, repeats: int = 50, warmup: int = 5) -> Latency:
    """Times the compiled evaluation forward pass.

    Every call is timed on its own until its result is ready on the device. Inputs and parameters
    are on the device before the clock starts, so their transfer is not part of the time.

    Args:
      network: The network, with its parameters.
      inputs: A batch as the network takes it, `[batch, ...]`.
      repeats: Number of timed calls.
      warmup: Number of calls before those; the first of them compiles.

    Returns:
      Median, 10th and 90th percentile of the times, in seconds.

    Raises:
      ValueError: `repeats` or `warmup` is below one, or the inputs are empty or differ in their
        leading axis.
    """
    if repeats < 1 or warmup < 1:
        raise ValueError(
            f"repeats and warmup must be at least 1, got repeats={repeats} and warmup={warmup}: "
            "the first call compiles and must not be timed."
        )
    batch_size = batch_size_of(inputs)
    arguments = jax.device_put((network.params, network.state, inputs))
    forward = jax.jit(forward_of(network))
    for _ in range(warmup):
        jax.block_until_ready(forward(*arguments))
    times = np.empty(repeats)
    for i in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(forward(*arguments))
        times[i] = time.perf_counter() - start
    p10, median, p90 = (float(t) for t in np.percentile(times, (10, 50, 90)))
    return Latency(median_s=median, p10_s=p10, p90_s=p90, batch_size=batch_size)


def measure(network: Network, inputs: Any, *, repeats: int = 50, warmup: int = 5) -> Cost:
    """Measures everything that a network costs.

    Args:
      network: The network, with its parameters.
      inputs: A batch as the network takes it, `[batch, ...]`. The throughput is that of the whole
        batch, the latency that of its first example alone.
      repeats: Number of timed calls, for each of the two.
      warmup: Number of calls before those.

    Returns:
      Parameters, bytes, FLOPs an example, and the times at batch 1 and at the whole batch.

    Raises:
      ValueError: As in [`flops`][jaxkd.compression.flops] and
        [`latency`][jaxkd.compression.latency].
    """
    batch_size_of(inputs)
    first = jax.tree.map(lambda x: x[:1], inputs)
    return Cost(
        parameters=count_parameters(network.params),
        parameter_bytes=parameter_bytes(network.params),
        flops=flops(network, inputs),
        single=latency(network, first, repeats=repeats, warmup=warmup),
        batched=latency(network, inputs, repeats=repeats, warmup=warmup),
    )


def _arrays(params: Any) -> Iterator[Any]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "size"):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} is a {type(leaf).__name__}, not an array: "
                "pass the tree of parameters, `network.params`."
            )
        yield leaf


def _flops_with_loops(jaxpr: jex_core.ClosedJaxpr) -> float:
    """FLOPs of a traced function; XLA counts a scan's body once, here it counts every time."""
    total = _flops_of_body(jaxpr)
    for length, body in _scans(jaxpr.jaxpr):
        total += length * _flops_with_loops(body) - _flops_of_body(body)
    return total


def _flops_of_body(jaxpr: jex_core.ClosedJaxpr) -> float:
    return program_flops(jax.jit(jex_core.jaxpr_as_fun(jaxpr)).lower(*jaxpr.in_avals))


def _scans(jaxpr: jex_core.Jaxpr) -> Iterator[tuple[int, jex_core.ClosedJaxpr]]:
    """The outermost scans of a function and of what it calls: (length, body)."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["length"], equation.params["jaxpr"]
        elif equation.primitive.name == "while":
            raise ValueError(
                "The network has a while loop, so its FLOPs depend on how often the loop runs. "
                "Give the loop a fixed length (jax.lax.scan, or fori_loop with Python numbers)."
            )
        else:
            for inner in jex_core.jaxprs_in_params(equation.params):
                yield from _scans(inner)
