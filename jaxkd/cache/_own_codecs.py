"""Codecs of one's own, identified by what they decode: a class of the same name may be another."""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd import targets
from jaxkd.cache._encode import encode
from jaxkd.cache._record_format import RecordFormat
from jaxkd.targets import EncodedOutputs

# Examples that are encoded and decoded, and the largest output of one for which that is done.
_EXAMPLES, _LARGEST = 2, 1 << 20


def decoded_fields(
    record_format: RecordFormat, also: Collection[str] = ()
) -> dict[str, dict[str, list[str]]]:
    """Returns the contract's field of what codecs of one's own make of a few fixed numbers.

    The codecs of `jaxkd.targets` are known by their names and parameters. A class of one's own has
    a name and parameters too, and may have been edited since the cache was written.

    Args:
      record_format: codecs and shapes.
      also: outputs that were written by a codec of one's own, whatever they are read by.

    Returns:
      `{"codec.decoded": {output: numbers in three digits}}`, or nothing where there are no codecs
      of one's own. Outputs of more than a million numbers are left out.
    """
    own = {
        name: codec
        for name, codec in record_format.codecs.items()
        if (name in also or getattr(targets, type(codec).__name__, None) is not type(codec))
        and np.prod(record_format.shapes[name]) <= _LARGEST
    }
    return {"codec.decoded": {name: _decoded(record_format, name) for name in own}} if own else {}


def _decoded(record_format: RecordFormat, name: str) -> list[str]:
    codecs, shape = {name: record_format.codecs[name]}, record_format.shapes[name]
    alone = RecordFormat(codecs, {name: shape})
    size = _EXAMPLES * int(np.prod(shape))
    # Fractions that every type of number holds exactly, of which no two rows are the same.
    values = ((np.arange(size) * 7919 % 17 - 8) / 4).astype(np.float32)
    values = values.reshape(_EXAMPLES, *shape)

    def there_and_back(values: jax.Array) -> list[jax.Array]:
        numbers = jnp.arange(_EXAMPLES)
        labels = jnp.zeros(values.shape[:-1], jnp.int32)
        records, _ = encode({name: values}, alone, ids=numbers, view=numbers, labels=labels)
        leaves = jax.tree.leaves(EncodedOutputs.from_flat(records, codecs, alone.shapes).decode())
        flat = [leaf.astype(jnp.float32).reshape(-1) for leaf in leaves]
        # With unequal weights, since a plain sum is the same in any order.
        return [row @ jnp.sqrt(1.0 + jnp.arange(row.size)) for row in flat]

    return [f"{float(number):.3g}" for number in jax.jit(there_and_back)(values)]
