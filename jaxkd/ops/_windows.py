"""Windows of images, unfolded, and the correlations that a strided gradient falls into."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax import lax

from jaxkd.ops._problem import Pair, Problem

Padding = tuple[Pair, Pair]
Correlate = Callable[[jax.Array, jax.Array, Padding], jax.Array]


def padded(image: jax.Array, padding: Padding) -> jax.Array:
    """Adds zeros around an image, if there are any to add."""
    return jnp.pad(image, ((0, 0), *padding, (0, 0))) if any(map(any, padding)) else image


def slices(image: jax.Array, start: Pair, count: Pair, strides: Pair) -> jax.Array:
    """Takes rows and columns at these strides, from a start on."""
    ends = [a + (n - 1) * s + 1 for a, n, s in zip(start, count, strides, strict=True)]
    return lax.slice(
        image,
        (0, *start, 0),
        (image.shape[0], *ends, image.shape[3]),
        (1, *strides, 1),
    )


def positions_of(problem: Problem) -> Iterator[tuple[int, int, Pair]]:
    """Yields the positions of the kernel, and where the image under each begins."""
    for i in range(problem.kernel[0]):
        for j in range(problem.kernel[1]):
            yield i, j, (i * problem.dilation[0], j * problem.dilation[1])


def image_windows(problem: Problem, image: jax.Array) -> jax.Array:
    """Gathers for each output pixel the pixels under the kernel.

    Args:
      problem: the convolution.
      image: `[batch, height, width, in]`.

    Returns:
      `[batch, out height, out width, positions * in]`.
    """
    image = padded(image, problem.padding)
    parts = [
        slices(image, start, problem.out, problem.strides) for _, _, start in positions_of(problem)
    ]
    return jnp.concatenate(parts, -1)


def gradient_windows(problem: Problem, gradient: jax.Array) -> jax.Array:
    """Gathers for each input pixel the gradients of the output pixels that depend on it.

    Args:
      problem: the convolution, with strides of one.
      gradient: `[batch, out height, out width, out]`.

    Returns:
      `[batch, height, width, positions * out]`.
    """
    before = [max(r - 1 - p[0], 0) for r, p in zip(problem.reach, problem.padding, strict=True)]
    # The kernel's position a connects an input pixel with the output pixel `p - d * a` after it.
    first = [b + p[0] for b, p in zip(before, problem.padding, strict=True)]
    after = [
        max(f + n - b - o, 0)
        for f, n, b, o in zip(first, problem.image, before, problem.out, strict=True)
    ]
    gradient = padded(gradient, tuple(zip(before, after, strict=True)))  # type: ignore[arg-type]
    parts = [
        slices(gradient, (first[0] - i, first[1] - j), problem.image, (1, 1))
        for _, _, (i, j) in positions_of(problem)
    ]
    return jnp.concatenate(parts, -1)


def by_phases(
    problem: Problem,
    correlate: Correlate,
    gradient: jax.Array,
    kernel: jax.Array,
    channels: int,
    dtype: jnp.dtype,
) -> jax.Array:
    """Computes the gradient to the image, by correlations of stride one.

    With a stride of two, the even and the odd rows of the image meet different rows of the kernel;
    each such phase is a correlation of its own and the phases are interleaved, so that nothing is
    multiplied by the zeros between the rows of a dilated gradient.

    Args:
      problem: the convolution.
      correlate: `correlate(gradient, kernel, padding)` computes a correlation of stride one.
      gradient: gradient to the output, `[batch, out height, out width, out]`.
      kernel: the kernel.
      channels: number of channels of the result.
      dtype: type of the result.

    Returns:
      The gradient to the image, `[batch, height, width, channels]`.
    """
    strides, starts = problem.strides, [before for before, _ in problem.padding]
    # Where the image begins in the padded image, and where it ends, counted in strides.
    first = [start // s for start, s in zip(starts, strides, strict=True)]
    last = [
        -(-(start + n) // s) for start, n, s in zip(starts, problem.image, strides, strict=True)
    ]
    flipped = kernel[::-1, ::-1]
    size = (last[0] - first[0], last[1] - first[1])
    maps: list[list[jax.Array]] = []
    for down in range(strides[0]):
        maps.append([])
        for across in range(strides[1]):
            pads, phase = [], (down, across)
            reached = True
            for axis in (0, 1):
                # Positions of the kernel that the rows of this phase meet.
                taps = len(range(phase[axis], problem.kernel[axis], strides[axis]))
                count = gradient.shape[1 + axis]
                before = problem.dilation[axis] * (taps - 1) - first[axis]
                after = last[axis] - count
                pads.append((before, after))
                reached = reached and taps > 0 and count + min(before, 0) + min(after, 0) > 0
            if not reached:
                maps[-1].append(jnp.zeros((gradient.shape[0], *size, channels), dtype))
                continue
            ends = [
                (k - 1 - at) % s for k, at, s in zip(problem.kernel, phase, strides, strict=True)
            ]
            taps_of_phase = flipped[ends[0] :: strides[0], ends[1] :: strides[1]]
            crops = [(0, 0, 0), *((min(a, 0), min(b, 0), 0) for a, b in pads), (0, 0, 0)]
            cropped = lax.pad(gradient, jnp.zeros((), gradient.dtype), crops)
            zeros = tuple((max(a, 0), max(b, 0)) for a, b in pads)
            maps[-1].append(correlate(cropped, taps_of_phase, zeros))  # type: ignore[arg-type]
    if strides == (1, 1):
        return maps[0][0]
    result = jnp.stack([jnp.stack(row, 3) for row in maps], 2)
    sizes = (size[0] * strides[0], size[1] * strides[1])
    result = result.reshape(gradient.shape[0], *sizes, channels)
    corner = tuple(a - s * f for a, s, f in zip(starts, strides, first, strict=True))
    return slices(result, corner, problem.image, (1, 1))  # type: ignore[arg-type]


def dilated(maps: jax.Array, strides: Pair, size: Pair) -> jax.Array:
    """Puts maps at every stride of a larger map of zeros."""
    if strides == (1, 1):
        return maps
    zero = jnp.zeros((), maps.dtype)
    config = [
        (0, n - ((m - 1) * s + 1), s - 1)
        for n, m, s in zip(size, maps.shape[1:3], strides, strict=True)
    ]
    return lax.pad(maps, zero, ((0, 0, 0), *config, (0, 0, 0)))
