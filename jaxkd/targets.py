"""Codecs: in how many bytes a teacher's answer is kept, and with what error.

A codec turns the teacher's logits into a *record*, a few small arrays that the cache stores, and
back. Both directions are pure JAX; decoding happens inside the student's compiled step.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.losses import SparseLogits

Layout = dict[str, tuple[tuple[int, ...], str]]


class Codec(Protocol):
    """What a cache needs to know of a way of storing logits."""

    def encode(self, logits: jax.Array) -> dict[str, jax.Array]:
        """Logits `[batch, num_classes]` to arrays whose first axis is the batch."""

    def decode(self, arrays: Mapping[str, jax.Array], num_classes: int) -> Any:
        """The stored arrays to what losses take as `teacher`."""

    def layout(self, num_classes: int) -> Layout:
        """Name → (shape of one record, dtype name) of each stored array."""

    def specification(self) -> dict[str, Any]:
        """The codec's name and parameters as plain data."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """All logits, in a floating-point type of choice.

    Attributes:
      dtype: `"float32"` (exact), `"bfloat16"` (3 significant digits, any range) or `"float16"` (a
        relative error of 2^-11, range ±65,504).
    """

    dtype: str = "float32"

    def __post_init__(self):
        _check_dtype(self.dtype)

    def encode(self, logits: jax.Array) -> dict[str, jax.Array]:
        """Rounds logits `[batch, num_classes]` to the type."""
        return {"logits": logits.astype(self.dtype)}

    def decode(self, arrays: Mapping[str, jax.Array], num_classes: int) -> jax.Array:
        """Logits float32 `[batch, num_classes]`."""
        del num_classes
        return arrays["logits"].astype(jnp.float32)

    def layout(self, num_classes: int) -> Layout:
        """One row of `num_classes` numbers a record."""
        return {"logits": ((num_classes,), self.dtype)}

    def specification(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"name": "Dense", "dtype": self.dtype}


@dataclasses.dataclass(frozen=True)
class TopK:
    """The k largest logits, and exactly how much the others weigh at each declared temperature.

    The mass outside of the top k at a temperature other than 1 cannot be recovered from logits at
    temperature 1, so it is stored, as a float32 log-sum-exp of the classes left out, for each
    temperature that training will use; any other temperature is refused. Divergences on the
    decoded `SparseLogits` run on k + 1 buckets.

    Attributes:
      k: number of classes kept.
      temperatures: those at which the tail is exact.
      dtype: of the kept logits, which are stored relative to the largest one.
    """

    k: int
    temperatures: tuple[float, ...] = (1.0,)
    dtype: str = "float16"

    def __post_init__(self):
        _check_dtype(self.dtype)
        object.__setattr__(self, "temperatures", tuple(map(float, self.temperatures)))
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")
        if not self.temperatures or not all(math.isfinite(t) and t > 0 for t in self.temperatures):
            raise ValueError(f"temperatures must be positive numbers, not {self.temperatures}")

    def encode(self, logits: jax.Array) -> dict[str, jax.Array]:
        """Ids, values relative to the largest, and the tails of logits `[batch, num_classes]`."""
        self.layout(logits.shape[-1])
        logits = logits.astype(jnp.float32)
        values, indices = jax.lax.top_k(logits, self.k)
        largest = values[..., :1]
        rest = _without(logits, indices) - largest
        tails = [jax.nn.logsumexp(rest / t, axis=-1) for t in self.temperatures]
        return {
            "indices": indices.astype(_id_dtype(logits.shape[-1])),
            "logits": (values - largest).astype(self.dtype),
            "tail": jnp.stack(tails, axis=-1),
        }

    def decode(self, arrays: Mapping[str, jax.Array], num_classes: int) -> SparseLogits:
        """The record as `SparseLogits`, float32."""
        return SparseLogits(
            indices=arrays["indices"].astype(jnp.int32),
            logits=arrays["logits"].astype(jnp.float32),
            tail=arrays["tail"],
            temperatures=self.temperatures,
            num_classes=num_classes,
        )

    def layout(self, num_classes: int) -> Layout:
        """`k` ids and values and one tail for each temperature a record."""
        if self.k > num_classes:
            raise ValueError(f"TopK keeps k={self.k} classes, the teacher has {num_classes}")
        return {
            "indices": ((self.k,), _id_dtype(num_classes)),
            "logits": ((self.k,), self.dtype),
            "tail": ((len(self.temperatures),), "float32"),
        }

    def specification(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"name": "TopK", **dataclasses.asdict(self) | {"temperatures": self.temperatures}}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Record:
    """Encoded answers of a batch, with what it takes to decode them; a pytree.

    Attributes:
      arrays: name → array `[batch, ...]`.
      codec: how they were encoded (static).
      num_classes: of the teacher (static).
    """

    arrays: dict[str, jax.Array | np.ndarray]
    codec: Any = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})

    def decode(self) -> dict[str, Any]:
        """The teacher's outputs, `{"logits": …}`."""
        return {"logits": self.codec.decode(self.arrays, self.num_classes)}


def bytes_per_record(codec: Codec, num_classes: int) -> int:
    """Bytes that one answer takes before any compression.

    Example:
      >>> bytes_per_record(Dense("float32"), 10), bytes_per_record(TopK(4), 1000)
      (40, 20)
    """
    return sum(
        math.prod(shape) * jnp.dtype(dtype).itemsize
        for shape, dtype in codec.layout(num_classes).values()
    )


def from_specification(specification: Mapping[str, Any]) -> Codec:
    """The codec that `codec.specification()` described.

    Raises:
      ValueError: the name is not one of this module's codecs.
    """
    parameters = dict(specification)
    name = parameters.pop("name", None)
    codecs = {"Dense": Dense, "TopK": TopK}
    if name not in codecs:
        raise ValueError(f"unknown codec {name!r}; known are {sorted(codecs)}")
    if "temperatures" in parameters:
        parameters["temperatures"] = tuple(parameters["temperatures"])
    return codecs[name](**parameters)


def damaged(codec: Codec, logits: jax.Array) -> jax.Array:
    """Which rows a codec would not keep: not-a-number, or finite logits that overflow its type.

    Args:
      codec: the codec.
      logits: `[batch, num_classes]`; -inf is a legitimate mask of a class.

    Returns:
      bool `[batch]`.
    """
    kept = codec.encode(logits)["logits"].astype(jnp.float32)
    lost = jnp.isnan(kept).any(-1) | jnp.isnan(logits).any(-1) | (logits == jnp.inf).any(-1)
    if isinstance(codec, Dense):
        lost |= (jnp.isfinite(logits) & ~jnp.isfinite(kept)).any(-1)
    return lost


def _without(logits: jax.Array, indices: jax.Array) -> jax.Array:
    """Logits with -inf at some classes of each row."""
    # Row by row, since scattering along an axis is not defined for explicitly sharded batches.
    drop = jnp.vectorize(lambda row, i: row.at[i].set(-jnp.inf), signature="(v),(k)->(v)")
    return drop(logits, indices)


def _id_dtype(num_classes: int) -> str:
    for dtype in ("uint8", "uint16"):
        if num_classes <= np.iinfo(dtype).max + 1:
            return dtype
    return "uint32"


def _check_dtype(dtype: str) -> None:
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, not {dtype!r}")
