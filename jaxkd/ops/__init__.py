"""Operations that XLA runs slowly, or that it lacks.

- `conv_general_dilated`: convolutions that are fast on CPU, a drop-in for that of `jax.lax`
- `xla_convolutions`: a context in which they are XLA's own
- `max_pool`, `adaptive_average_pool`, `to_common_size`, `pyramid`: pooling
- `resize_nearest`: resizing
- `banks`: memory banks of contrastive distillation
"""

from jaxkd.ops import banks as banks
from jaxkd.ops.convolution import conv_general_dilated as conv_general_dilated
from jaxkd.ops.convolution import xla_convolutions as xla_convolutions
from jaxkd.ops.pooling import adaptive_average_pool as adaptive_average_pool
from jaxkd.ops.pooling import max_pool as max_pool
from jaxkd.ops.pooling import pyramid as pyramid
from jaxkd.ops.pooling import to_common_size as to_common_size
from jaxkd.ops.resizing import resize_nearest as resize_nearest

__all__ = [
    "adaptive_average_pool",
    "banks",
    "conv_general_dilated",
    "max_pool",
    "pyramid",
    "resize_nearest",
    "to_common_size",
    "xla_convolutions",
]
