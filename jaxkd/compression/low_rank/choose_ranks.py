"""The ranks that save parameters."""

from collections.abc import Callable

import numpy as np
from flax import nnx

from jaxkd.compression.low_rank._kernels import (
    check_scheme,
    factorable_layers,
    kernel_sides,
    singular_values,
)


def choose_ranks(
    model: nnx.Module,
    *,
    rank: int | float | None = None,
    energy: float | None = None,
    where: Callable[[str, nnx.Module], bool] | None = None,
    scheme: str = "channel",
) -> dict[str, int]:
    """Chooses the ranks that `low_rank` gives the layers, where that saves parameters.

    Layers that two factors of the rank would not make smaller are left out, and so are grouped
    and depthwise convolutions.

    Args:
      model: the trained module.
      rank: an integer for all layers, or a share of the full rank of each, in (0, 1).
      energy: instead of a rank, the share of the sum of squared singular values that is kept, in
        (0, 1): 0.95 loses about 22 % of each kernel's norm.
      where: `where(path, layer)` says whether a layer may be factorized; by default all.
      scheme: as for `factorize`.

    Returns:
      Path → rank. Plain numbers, for JSON.

    Raises:
      ValueError: neither or both of rank and energy are given, one is out of its range, the scheme
        is unknown, or no layer gets smaller.

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> choose_ranks(mlp, rank=0.25)
      {'head': 2, 'layers.0': 16}
    """
    check_scheme(scheme)
    if (rank is None) == (energy is None):
        raise ValueError(f"give either rank or energy, not rank={rank} and energy={energy}")
    if energy is not None and not 0 < energy < 1:
        raise ValueError(f"energy is a share above 0 and below 1, not {energy}")
    if rank is not None:
        whole = isinstance(rank, int | np.integer) and not isinstance(rank, bool)
        if not (rank >= 1 if whole else isinstance(rank, float) and 0 < rank < 1):
            raise ValueError(
                f"rank is an integer of at least 1 or a share above 0 and below 1, not {rank!r}"
            )
    ranks, left = {}, {}
    for path, layer in factorable_layers(model, scheme).items():
        if where is not None and not where(path, layer):
            continue
        rows, columns = kernel_sides(layer, scheme)
        if energy is not None:
            squares = np.square(np.asarray(singular_values(layer, scheme), np.float64))
            kept = np.cumsum(squares) / max(squares.sum(), np.finfo(np.float64).tiny)
            chosen = int(np.searchsorted(kept, energy)) + 1
        elif isinstance(rank, float):
            chosen = max(1, round(rank * min(rows, columns)))
        else:
            assert rank is not None
            chosen = int(rank)
        if chosen * (rows + columns) < rows * columns:
            ranks[path] = chosen
        else:
            left[path] = f"rank {chosen} of {rows}×{columns}"
    if not ranks:
        raise ValueError(
            f"no layer would get smaller (nnx.Linear and nnx.Conv without groups: {left}): choose "
            "a lower rank or energy, or another where"
        )
    return ranks
