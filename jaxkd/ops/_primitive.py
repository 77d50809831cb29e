"""A JAX primitive for the convolutions on CPU, with a program of its own for each gradient.

A convolution, its gradient to the image and its gradient to the kernel belong to one trilinear
form: each is linear in both of its arrays, and the transpose of any of them is another. So one
primitive with three kinds is closed under every kind of differentiation, of any order.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxkd.ops._choice import form_of
from jaxkd.ops._forms import FORMS
from jaxkd.ops._problem import Problem

convolution_p = Primitive("cpu_convolution")


def convolve(problem: Problem, kind: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes one of the three maps of a convolution, as `jaxkd.ops._forms` names them."""
    return convolution_p.bind(a, b, problem=problem, kind=kind)


def _run(a: jax.Array, b: jax.Array, *, problem: Problem, kind: str) -> jax.Array:
    return FORMS[form_of(problem, kind)](problem, kind, a, b)


def _abstract(a: Any, b: Any, *, problem: Problem, kind: str) -> Any:
    shapes = {
        "forward": (a.shape[0], *problem.out, problem.channels[1]),
        "input": (a.shape[0], *problem.image, problem.channels[0]),
        "kernel": problem.kernel_shape,
    }
    dtype = problem.out_dtype if kind == "forward" else problem.dtype
    return a.update(shape=shapes[kind], dtype=dtype, weak_type=False)


def _transpose_first(cotangent: jax.Array, a: Any, b: jax.Array, *, problem: Problem, kind: str):
    # forward(x, w): input(y, w).  input(y, w): forward(x, w).  kernel(x, y): input(y, w).
    if kind == "kernel":
        return convolve(problem, "input", b, cotangent)
    return convolve(problem, "input" if kind == "forward" else "forward", cotangent, b)


def _transpose_second(cotangent: jax.Array, a: jax.Array, b: Any, *, problem: Problem, kind: str):
    # forward(x, w): kernel(x, y).  input(y, w): kernel(x, y).  kernel(x, y): forward(x, w).
    if kind == "input":
        return convolve(problem, "kernel", cotangent, a)
    return convolve(problem, "kernel" if kind == "forward" else "forward", a, cotangent)


def _batch(arrays: Any, axes: Any, *, problem: Problem, kind: str) -> tuple[jax.Array, int]:
    """Makes one batch of many images with one kernel; computes anything else one by one.

    XLA makes a grouped convolution of many kernels, which takes 2 to 10 times as long as one by
    one.

    Returns:
      The result, and the position of the mapped axis in it, 0.
    """
    (a, b), (first, second) = arrays, axes
    if kind != "kernel" and second is None:
        a = jnp.moveaxis(a, first, 0)
        result = convolve(problem, kind, a.reshape(-1, *a.shape[2:]), b)
        return result.reshape(*a.shape[:2], *result.shape[1:]), 0
    mapped = [
        jnp.moveaxis(x, axis, 0) for x, axis in zip(arrays, axes, strict=True) if axis is not None
    ]

    def one(given: Any) -> jax.Array:
        given = list(given)
        pair = [x if axis is None else given.pop(0) for x, axis in zip(arrays, axes, strict=True)]
        return convolve(problem, kind, *pair)

    return lax.map(one, mapped), 0


convolution_p.def_impl(jax.jit(_run, static_argnames=("problem", "kind")))
convolution_p.def_abstract_eval(_abstract)
ad.defbilinear(convolution_p, _transpose_first, _transpose_second)
batching.primitive_batchers[convolution_p] = _batch
mlir.register_lowering(convolution_p, mlir.lower_fun(_run, multiple_results=False))
