"""Codecs by name and parameters, as the contract of a cache names them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxkd.targets._codec import Codec
from jaxkd.targets._dense import Dense
from jaxkd.targets._pooled import Pooled
from jaxkd.targets._sampled import Sampled
from jaxkd.targets._top_k import TopK
from jaxkd.targets._top_p import TopP

_CODECS: tuple[type[Codec], ...] = (Dense, Pooled, TopK, TopP, Sampled)


def from_specification(
    specification: Mapping[str, Any], known: Sequence[type[Codec]] = ()
) -> Codec:
    """Makes the codec that `codec.specification()` described.

    Args:
      specification: name and parameters, which may have been through JSON: lists become tuples.
      known: classes of further codecs.

    Returns:
      The codec.

    Raises:
      ValueError: a name that is neither a codec of `jaxkd.targets` nor among `known`.

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
