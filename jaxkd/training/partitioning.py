"""Placement of arrays on a mesh of devices: rules by path, one layout for a whole train state."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxkd.networks import PyTree


@dataclasses.dataclass(frozen=True)
class Partitioning:
    """A mesh, and the rules by which arrays are placed on it.

    A leaf is named by its path, such as `params/student/conv.kernel`, `opt_state/0/mu/student/…`,
    `model_state/connectors/crd/bank` or `teacher/params/head.kernel`; the first rule whose pattern
    is found in the path decides. A leaf that no rule names is spread over the mesh's `model` axis
    by its last dimension and over its `fsdp` axis by its largest other one, as far as they divide,
    unless it is small. `(("student", P()),)` keeps the student whole on every device beside a
    teacher that is spread; `(("teacher", P()),)` the reverse.

    Attributes:
      mesh: the mesh, from `make_mesh` or any other.
      rules: pairs of a regular expression and a `PartitionSpec`.
      min_size: number of elements below which an array stays whole where no rule names it.
      batch: how the first axis of a batch is spread.

    Raises:
      ValueError: a rule names an axis that the mesh does not have.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd.training import make_mesh
      >>> partitioning = Partitioning(make_mesh(devices=jax.devices()[:1]), min_size=0)
      >>> partitioning.specs({"head.kernel": jnp.ones((4, 3))})
      {'head.kernel': P()}
    """

    mesh: Mesh
    rules: tuple[tuple[str, P], ...] = ()
    min_size: int = 1 << 16
    batch: P = P(("data", "fsdp"))

    def __post_init__(self):
        object.__setattr__(self, "rules", tuple((pattern, spec) for pattern, spec in self.rules))
        for pattern, spec in (("the batch", self.batch), *self.rules):
            if unknown := sorted(set(_axes(spec)) - set(self.mesh.axis_names)):
                raise ValueError(
                    f"{spec} for {pattern!r} names the axes {unknown}; the mesh has "
                    f"{list(self.mesh.axis_names)}"
                )

    def specs(self, tree: PyTree) -> PyTree:
        """Returns the `PartitionSpec` of each leaf.

        Args:
          tree: arrays, or objects with their `shape`, such as a `TrainState`.

        Returns:
          The tree with specs as its leaves.

        Raises:
          ValueError: a rule does not fit a leaf that it names. In an optimizer's state, whose
            leaves need not have the parameters' shapes, such a leaf is placed as if no rule named
            it.
        """

        def spec_of(path: Any, leaf: Any) -> P:
            name, shape = jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape
            for pattern, spec in self.rules:
                if re.search(pattern, name):
                    if self._fits(spec, shape):
                        return self._tidy(spec, len(shape))
                    if name.startswith("opt_state"):
                        break
                    raise ValueError(
                        f"the rule {pattern!r} places {name} of shape {shape} as {spec} on a mesh "
                        f"of {dict(self.mesh.shape)}: each spread dimension must be a multiple of "
                        "its axes. Add a rule for this leaf before it"
                    )
            return self._by_shape(shape)

        return jax.tree_util.tree_map_with_path(spec_of, tree)

    def shardings(self, tree: PyTree) -> PyTree:
        """Returns the `NamedSharding` of each leaf; see `specs`.

        Args:
          tree: arrays, or objects with their `shape`.

        Returns:
          The tree with shardings as its leaves.
        """
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), self.specs(tree))

    def place(self, tree: PyTree) -> PyTree:
        """Places a copy of a tree on the mesh by the rules.

        Args:
          tree: arrays with the same values in every process.

        Returns:
          The placed tree; it shares no memory with the given one, so a step may reuse it.
        """
        return jax.tree.map(_place, tree, self.shardings(tree))

    def place_teacher(self, params: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
        """Places a teacher's variables, under the paths `teacher/params/…` and `teacher/state/…`.

        Args:
          params: the teacher's parameters.
          state: the teacher's state.

        Returns:
          Both on the mesh.
        """
        placed = self.place({"teacher": {"params": params, "state": state}})["teacher"]
        return placed["params"], placed["state"]

    def put(self, batch: PyTree, *, leading: int = 0, whole: bool = False) -> PyTree:
        """Places a batch on the mesh, as global arrays of the rows that each process has read.

        Args:
          batch: arrays `[examples of this process, ...]` on the host, such as a `Loader`'s.
          leading: number of axes before that of the examples, for batches that are stacked.
          whole: whether the arrays hold the examples of all processes instead.

        Returns:
          The batch as global arrays.

        Raises:
          ValueError: the number of examples does not divide by the devices they are spread over.
        """
        spec = P(*(None,) * leading, *self.batch)
        spread, everywhere = NamedSharding(self.mesh, spec), NamedSharding(self.mesh, P())
        pieces = self._pieces(self.batch[0]) if self.batch else 1
        alone = spread.is_fully_addressable
        if not (alone or whole):
            pieces //= self.process[1]

        def sharding(leaf: Any) -> NamedSharding:
            if np.ndim(leaf) <= leading:
                return everywhere
            if leaf.shape[leading] % pieces:
                raise ValueError(
                    f"{leaf.shape[leading]} examples cannot be spread evenly over {pieces} parts "
                    f"of the mesh {dict(self.mesh.shape)}: choose a batch_size that is a multiple"
                )
            return spread

        shardings = jax.tree.map(sharding, batch)
        if alone:
            return jax.device_put(batch, shardings)
        if whole:
            return jax.tree.map(_place, batch, shardings)
        return jax.tree.map(_from_local, batch, shardings)

    @functools.cached_property
    def process(self) -> tuple[int, int]:
        """The part of a batch that this process reads, `(index, count)` for a `Loader`.

        Raises:
          ValueError: this process's devices do not hold consecutive rows of a batch.
        """
        if not self.batch:
            return 0, 1
        count = self._pieces(self.batch[0])
        sharding = NamedSharding(self.mesh, self.batch)
        indices = sharding.addressable_devices_indices_map((count,)).values()
        held = sorted({index[0].start or 0 for index in indices if index is not None})
        if held != list(range(held[0], held[0] + len(held))) or held[0] % len(held):
            raise ValueError(
                f"the devices of process {jax.process_index()} hold the parts {held} of {count} of "
                "a batch: arrange the mesh so that a process holds consecutive ones"
            )
        return held[0] // len(held), count // len(held)

    def for_batch(self, batch_size: int) -> Partitioning:
        """Returns the partitioning for batches of one size.

        Args:
          batch_size: number of examples of all processes.

        Returns:
          This partitioning if the batch divides by the devices it is spread over; else one in which
          every device sees the whole batch, as with the small batches of few labels.
        """
        pieces = self._pieces(self.batch[0]) if self.batch else 1
        return self if batch_size % pieces == 0 else dataclasses.replace(self, batch=P())

    def constrain(self, tree: PyTree) -> PyTree:
        """Constrains a tree within a compiled function to the placement of the rules.

        Args:
          tree: traced arrays, however they were computed.

        Returns:
          The same values.
        """
        return jax.lax.with_sharding_constraint(tree, self.specs(tree))

    def jit(
        self, function: Callable[..., Any], *, updates: int | None = None, **options: Any
    ) -> Any:
        """Compiles a function of arrays that are placed on the mesh.

        On Explicit axes the function is traced as on Auto ones, since networks are written without
        regard to a mesh; its arguments and results alone have sharded types.

        Args:
          function: the function.
          updates: index of the argument, a tree placed by the rules, whose new value the function
            returns as the first of two results; None if there is none. All other results are
            whole on every device.
          **options: options of `jax.jit`.

        Returns:
          The compiled function, to be called with or without the mesh as JAX's context.
        """

        def traced(*args: Any) -> Any:
            out = P() if updates is None else (self.specs(args[updates]), P())
            if self.mesh.explicit_axes:
                return jax.sharding.auto_axes(function, out_sharding=out)(*args)
            result = function(*args)
            if updates is None:
                return _replicate(result)
            return jax.lax.with_sharding_constraint(result[0], out[0]), _replicate(result[1])

        compiled = jax.jit(traced, **options)

        return _OnMesh(self.mesh, compiled)

    def _pieces(self, axes: Any) -> int:
        """Returns over how many devices a dimension with these axes is spread."""
        return int(np.prod([self.mesh.shape[axis] for axis in _axes((axes,))]))

    def _fits(self, spec: P, shape: tuple[int, ...]) -> bool:
        """Returns whether each dimension is a multiple of the devices it is spread over."""
        return len(spec) <= len(shape) and all(
            size % self._pieces(axes) == 0 for size, axes in zip(shape, spec, strict=False)
        )

    def _by_shape(self, shape: tuple[int, ...]) -> P:
        """Returns the spec of a leaf that no rule names."""
        spec: list[str | None] = [None] * len(shape)
        if int(np.prod(shape)) < self.min_size:
            return self._tidy(P(), len(shape))
        fsdp, model = (self.mesh.shape.get(axis, 1) for axis in ("fsdp", "model"))
        if model > 1 and len(shape) > 1 and shape[-1] % model == 0:
            spec[-1] = "model"
        free = [i for i, size in enumerate(shape) if spec[i] is None and size % fsdp == 0]
        if fsdp > 1 and free:
            spec[max(free, key=lambda i: shape[i])] = "fsdp"
        return self._tidy(P(*spec), len(shape))

    def _tidy(self, spec: P, rank: int) -> P:
        """Returns a spec as XLA returns it, so that a second step uses the first one's program."""
        tidy: list[Any] = []
        for entry in spec:
            axes = [axis for axis in _axes((entry,)) if self.mesh.shape[axis] > 1]
            tidy.append(tuple(axes) if len(axes) > 1 else axes[0] if axes else None)
        while tidy and tidy[-1] is None:
            tidy.pop()
        # Explicit types name every dimension.
        return P(*tidy, *(None,) * ((rank - len(tidy)) if self.mesh.explicit_axes else 0))


@dataclasses.dataclass(frozen=True)
class _OnMesh:
    """A compiled function that is called with its mesh as JAX's context."""

    mesh: Mesh
    compiled: Any

    def __call__(self, *args: Any) -> Any:
        with jax.set_mesh(self.mesh):
            return self.compiled(*args)

    def lower(self, *args: Any) -> Any:
        with jax.set_mesh(self.mesh):
            return self.compiled.lower(*args)

    def eval_shape(self, *args: Any) -> Any:
        with jax.set_mesh(self.mesh):
            return self.compiled.eval_shape(*args)


def _axes(spec: Any) -> list[str]:
    """Returns the names of the mesh's axes in a spec."""
    names: list[str] = []
    for entry in spec:
        names += [] if entry is None else [entry] if isinstance(entry, str) else list(entry)
    return names


def _replicate(tree: PyTree) -> PyTree:
    """Constrains a tree to be whole on every device."""
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, P()), tree)


def _place(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Copies one array, the same in every process, onto the mesh."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        # Keys have one axis more inside, which stays whole.
        data = _place(jax.random.key_data(leaf), NamedSharding(sharding.mesh, sharding.spec))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding, may_alias=False)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _from_local(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Makes a global array of the rows of each process."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf  # a global array already
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))
