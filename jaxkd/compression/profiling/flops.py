"""Floating-point operations of a program, and of the forward pass of a network."""

from collections.abc import Iterator
from typing import Any

import jax
from jax.extend import core as jex_core

from jaxkd.compression.profiling._forward import batch_size_of, forward_of
from jaxkd.networks import Network
from jaxkd.ops import xla_convolutions


def program_flops(program: jax.stages.Lowered | jax.stages.Compiled) -> float:
    """Reads the FLOPs of one call from XLA's cost analysis of a program.

    XLA counts a multiply-add as two FLOPs and leaves out the taps of a convolution that fall on
    padding. The body of a loop is counted once, however often it runs
    (`jaxkd.compression.flops` corrects that).

    A lowered program is the same on every backend. A compiled one is what runs, but it can call a
    library (cuDNN, cuBLAS), and XLA may not know the cost of such a call.

    Args:
      program: what `jax.jit(function).lower(...)` returns, or that `.compile()`d.

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
    if result < 0:  # for a call whose cost XLA does not know
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
    network has the same count. Only what the logits need is counted: features that are returned for
    distillation are not computed in deployment.

    Args:
      network: the network, with its parameters.
      inputs: a batch as the network takes it, `[batch, ...]`: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      FLOPs of the batch divided by the batch size; a multiply-add counts as two.

    Raises:
      ValueError: the inputs are empty or differ in their leading axis, or the network has a loop
        whose number of iterations is only known when it runs.

    Example:
      >>> from flax import nnx
      >>> import jax.numpy as jnp
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(64, 10, use_bias=False, rngs=nnx.Rngs(0)))
      >>> flops(network, jnp.ones((8, 64)))  # 2 * 64 * 10
      1280.0
    """
    batch_size = batch_size_of(inputs)
    # On CPU convolutions run in other forms; the count is that of XLA's convolutions everywhere.
    with xla_convolutions():
        forward = jax.make_jaxpr(forward_of(network))(network.params, network.state, inputs)
        return _flops_with_loops(forward) / batch_size


def _flops_with_loops(jaxpr: jex_core.ClosedJaxpr) -> float:
    """FLOPs of a traced function, with the body of a scan counted as often as it runs."""
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
