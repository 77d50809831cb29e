"""Codecs by name and parameters, as a cache writes them down."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxkd.targets._codec import Codec
from jaxkd.targets._dense import Dense, Pooled
from jaxkd.targets._sampled import Sampled
from jaxkd.targets._top_k import TopK
from jaxkd.targets._top_p import TopP

_CODECS: tuple[type[Codec], ...] = (Dense, Pooled, TopK, TopP, Sampled)


def from_specification(
    specification: Mapping[str, Any], known: Sequence[type[Codec]] = ()
) -> Codec:
    """The codec that `codec.specification()` described.

    Args:
      specification: name and parameters, which may have been through JSON: lists become tuples.
      known: classes of one's own codecs.

    Returns:
      The codec.

    Raises:
      ValueError: a name that is none of this room's codecs and not among `known`.

    Example:
      >>> from_specification({"name": "TopK", "k": 8, "temperatures": [1.0, 4.0]})
      TopK(k=8, temperatures=(1.0, 4.0), values='float16', label=False)
    """
    parameters = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in specification.items()
    }
    name = parameters.pop("name", None)
    codecs = {codec.__name__: codec for codec in (*_CODECS, *known)}
    if name not in codecs:
        raise ValueError(
            f"unknown codec {name!r}; known are {sorted(codecs)}, and those classes of your own "
            "that you name"
        )
    return codecs[name](**parameters)
