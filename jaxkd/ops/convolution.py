"""Convolutions that are fast on CPU, and XLA's own elsewhere."""

import contextlib
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxkd.ops import _choice
from jaxkd.ops._primitive import convolve
from jaxkd.ops._problem import Problem

# A part of the keys of `jax.jit`'s caches, so that no program is reused across the context.
_XLA_ONLY = jax.make_user_context(False)


def xla_convolutions() -> contextlib.AbstractContextManager[None]:
    """Makes every convolution traced within it XLA's own on every platform.

    For programs that are analyzed or shipped instead of run here: exports, counts of FLOPs, meshes
    of several CPU devices, and comparisons.

    Returns:
      A context manager.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def f(x, w):
      ...     numbers = ("NHWC", "HWIO", "NHWC")
      ...     return conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)
      >>> x, w = jnp.ones((8, 32, 32, 3)), jnp.ones((3, 3, 3, 8))
      >>> with xla_convolutions():
      ...     print(jax.make_jaxpr(f)(x, w).eqns[0].primitive)
      conv_general_dilated
    """
    return _XLA_ONLY(True)


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    **options: Any,
) -> jax.Array:
    """Computes what `jax.lax.conv_general_dilated` computes, faster on CPU.

    On GPU and TPU it is that function. On CPU, XLA's convolutions and above all their gradients
    are far from the peak of the machine; here they are matrix products, sums of shifted images,
    and XLA's convolution where that is fastest. The choice is made when the program is lowered for
    a platform; differentiation of any kind and order, `vmap` and `remat` work as before.

    One and two spatial dimensions with channels last (`NWC`, `NHWC`), as Flax passes them, are
    covered; everything else is XLA's convolution on CPU, too: other layouts, three dimensions,
    dilated inputs, negative padding, strides together with dilation, integers, symbolic sizes,
    `out_sharding`, arrays sharded over a mesh, whose partitioner knows convolutions, types of one
    byte, and arrays so small that any form takes microseconds. Policies of `jax.checkpoint` that
    name JAX's convolution do not apply to this one.

    With more zeros than the kernel reaches over, XLA's gradient to the image is wrong on CPU in
    jax 0.10.2; this one is right.

    Args:
      lhs: images, `[batch, (height,) width, channels]` if `dimension_numbers` say so.
      rhs: kernel, `[(height,) width, channels // groups, out channels]`.
      window_strides: strides; this and all the following as in `jax.lax.conv_general_dilated`.
      padding: `"SAME"`, `"VALID"`, or zeros before and after for every dimension.
      lhs_dilation: distance of neighboring pixels.
      rhs_dilation: distance of neighboring positions of the kernel.
      dimension_numbers: meaning of the axes.
      feature_group_count: number of groups of channels.
      batch_group_count: number of groups of examples.
      precision: precision of the products.
      preferred_element_type: type of the output.
      **options: further arguments of newer versions of JAX.

    Returns:
      The convolved images, `[batch, (height,) width, out channels]`.

    Raises:
      TypeError: as `jax.lax.conv_general_dilated`.
      ValueError: as `jax.lax.conv_general_dilated`.

    Example:
      >>> from flax import nnx
      >>> fast = dict(conv_general_dilated=conv_general_dilated)
      >>> layer = nnx.Conv(3, 8, (3, 3), **fast, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 32, 32, 3))).shape
      (2, 32, 32, 8)
    """

    def xla(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
            **options,
        )

    plain = all(value is None for value in options.values()) and batch_group_count == 1
    if _XLA_ONLY.value or not plain or _on_mesh(lhs, rhs):
        return xla(lhs, rhs)
    problem = _problem(
        xla,
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        precision,
    )
    if problem is None:
        return xla(lhs, rhs)
    cpu = functools.partial(_on_cpu, problem)
    return lax.platform_dependent(lhs, rhs, cpu=cpu, default=xla)


def _on_cpu(problem: Problem, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    if lhs.ndim == 4:
        return convolve(problem, "forward", lhs, rhs)
    return convolve(problem, "forward", lhs[:, None], rhs[None])[:, 0]


def _on_mesh(*arrays: jax.Array) -> bool:
    """Whether arrays lie on several devices, or have types that name the axes of a mesh."""
    meshes = [jax.sharding.get_abstract_mesh(), *(jax.typeof(x).sharding.mesh for x in arrays)]
    return any(
        not mesh.empty and (mesh.size > 1 or mesh.explicit_axes or mesh.manual_axes)
        for mesh in meshes
    )


def _problem(
    xla: Callable[[jax.Array, jax.Array], jax.Array],
    lhs: jax.Array,
    rhs: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    numbers: Any,
    groups: int,
    precision: lax.PrecisionLike,
) -> Problem | None:
    """The convolution in two dimensions; None if it is not covered, tiny, or invalid."""
    dims = lhs.ndim - 2
    shapes = (*lhs.shape, *rhs.shape)
    if dims not in (1, 2) or rhs.ndim != lhs.ndim or not all(isinstance(n, int) for n in shapes):
        return None  # programs with symbolic sizes are shipped
    if 0 in shapes:
        return None
    spec = lax.conv_dimension_numbers(lhs.shape, rhs.shape, numbers)
    last = (0, dims + 1, *range(1, dims + 1))
    if spec.lhs_spec != last or spec.out_spec != last:
        return None
    if spec.rhs_spec != (dims + 1, dims, *range(dims)):
        return None
    dilation = (1,) * dims if rhs_dilation is None else tuple(rhs_dilation)
    ones = lhs_dilation is None or set(lhs_dilation) <= {1}
    # Raises the errors of JAX for mistakes.
    out_dtype = jax.eval_shape(xla, lhs, rhs).dtype
    wide = all(jnp.issubdtype(x, jnp.floating) and x.itemsize > 1 for x in (lhs.dtype, out_dtype))
    if not ones or not wide or rhs.dtype != lhs.dtype or len(strides) != dims:
        return None
    if len(dilation) != dims or groups < 1 or rhs.shape[-2] * groups != lhs.shape[-1]:
        return None
    if rhs.shape[-1] % groups or min((*strides, *dilation)) < 1:
        return None
    if any(s > 1 and d > 1 for s, d in zip(strides, dilation, strict=True)):
        return None
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID", "SAME_LOWER"):
            return None
        reach = [d * (k - 1) + 1 for k, d in zip(rhs.shape[:dims], dilation, strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:-1], reach, strides, padding)
    pads = [tuple(operator.index(x) for x in pair) for pair in padding]
    if len(pads) != dims or min(min(pair) for pair in pads) < 0:
        return None
    front, none = ((1,), ((0, 0),)) if dims == 1 else ((), ())
    problem = Problem(
        image=(*front, *lhs.shape[1:-1]),
        kernel=(*front, *rhs.shape[:dims]),
        channels=(lhs.shape[-1], rhs.shape[-1]),
        strides=(*front, *(int(s) for s in strides)),
        padding=(*none, *pads),
        dilation=(*front, *(int(d) for d in dilation)),
        groups=groups,
        dtype=lhs.dtype,
        out_dtype=out_dtype,
        precision=tuple(precision) if isinstance(precision, list) else precision,
    )
    fits = min(problem.out) >= 1
    # XLA's gradient to the image is wrong in jax 0.10.2 where zeros extend beyond the kernel.
    beyond = any(max(p) >= r for p, r in zip(problem.padding, problem.reach, strict=True))
    return problem if fits and (beyond or _choice.is_worthwhile(problem, lhs.shape[0])) else None
