"""What to write where arrays do not fit a network: a prefix to remove, a head to leave out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.weights._read import to_numpy


def tied_names(
    unused: Sequence[str], matched: Mapping[str, str], arrays: Mapping[str, Any]
) -> dict[str, str]:
    """Finds arrays without a variable whose numbers another array has brought already.

    Files of tied networks hold the matrix of their embeddings twice, the second time as that of the
    output layer.

    Args:
      unused: names in the source that match no variable.
      matched: path in the network → name in the source.
      arrays: name → array of the source.

    Returns:
      Name without a variable → name of the same numbers.
    """
    tied = {}
    for name in unused:
        array = to_numpy(arrays[name])
        # Of small arrays many are equal by chance: biases of zeros.
        twins = (
            other
            for other in matched.values()
            if other in arrays and array.ndim > 1 and _equal(array, to_numpy(arrays[other]))
        )
        if twin := next(twins, None):
            tied[name] = twin
    return tied


def hints(
    unused: Sequence[str],
    missing: Sequence[str],
    misfits: Mapping[str, str],
    matched: Mapping[str, str],
    find: Callable[[str], str | None],
) -> str:
    """Returns lines that say what else could be written, as far as it can be seen.

    Args:
      unused: names in the source that match no variable.
      missing: paths in the network that the source has nothing for.
      misfits: path in the network → what does not fit.
      matched: path in the network → name in the source.
      find: function that returns the path of a name, None if it has none.
    """
    lines = []
    names = [*unused, *matched.values()]
    prefixes = {name[: at + 1] for name in unused for at, c in enumerate(name[:80]) if c == "."}
    gains = {p: _gain(p, unused, find) for p in prefixes}
    if gains and (best := max(gains, key=lambda p: (gains[p], -len(p)))) and gains[best]:
        of = "All" if all(n.startswith(best) for n in names) else f"{gains[best]}"
        lines.append(
            f"{of} names of the source begin with {best!r}, without which {gains[best]} more "
            f"match: load(network, {{name.removeprefix({best!r}): array for name, array in "
            "weights.read(path).items()}, …)"
        )
    layers = list(dict.fromkeys(_layer(path) for path in [*misfits, *missing]))
    if matched and 0 < len(layers) <= 2 and all(layers):
        patterns = "".join(f"r'^{layer}\\.', " for layer in layers).rstrip()
        lines.append(
            f"A head of other classes is left as it is, with its initial values, by "
            f"ignore=({patterns})"
        )
    heads = [path for path in missing if path.rpartition(".")[0].endswith("head")]
    if heads and any(path.endswith(".embedding") for path in matched):
        lines.append(
            f"{heads[0]} is missing: if the source's output layer is tied to its embeddings, build "
            "the network with tied=True"
        )
    return "".join(f"\n{line}" for line in lines)


def _gain(prefix: str, names: Iterable[str], find: Callable[[str], str | None]) -> int:
    return sum(
        find(name.removeprefix(prefix)) is not None for name in names if name.startswith(prefix)
    )


def _layer(path: str) -> str:
    return path.rpartition(".")[0]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8)))
