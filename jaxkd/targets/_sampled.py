"""Classes sampled from the teacher."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxkd.losses import SampledClasses
from jaxkd.targets._codec import Layout, any_in_record, check_logits, invalid
from jaxkd.targets._packing import decode_ids, encode_ids, id_layout


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Classes sampled from the teacher's softmax at one temperature, and its entropy there.

    The forward KL to the decoded `SampledClasses` and its gradient are unbiased, whatever the
    number of classes, where a cut-off leaves the tail as the student has it. A record is sampled
    once, so an example brings the same error in every epoch of one view; more views average it out.

    The samples are systematic: one uniform number a row places `num_samples` points at equal
    distances in the cumulated probabilities. A class of probability p is sampled
    `num_samples * p` times, rounded up or down, so that the estimate varies less than one from
    independent samples, and is unbiased as well.

    Attributes:
      num_samples: number of classes sampled for each row of logits.
      temperature: temperature at which they are sampled, the only one to train at.

    Raises:
      ValueError: no samples, a temperature that is not positive.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> codec, logits = Sampled(4), jnp.log(jnp.array([[0.75, 0.0, 0.25]]))
      >>> arrays = codec.encode(logits, keys=jax.random.split(jax.random.key(0), 1))
      >>> codec.decode(arrays, (3,)).indices
      Array([[0, 0, 0, 2]], dtype=int32)

    References:
      Anshumann et al., Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs, ACL
      2025; Kitagawa, Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models,
      1996, on systematic sampling.
    """

    num_samples: int
    temperature: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"keys"})

    def __post_init__(self):
        object.__setattr__(self, "temperature", float(self.temperature))
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, not {self.num_samples}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be a positive number, not {self.temperature}")

    @property
    def description(self) -> str:
        """What is exact, and the error of everything else."""
        return (
            f"{self.num_samples} classes sampled at temperature {self.temperature:g}: the forward "
            "KL and its gradient there in expectation, and nothing else"
        )

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns sampled ids and entropies.

        Args:
          values: logits `[batch, ..., num_classes]`.
          labels: not used.
          keys: typed PRNG keys `[batch]`.

        Raises:
          ValueError: keys that are missing or not one for each record.
        """
        del labels
        self.layout(values.shape[1:])
        if keys is None or keys.shape != values.shape[:1]:
            raise ValueError(
                f"Sampled needs typed PRNG keys of shape {values.shape[:1]}, one for each "
                f"record, got {None if keys is None else keys.shape}"
            )
        log_p = jax.nn.log_softmax(values.astype(jnp.float32) / self.temperature)
        p = jnp.exp(log_p)
        rows = values.shape[1:-1]
        start = jax.vmap(lambda key: jax.random.uniform(key, rows))(keys)
        sampled = _systematic_sample(p, start, self.num_samples)
        entropy = -jnp.sum(jnp.where(p > 0, p * log_p, 0), axis=-1)
        return {"indices": encode_ids(sampled, values.shape[-1]), "entropy": entropy}

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> SampledClasses:
        """Returns `SampledClasses`.

        Args:
          arrays: as `encode` returned them.
          shape: shape of the logits for one example.
        """
        return SampledClasses(
            indices=decode_ids(arrays["indices"], self.num_samples, shape[-1]),
            entropy=jnp.asarray(arrays["entropy"]),
            temperature=self.temperature,
            num_classes=shape[-1],
        )

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Returns the layout: `num_samples` ids and the entropy, a row.

        Args:
          shape: shape of the logits for one example.
        """
        length, dtype = id_layout(self.num_samples, check_logits(self, shape))
        return {"indices": ((*shape[:-1], length), dtype), "entropy": (shape[:-1], "float32")}

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Returns rows with not-a-number, +inf, or no class at all, bool `[batch]`.

        Args:
          values: logits `[batch, ..., num_classes]`.
        """
        bad = jnp.any(invalid(values), axis=-1) | jnp.all(jnp.isneginf(values), axis=-1)
        return any_in_record(bad)

    def specification(self) -> dict[str, Any]:
        """Returns name and parameters."""
        return {"name": "Sampled", **dataclasses.asdict(self)}


def _systematic_sample(p: jax.Array, start: jax.Array, count: int) -> jax.Array:
    """Returns class ids `[..., count]` at equal distances in the cumulated probabilities.

    Args:
      p: probabilities `[..., num_classes]`.
      start: `[...]`, uniform in [0, 1).
      count: number of samples.
    """
    cumulated = jnp.cumsum(p, axis=-1)
    points = (start[..., None] + jnp.arange(count)) / count * cumulated[..., -1:]
    num_classes = p.shape[-1]
    # The number of sums that are not beyond each point, by bisection; `jnp.searchsorted` fails on
    # batches that are sharded explicitly.
    ids = jnp.zeros_like(points, jnp.int32)
    for bit in reversed(range(num_classes.bit_length())):
        further = ids + 2**bit
        value = jnp.take_along_axis(cumulated, jnp.minimum(further, num_classes) - 1, axis=-1)
        ids = jnp.where((further <= num_classes) & (value <= points), further, ids)
    ids = jnp.minimum(ids, num_classes - 1)
    # Parallel sums are not quite monotone: a class of probability 0 may have been hit.
    possible = jnp.take_along_axis(p, ids, axis=-1) > 0
    return jnp.where(possible, ids, jnp.argmax(p, axis=-1, keepdims=True))
