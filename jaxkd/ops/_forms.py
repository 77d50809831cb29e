"""Convolutions and both their gradients in the forms that XLA runs fast on CPU.

A convolution is linear in its image and in its kernel, so three maps belong to it, each a function
of the two arrays that the third is not:

- `forward` of image and kernel gives the output,
- `input` of output gradient and kernel gives the gradient to the image,
- `kernel` of image and output gradient gives the gradient to the kernel.

Images are `[batch, height, width, channels]`, kernels `[height, width, channels of a group, out]`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxkd.ops._problem import Pair, Problem
from jaxkd.ops._windows import (
    Padding,
    by_phases,
    dilated,
    gradient_windows,
    image_windows,
    padded,
    positions_of,
    slices,
)

# Unfolded images of about this size stay in the second-level cache while they are multiplied.
CHUNK_BYTES = 2**21
_NUMBERS = ("NHWC", "HWIO", "NHWC")


def pointwise(problem: Problem, kind: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes a convolution with a kernel of one position as one matrix product."""

    def unfold(image: jax.Array) -> jax.Array:
        return slices(image, (0, 0), problem.out, problem.strides).reshape(-1, image.shape[-1])

    def fold(rows: jax.Array) -> jax.Array:
        maps = rows.reshape(*a.shape[:3], -1)
        return dilated(maps, problem.strides, problem.image)

    return _one_product(problem, kind, a, b, unfold, fold)


def tiled(problem: Problem, kind: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes a convolution whose windows neither overlap nor leave gaps as one matrix product."""
    height, width, inside, _ = problem.kernel_shape
    down, across = problem.out

    def unfold(image: jax.Array) -> jax.Array:
        windows = image.reshape(-1, down, height, across, width, inside).swapaxes(2, 3)
        return windows.reshape(-1, height * width * inside)

    def fold(rows: jax.Array) -> jax.Array:
        windows = rows.reshape(-1, down, across, height, width, inside).swapaxes(2, 3)
        return windows.reshape(a.shape[0], *problem.image, inside)

    return _one_product(problem, kind, a, b, unfold, fold)


def _one_product(
    problem: Problem,
    kind: str,
    a: jax.Array,
    b: jax.Array,
    unfold: Callable[[jax.Array], jax.Array],
    fold: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """A convolution as a product of its unfolded image with its kernel.

    Args:
      problem: the convolution.
      kind: `"forward"`, `"input"` or `"kernel"`.
      a: the first array.
      b: the second array.
      unfold: makes of an image a matrix with one row a window.
      fold: the transpose of it, from such a matrix to an image.

    Returns:
      The result.
    """
    outside = problem.channels[1]
    if kind == "kernel":
        result = _dot(problem, unfold(a), b.reshape(-1, outside), (0, 0))
        return result.reshape(problem.kernel_shape).astype(problem.dtype)
    kernel = b.reshape(-1, outside)
    if kind == "forward":
        result = _dot(problem, unfold(a), kernel, (1, 0))
        return result.reshape(a.shape[0], *problem.out, outside).astype(problem.out_dtype)
    result = _dot(problem, a.reshape(-1, outside), kernel, (1, 1))
    return fold(result.astype(problem.dtype))


def canonical(problem: Problem, kind: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes a convolution as XLA's own, in the one arrangement of axes that it has code for.

    The gradient to the image, too, is a convolution: of the output's gradient with the transposed
    kernel. JAX leaves the transposition to XLA, which inside of loops does not do it and then runs
    40 to 270 times as slowly.

    Returns:
      The output, or the gradient to the image, `[batch, height, width, channels]`.

    Raises:
      ValueError: `kind` is `"kernel"`.
    """
    if kind == "forward":
        return lax.conv_general_dilated(
            a,
            b,
            problem.strides,
            problem.padding,
            rhs_dilation=problem.dilation,
            dimension_numbers=_NUMBERS,
            feature_group_count=problem.groups,
            precision=problem.precision,
            preferred_element_type=problem.out_dtype,
        )
    if kind == "kernel":
        raise ValueError("XLA has no fast code for the gradient to the kernel")

    def correlate(maps: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
        return lax.conv_general_dilated(
            maps,
            _transposed(kernel, problem.groups),
            (1, 1),
            padding,
            rhs_dilation=problem.dilation,
            dimension_numbers=_NUMBERS,
            feature_group_count=problem.groups,
            precision=problem.precision,
            preferred_element_type=a.dtype,
        )

    # In the type of the gradient, as JAX does, which may be wider than the image's.
    maps = by_phases(problem, correlate, a, b.astype(a.dtype), problem.channels[0], a.dtype)
    return maps.astype(problem.dtype)


def columns(problem: Problem, kind: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes a convolution of one group as a product of the unfolded image and the kernel.

    A few examples are unfolded at a time, so that they are multiplied while still in the cache.

    Returns:
      The output or the gradient to the image, `[batch, height, width, channels]`, or the gradient
      to the kernel `[height, width, in, out]`.
    """
    height, width, inside, outside = problem.kernel_shape
    if kind == "forward":
        flat = b.reshape(-1, outside)

        def multiply(image: jax.Array) -> jax.Array:
            unfolded = image_windows(problem, image)
            result = _dot(problem, unfolded.reshape(-1, len(flat)), flat, (1, 0))
            return result.reshape(*unfolded.shape[:3], outside).astype(problem.out_dtype)

        return _map_examples(multiply, a, math.prod(problem.out) * len(flat))
    if kind == "input":

        def correlate(maps: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
            phase = dataclasses.replace(
                problem,
                image=(maps.shape[1], maps.shape[2]),
                kernel=(kernel.shape[0], kernel.shape[1]),
                channels=(outside, inside),
                strides=(1, 1),
                padding=padding,
                dtype=a.dtype,
                out_dtype=a.dtype,
            )
            return columns(phase, "forward", maps, kernel.swapaxes(2, 3))

        maps = by_phases(problem, correlate, a, b.astype(a.dtype), inside, a.dtype)
        return maps.astype(problem.dtype)

    # The one with fewer channels is unfolded, image or gradient; with strides always the image.
    unfold_gradient = outside < inside and problem.strides == (1, 1)
    positions = height * width

    def kernel_gradient(image: jax.Array, gradient: jax.Array) -> jax.Array:
        if unfold_gradient:
            left, right = image.reshape(-1, inside), gradient_windows(problem, gradient)
            right = right.reshape(-1, positions * outside)
        else:
            left, right = image_windows(problem, image), gradient.reshape(-1, outside)
            left = left.reshape(-1, positions * inside)
        return _dot(problem, left, right, (0, 0))

    area = math.prod(problem.image if unfold_gradient else problem.out)
    thin = outside if unfold_gradient else inside
    chunk = _chunk(a.shape[0], area * positions * thin * a.dtype.itemsize)
    total = _sum_over_examples(kernel_gradient, chunk, a, b)
    if unfold_gradient:
        total = total.reshape(inside, positions, outside).swapaxes(0, 1)
    return total.reshape(problem.kernel_shape).astype(problem.dtype)


def shifts(problem: Problem, kind: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes a depthwise convolution as a sum of shifted images, fused into one loop by XLA."""
    height, width, _, outside = problem.kernel_shape
    each = outside // problem.channels[0]
    if kind == "forward":
        image = padded(jnp.repeat(a, each, -1) if each > 1 else a, problem.padding)
        total = sum(
            slices(image, start, problem.out, problem.strides).astype(problem.wide)
            * b[i, j, 0].astype(problem.wide)
            for i, j, start in positions_of(problem)
        )
        return total.astype(problem.out_dtype)  # type: ignore[union-attr]
    if kind == "input":

        def correlate(maps: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
            phase = dataclasses.replace(
                problem,
                image=(maps.shape[1], maps.shape[2]),
                kernel=(kernel.shape[0], kernel.shape[1]),
                channels=(outside, outside),
                groups=outside,
                strides=(1, 1),
                padding=padding,
                out_dtype=problem.wide,
            )
            return shifts(phase, "forward", maps, kernel)

        result = by_phases(problem, correlate, a, b, outside, problem.wide)
        if each > 1:
            result = result.reshape(*result.shape[:3], -1, each).sum(-1)
        return result.astype(problem.dtype)

    def kernel_gradient(image: jax.Array, gradient: jax.Array) -> tuple[jax.Array, ...]:
        gradient = gradient.astype(problem.wide)
        image = padded(jnp.repeat(image, each, -1) if each > 1 else image, problem.padding)
        products = tuple(
            slices(image, start, problem.out, problem.strides).astype(problem.wide) * gradient
            for _, _, start in positions_of(problem)
        )
        # A single pass over both arrays for all positions of the kernel.
        zeros = tuple(jnp.zeros((), problem.wide) for _ in products)
        return tuple(lax.reduce(products, zeros, _add_each, (0, 1, 2)))

    chunk = _chunk(a.shape[0], 2 * math.prod(problem.padded) * outside * a.dtype.itemsize)
    totals = _sum_over_examples(kernel_gradient, chunk, a, b)
    return jnp.stack(totals).reshape(problem.kernel_shape).astype(problem.dtype)


def grouped(problem: Problem, kind: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes a convolution of several groups as one batched product for all groups."""
    one = problem.of_one_group()
    form = pointwise if problem.is_pointwise else columns
    split = [x.reshape(*x.shape[:3], problem.groups, -1) for x in (a, b)]
    result = jax.vmap(lambda a, b: form(one, kind, a, b), in_axes=3, out_axes=3)(*split)
    return result.reshape(*result.shape[:3], -1)


FORMS = {
    "canonical": canonical,
    "columns": columns,
    "grouped": grouped,
    "tiled": tiled,
    "pointwise": pointwise,
    "shifts": shifts,
}


def _add_each(a: tuple[jax.Array, ...], b: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _transposed(kernel: jax.Array, groups: int) -> jax.Array:
    """The kernel from output to input channels, `[height, width, out of a group, in]`."""
    height, width, inside, outside = kernel.shape
    kernel = kernel.reshape(height, width, inside, groups, outside // groups)
    return kernel.swapaxes(2, 4).reshape(height, width, outside // groups, groups * inside)


def _dot(problem: Problem, a: jax.Array, b: jax.Array, axes: Pair) -> jax.Array:
    """A matrix product over one axis of each, summed in float32 at least."""
    if a.dtype != b.dtype:
        a, b = a.astype(problem.wide), b.astype(problem.wide)
    return lax.dot_general(
        a,
        b,
        (((axes[0],), (axes[1],)), ((), ())),
        precision=problem.precision,
        preferred_element_type=problem.wide,
    )


def _chunk(examples: int, nbytes: int) -> int:
    """Returns the greatest divisor of the batch size with which a chunk fits into the cache.

    The batch size itself where it is symbolic, in an export.
    """
    if not isinstance(examples, int):
        return examples
    most = max(1, min(examples, CHUNK_BYTES // max(nbytes, 1)))
    return max(count for count in range(1, most + 1) if examples % count == 0)


def _split_examples(array: jax.Array, chunk: int) -> jax.Array:
    return array.reshape(-1, chunk, *array.shape[1:])


def _map_examples(
    function: Callable[[jax.Array], jax.Array], array: jax.Array, numbers: int
) -> jax.Array:
    """Applies a function to a few examples at a time, so that its numbers stay in the cache.

    Args:
      function: the function, of a batch.
      array: all examples.
      numbers: how many numbers the function computes for an example.

    Returns:
      The results of all examples.
    """
    examples = array.shape[0]
    chunk = _chunk(examples, numbers * array.dtype.itemsize)
    if chunk == examples:
        return function(array)
    result = lax.map(function, _split_examples(array, chunk))
    return result.reshape(examples, *result.shape[2:])


def _sum_over_examples(function: Callable[..., Any], chunk: int, *arrays: jax.Array) -> Any:
    """Sums a function's arrays over the batch, `chunk` examples at a time."""
    if chunk == arrays[0].shape[0]:
        return function(*arrays)
    chunks = [_split_examples(x, chunk) for x in arrays]
    like = jax.eval_shape(function, *(x[0] for x in chunks))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    def add(totals: Any, examples: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, totals, function(*examples)), None

    return lax.scan(add, zeros, tuple(chunks))[0]
