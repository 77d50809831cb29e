"""Compiled calls of the codecs, each compiled once for a codec and a shape."""

import functools
from typing import Any

import jax

# Half the time of compilation.
QUICK = {"xla_backend_optimization_level": 0}


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def encode(codec: Any, values: jax.Array, wants: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return codec.encode(values, **wants)


@functools.partial(jax.jit, static_argnums=(0, 2), compiler_options=QUICK)
def decode(codec: Any, arrays: dict[str, jax.Array], shape: tuple[int, ...]) -> Any:
    return codec.decode(arrays, shape)


def roundtrip(codec: Any, values: jax.Array, **wants: jax.Array) -> Any:
    """What becomes of values `[batch, ...]`."""
    return decode(codec, encode(codec, values, wants), values.shape[1:])
