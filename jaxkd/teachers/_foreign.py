"""A teacher outside of JAX as the cache sees it: a function of NumPy arrays that has a name."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.networks._arguments import shown
from jaxkd.networks._outputs import Selection, named


@dataclasses.dataclass(frozen=True, eq=False)
class ForeignTeacher:
    """A trained model outside of JAX; `from_torch`, `from_onnx` and `from_callable` make one.

    Attributes:
      call: function of a batch that returns outputs: whatever has a shape and becomes a NumPy
        array, or a structure of such.
      name: name of the teacher, for messages and for the contract of its caches.
      inputs: function of a batch of rendered views that returns what `call` takes, NumPy arrays to
        NumPy arrays; None: the views as they are.
      outputs: names of the outputs, as in `from_callable`.
      batch_size: number of examples that `call` takes, if it takes no other number; batches are
        padded to it with copies of their last example.
      identity: function that returns what else names the teacher: `{"parameters": "sha256:…"}`.

    Example:
      >>> teacher = ForeignTeacher(lambda x: x.reshape(len(x), -1) @ np.ones((4, 3)), "sums-v1")
      >>> teacher(np.ones((2, 2, 2), np.float32))["logits"].shape, teacher.fingerprint()
      ((2, 3), {'name': 'sums-v1'})
    """

    call: Callable[[Any], Any] = dataclasses.field(repr=False)
    name: str
    inputs: Callable[[Any], Any] | None = dataclasses.field(default=None, repr=False)
    outputs: Selection = dataclasses.field(default=None, repr=False)
    batch_size: int | None = None
    identity: Callable[[], Mapping[str, str]] = dataclasses.field(default=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(
                f"the name of a teacher is a text such as 'resnet50-v2', not {self.name!r}: a "
                "cache keeps it and refuses a teacher of another name"
            )

    def fingerprint(self) -> dict[str, str]:
        """Returns what names this teacher: its name, its kind, and digests where there are any.

        A cache keeps it and compares it at a glance. What counts beside it are the outputs of the
        teacher for 64 examples, which a cache keeps and compares too.
        """
        return {"name": self.name, **self.identity()}

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        """Computes the outputs for a batch of rendered views.

        Args:
          inputs: NumPy array `[batch, ...]`, or a dictionary of such; `call` gets copies.

        Returns:
          Output → floating-point array `[batch, ...]`; float64 becomes float32.

        Raises:
          TypeError: outputs that are no floating-point arrays, or have no names.
          ValueError: outputs of another number of rows.
        """
        count = len(jax.tree.leaves(inputs)[0])
        parts = [self._outputs(part, rows) for part, rows in self._batches(inputs, count)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _batches(self, inputs: Any, count: int) -> Iterator[tuple[Any, int]]:
        """Yields what `call` is given, of one size where it takes no other, and its own rows."""
        size = self.batch_size or count
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            yield jax.tree.map(lambda leaf, r=rows: np.asarray(leaf)[r], inputs), count - start

    def _outputs(self, inputs: Any, rows: int) -> dict[str, np.ndarray]:
        size = len(jax.tree.leaves(inputs)[0])
        given = inputs if self.inputs is None else self.inputs(inputs)
        try:
            result = self.call(given)
        except Exception as error:
            error.add_note(
                f"The teacher {self.name} was called with {_structure(given)}. If it takes "
                "something else (another size, layout, normalization or dtype), give inputs=, a "
                "function that makes it of the views."
            )
            raise
        outputs = named(result, self.outputs, f"the teacher {self.name}")
        return {name: self._array(name, value, size)[:rows] for name, value in outputs.items()}

    def _array(self, name: str, value: Any, count: int) -> np.ndarray:
        array = _to_numpy(value)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(
                f"the output {name!r} of the teacher {self.name} has the dtype {array.dtype}; what "
                "a student learns from are floating-point numbers, such as logits. Return those, "
                "or the numbers as such by outputs=, array.astype(np.float32)"
            )
        if array.shape[:1] != (count,):
            raise ValueError(
                f"the output {name!r} of the teacher {self.name} has the shape {array.shape} for a "
                f"batch of {count} examples: its first axis must be that of the examples"
            )
        return array


def from_callable(
    function: Callable[[Any], Any],
    *,
    name: str,
    inputs: Callable[[Any], Any] | None = None,
    outputs: Selection = None,
    batch_size: int | None = None,
) -> ForeignTeacher:
    """Adapts a function of NumPy arrays: a client of a server, scikit-learn, NumPy itself.

    Such a function has no parameters that could be hashed. A cache knows it by its name and by its
    outputs for 64 examples, which differ from those of another one beyond rounding.

    Args:
      function: function of a batch of rendered views, NumPy `[batch, ...]` or a dictionary of such,
        that returns an array (the logits), a mapping of arrays, or a structure of them. Each
        example's outputs must depend on that example alone, and be the same each time.
      name: what the teacher is called; another version gets another name.
      inputs: function of the batch that returns what `function` takes, where that differs: another
        normalization, size or layout.
      outputs: function from what is returned to a dictionary of named outputs, or a mapping of
        names to dotted places in what is returned: `{"logits": "0", "stage3": "features.3"}`.
      batch_size: number of examples in a call, if `function` takes no other.

    Returns:
      A teacher for `jaxkd.cache`.

    Raises:
      TypeError: no function.
      ValueError: an empty name.

    Example:
      >>> import numpy as np
      >>> teacher = from_callable(lambda x: x.reshape(len(x), -1) @ np.ones((4, 3)), name="sums")
      >>> teacher(np.ones((2, 2, 2), np.float32))["logits"].tolist()
      [[4.0, 4.0, 4.0], [4.0, 4.0, 4.0]]
      >>> teacher.fingerprint()
      {'name': 'sums', 'framework': 'numpy'}
    """
    if not callable(function):
        raise TypeError(f"a function of NumPy arrays is wanted, not {shown(function)}")
    identity = {"framework": "numpy"}
    return ForeignTeacher(function, name, inputs, outputs, batch_size, lambda: identity)


def _to_numpy(value: Any) -> np.ndarray:
    """Returns a copy in NumPy: the teacher may use its own memory again for the next batch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which NumPy does not have by itself
            return np.asarray(value.float().numpy()).astype(jnp.bfloat16)
        value = value.numpy()
    array = np.array(value)
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):  # infinite then, and refused by the codec
            return array.astype(np.float32)
    return array


def _structure(given: Any) -> str:
    """Shapes and dtypes of what a teacher was given."""
    leaves = jax.tree_util.tree_leaves_with_path(given)
    return ", ".join(
        f"{jax.tree_util.keystr(path)} {getattr(leaf, 'shape', '')} {getattr(leaf, 'dtype', '')}"
        for path, leaf in leaves
    ).strip()
