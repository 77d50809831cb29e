"""Decoders as pure networks that can be called token by token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxkd import networks
from jaxkd.networks import Network, PyTree, from_nnx
from jaxkd.networks._compose import first_classes
from jaxkd.networks._pure_module import PureModule


@dataclasses.dataclass(frozen=True, eq=False)
class CachedDecoder:
    """A network of text, and its calls with a cache of keys and values.

    Attributes:
      network: the network on whole texts; the other calls take its variables.
      init_cache: function `(batch_size, max_length)` that returns an empty cache, a pytree.
      decode: function `(params, state, tokens, cache, counts) -> (logits, cache)` of new tokens
        `[batch, length]`, of which each row has `counts` at its front; the logits
        `[batch, num_classes]` are those after the last of them. A row without new tokens keeps its
        cache.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> decoder = jaxkd.generation.from_decoder(
      ...     jaxkd.models.Decoder(64, 16, 2, 4, rngs=nnx.Rngs(0)))
      >>> network, cache = decoder.network, decoder.init_cache(1, 8)
      >>> tokens, counts = jnp.array([[5, 6, 7]]), jnp.array([3])
      >>> logits, cache = decoder.decode(network.params, network.state, tokens, cache, counts)
      >>> logits.shape, cache.lengths.tolist()
      ((1, 64), [3])
    """

    network: Network
    init_cache: Callable[[int, int], PyTree]
    decode: Callable[
        [PyTree, PyTree, jax.Array, PyTree, jax.Array | None], tuple[jax.Array, PyTree]
    ]


def from_decoder(
    module: nnx.Module, *, dtype: Any = None, valid_classes: int | None = None
) -> CachedDecoder:
    """Adapts a decoder in Flax NNX, `jaxkd.models.Decoder` or one with the same two methods.

    Args:
      module: the decoder, which has `init_cache(batch_size, max_length)` and
        `decode(tokens, cache, counts)` beside its call on whole texts.
      dtype: type of its computations and its cache, as for `jaxkd.from_nnx`.
      valid_classes: number of the logits that are tokens, the first ones, where a vocabulary is
        padded; the others are left out, as by `jaxkd.networks.valid_classes`, and never generated.
        None for all.

    Returns:
      A `CachedDecoder`; its `network` is that of `jaxkd.from_nnx`, cut to `valid_classes`.

    Raises:
      TypeError: a module without these methods.
      ValueError: a dtype that is not floating, or valid_classes below 1; when first called, fewer
        logits than valid_classes.

    Example:
      >>> import jaxkd
      >>> model = jaxkd.models.Decoder(64, 16, 2, 4, rngs=nnx.Rngs(0))
      >>> decoder = from_decoder(model)
      >>> decoder.network.name, decoder.init_cache(2, 5).keys[0].shape
      ('Decoder', (2, 5, 4, 4))
    """
    if missing := [name for name in ("init_cache", "decode") if not hasattr(module, name)]:
        raise TypeError(
            f"{type(module).__name__} cannot be called token by token: it has no method "
            f"{' and no method '.join(missing)}, as jaxkd.models.Decoder has"
        )
    network = from_nnx(module, dtype=dtype)
    if valid_classes is not None:
        network = networks.valid_classes(network, valid_classes)
    if dtype is not None:
        module = nnx.clone(module)
        module.set_attributes(dtype=jax.numpy.dtype(dtype), raise_if_not_found=False)
    pure = PureModule(module)

    def init_cache(batch_size: int, max_length: int) -> PyTree:
        return pure.call_method("init_cache", pure.params, pure.state, batch_size, max_length)

    def decode(
        params: PyTree,
        state: PyTree,
        tokens: jax.Array,
        cache: PyTree,
        counts: jax.Array | None = None,
    ) -> tuple[jax.Array, PyTree]:
        logits, cache = pure.call_method("decode", params, state, tokens, cache, counts)
        if valid_classes is not None:
            logits = first_classes(logits, valid_classes, f"logits of {network.name}")
        return logits, cache

    return CachedDecoder(network, init_cache, decode)
