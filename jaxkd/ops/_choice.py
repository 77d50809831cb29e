"""The form that a convolution takes on CPU, chosen by measurements.

`benchmarks/convolutions.py` measures all forms of the layers of many networks.
"""

import math

from jaxkd.ops._problem import Problem

# Multiplications below which XLA's convolution takes a few microseconds, and compiles fastest.
FEW_MULTIPLICATIONS = 2**18


def is_worthwhile(problem: Problem, examples: int) -> bool:
    """Whether a batch is large enough for its form to matter."""
    of_an_example = math.prod((*problem.out, *problem.kernel_shape))
    return examples * of_an_example >= FEW_MULTIPLICATIONS


def form_of(problem: Problem, kind: str) -> str:
    """Names the form of `jaxkd.ops._forms` in which a convolution or a gradient of it is fastest.

    XLA's own convolution is as fast as any in the arrangement of axes that it has code for, but
    its gradient to the kernel is not, and depthwise and grouped ones never are.

    Args:
      problem: the convolution.
      kind: `"forward"`, or `"input"` and `"kernel"` for the gradients.

    Returns:
      A name in `FORMS`.
    """
    if problem.is_depthwise:
        return "shifts"
    if problem.groups > 1:
        return "grouped"
    if problem.is_pointwise:
        return "pointwise"
    if problem.is_tiled:
        return "tiled"
    # XLA's convolution of images smaller than the kernel is up to 17 times slower.
    small = any(n < k for n, k in zip(problem.image, problem.kernel, strict=True))
    return "columns" if small or kind == "kernel" else "canonical"
