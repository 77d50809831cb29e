"""The description of a convolution, without its arrays."""

import dataclasses

import jax
import jax.numpy as jnp

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A two-dimensional convolution of `[batch, height, width, channels]`, without its arrays.

    Attributes:
      image: height and width of the input.
      kernel: height and width of the kernel.
      channels: number of channels of the input and of the output.
      strides: strides down and across.
      padding: zeros before and after, down and across; none is negative.
      dilation: distance of neighboring kernel positions, down and across.
      groups: number of groups into which both kinds of channels fall.
      dtype: type of the input and the kernel.
      out_dtype: type of the output.
      precision: precision of the products, as in `jax.lax`.
    """

    image: Pair
    kernel: Pair
    channels: Pair
    strides: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int
    dtype: jnp.dtype
    out_dtype: jnp.dtype
    precision: jax.lax.PrecisionLike = None

    @property
    def reach(self) -> Pair:
        """Number of pixels that the kernel covers, down and across."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))  # type: ignore[return-value]

    @property
    def padded(self) -> Pair:
        """Height and width of the input with its zeros."""
        return tuple(n + sum(p) for n, p in zip(self.image, self.padding, strict=True))  # type: ignore[return-value]

    @property
    def out(self) -> Pair:
        """Height and width of the output."""
        sizes = zip(self.padded, self.reach, self.strides, strict=True)
        return tuple((n - r) // s + 1 for n, r, s in sizes)  # type: ignore[return-value]

    @property
    def wide(self) -> jnp.dtype:
        """The type in which sums are taken: float32 at least."""
        double = jnp.dtype(jnp.float64)
        return double if double in (self.dtype, self.out_dtype) else jnp.dtype(jnp.float32)

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """`[kernel height, kernel width, input channels of a group, output channels]`."""
        return (*self.kernel, self.channels[0] // self.groups, self.channels[1])

    @property
    def is_depthwise(self) -> bool:
        """Whether every group has one channel of the input."""
        return self.groups > 1 and self.channels[0] == self.groups

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernel has one position and there are no zeros around the input."""
        return self.kernel == (1, 1) and self.padding == ((0, 0), (0, 0))

    @property
    def is_tiled(self) -> bool:
        """Whether the windows neither overlap nor leave gaps, and there are no zeros around."""
        whole = tuple(n * k for n, k in zip(self.out, self.kernel, strict=True))
        return self.strides == self.kernel and self.padded == whole == self.image

    def of_one_group(self) -> "Problem":
        """Returns the convolution of one group."""
        channels = (self.channels[0] // self.groups, self.channels[1] // self.groups)
        return dataclasses.replace(self, channels=channels, groups=1)
