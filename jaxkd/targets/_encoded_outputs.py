"""Encoded outputs of a batch, with what it takes to decode them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np

from jaxkd.targets._codec import Codec


class _Static(dict[str, Any]):
    """A dictionary that can be hashed and never changes: part of the key of a compiled program."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EncodedOutputs:
    """Encoded outputs of a teacher for a batch; a pytree, to be decoded inside the compiled step.

    Attributes:
      arrays: output → name → array `[batch, ...]`.
      codecs: output → how it was encoded (static).
      shapes: output → shape of the output for one example (static).

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd.targets import Dense
      >>> codec, embeddings = Dense("bfloat16"), jnp.ones((2, 5))
      >>> encoded = EncodedOutputs(
      ...     {"embedding": codec.encode(embeddings)}, {"embedding": codec}, {"embedding": (5,)}
      ... )
      >>> encoded.decode()["embedding"].shape
      (2, 5)
    """

    arrays: dict[str, dict[str, jax.Array | np.ndarray]]
    codecs: Mapping[str, Codec] = dataclasses.field(metadata={"static": True})
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(metadata={"static": True})

    def __post_init__(self):
        for name in ("codecs", "shapes"):
            if not isinstance(given := getattr(self, name), _Static):
                object.__setattr__(self, name, _Static(given))

    @classmethod
    def from_flat(
        cls,
        arrays: Mapping[str, jax.Array | np.ndarray],
        codecs: Mapping[str, Codec],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> Self:
        """Groups arrays that are named `<output>.<array>` by their output.

        Args:
          arrays: `<output>.<array>` → `[batch, ...]`.
          codecs: output → codec.
          shapes: output → shape of the output for one example.

        Returns:
          The encoded outputs of a batch.
        """
        nested: dict[str, dict[str, jax.Array | np.ndarray]] = {output: {} for output in codecs}
        for path, array in arrays.items():
            output, _, name = path.rpartition(".")
            nested[output][name] = array
        return cls(nested, codecs, shapes)

    def decode(self) -> dict[str, Any]:
        """Returns the teacher's outputs by name, each as its codec decodes it."""
        return {
            output: codec.decode(self.arrays[output], self.shapes[output])
            for output, codec in self.codecs.items()
        }
