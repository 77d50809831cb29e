"""Where arrays lie on a mesh of devices: rules by path, one layout for a whole train state."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxkd.networks import PyTree

AXES = ("data", "fsdp", "model")


def make_mesh(
    *,
    data: int = -1,
    fsdp: int = 1,
    model: int = 1,
    explicit: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh with the axes `data`, `fsdp` and `model`.

    A batch is spread over `data` and `fsdp`; parameters are spread over `fsdp` (each device keeps a
    part and gathers the rest when it needs it) and `model` (each device computes a part).

    Args:
      data: devices along the axis; -1 for what the others leave, for one of the three.
      fsdp: likewise.
      model: likewise.
      explicit: whether axes are of JAX's Explicit type, for code that goes on with sharded types;
        a `TrainStep` runs on both alike.
      devices: by default all, those of other processes too.

    Returns:
      A `jax.sharding.Mesh`.

    Raises:
      ValueError: sizes whose product is not the number of devices.

    Example:
      >>> make_mesh(devices=jax.devices()[:1]).axis_names
      ('data', 'fsdp', 'model')
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = dict(zip(AXES, (data, fsdp, model), strict=True))
    free = [name for name, size in sizes.items() if size == -1]
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    bad = len(free) > 1 or any(size < 1 for size in sizes.values() if size != -1)
    if not bad and free:
        sizes[free[0]] = len(devices) // known
        known *= sizes[free[0]]
    if bad or known != len(devices):
        wanted = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(
            f"{len(devices)} devices cannot be arranged as {wanted}: the product must be their "
            "number, and one of the three may be -1"
        )
    kind = AxisType.Explicit if explicit else AxisType.Auto
    shape = tuple(sizes[name] for name in AXES)
    try:
        return jax.make_mesh(shape, AXES, (kind,) * 3, devices=devices)
    except NotImplementedError:
        # A small axis on a large torus takes a part of one of its physical axes.
        arranged = mesh_utils.create_device_mesh(
            shape, list(devices), allow_split_physical_axes=True
        )
        return Mesh(arranged, AXES, axis_types=(kind,) * 3)


@dataclasses.dataclass(frozen=True)
class Partitioning:
    """A mesh, and the rules by which arrays lie on it.

    A leaf is named by its path, such as `params/student/conv.kernel`, `opt_state/0/mu/student/…`,
    `model_state/connectors/crd/bank` or `teacher/params/head.kernel`; the first rule whose pattern
    is found in the path decides. A leaf that no rule names is spread over the mesh's `model` axis
    by its last dimension and over its `fsdp` axis by its largest other one, as far as they divide,
    unless it is small. `(("student", P()),)` keeps the student whole on every device beside a
    teacher that is spread; `(("teacher", P()),)` the reverse.

    Attributes:
      mesh: of `make_mesh`, or any other.
      rules: pairs of a regular expression and a `PartitionSpec`.
      min_size: numbers in an array below which it stays whole where no rule names it.
      batch: how the first axis of a batch is spread.

    Raises:
      ValueError: an axis that the mesh does not have.

    Example:
      >>> import jax.numpy as jnp
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
        for what, spec in (("the batch", self.batch), *self.rules):
            if unknown := sorted(set(_axes(spec)) - set(self.mesh.axis_names)):
                raise ValueError(
                    f"{spec} for {what!r} names the axes {unknown}; the mesh has "
                    f"{list(self.mesh.axis_names)}"
                )

    def specs(self, tree: PyTree) -> PyTree:
        """The `PartitionSpec` of each leaf.

        Args:
          tree: arrays, or whatever has their `shape`; a `TrainState` for one.

        Raises:
          ValueError: a rule that does not fit a leaf it names. In an optimizer's state, whose
            leaves need not have the parameters' shapes, such a leaf is laid as if no rule named it.
        """

        def one(path: Any, leaf: Any) -> P:
            name, shape = jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape
            for pattern, spec in self.rules:
                if re.search(pattern, name):
                    if self._fits(spec, shape):
                        return self._tidy(spec, len(shape))
                    if name.startswith("opt_state"):
                        break
                    raise ValueError(
                        f"the rule {pattern!r} lays {name} of shape {shape} as {spec} on a mesh of "
                        f"{dict(self.mesh.shape)}: each spread dimension must be a multiple of its "
                        "axes. Add a rule for this leaf before it"
                    )
            return self._by_shape(shape)

        return jax.tree_util.tree_map_with_path(one, tree)

    def shardings(self, tree: PyTree) -> PyTree:
        """The `NamedSharding` of each leaf; see `specs`."""
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), self.specs(tree))

    def place(self, tree: PyTree) -> PyTree:
        """A copy of a tree, laid on the mesh by the rules.

        Args:
          tree: arrays with the same values in every process.

        Returns:
          The tree; nothing of the given one is shared, so a step may reuse its memory.
        """
        return jax.tree.map(_placed, tree, self.shardings(tree))

    def place_teacher(self, params: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
        """A teacher's variables on the mesh, named `teacher/params/…` and `teacher/state/…`."""
        placed = self.place({"teacher": {"params": params, "state": state}})["teacher"]
        return placed["params"], placed["state"]

    def put(self, batch: PyTree, *, leading: int = 0, whole: bool = False) -> PyTree:
        """A batch on the mesh, one global array from what each process read.

        Args:
          batch: arrays `[examples of this process, ...]` on the host, a `Loader`'s for one.
          leading: axes before that of the examples, for batches that are stacked.
          whole: whether the arrays hold the examples of all processes instead.

        Raises:
          ValueError: a number of examples that does not divide by the devices it is spread over.
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
            return jax.tree.map(_placed, batch, shardings)
        return jax.tree.map(_from_local, batch, shardings)

    @functools.cached_property
    def process(self) -> tuple[int, int]:
        """Which part of a batch this process reads: `(index, count)`, for a `Loader`.

        Raises:
          ValueError: this process's devices do not hold one stretch of a batch.
        """
        if not self.batch:
            return 0, 1
        count = self._pieces(self.batch[0])
        own = NamedSharding(self.mesh, self.batch).addressable_devices_indices_map((count,))
        held = sorted({s[0].start or 0 for s in own.values() if s is not None})
        if held != list(range(held[0], held[0] + len(held))) or held[0] % len(held):
            raise ValueError(
                f"the devices of process {jax.process_index()} hold the parts {held} of {count} of "
                "a batch: arrange the mesh so that a process holds one stretch"
            )
        return held[0] // len(held), count // len(held)

    def for_batch(self, batch_size: int) -> "Partitioning":
        """The same, for batches of one size.

        Args:
          batch_size: examples of all processes.

        Returns:
          This partitioning if the batch divides by the devices it is spread over; else one in which
          every device sees the whole batch, as with the small batches of few labels.
        """
        pieces = self._pieces(self.batch[0]) if self.batch else 1
        return self if batch_size % pieces == 0 else dataclasses.replace(self, batch=P())

    def constrain(self, tree: PyTree) -> PyTree:
        """Inside a step: the tree stays where the rules lay it, whatever it was computed from."""
        return jax.lax.with_sharding_constraint(tree, self.specs(tree))

    def jit(
        self, function: Callable[..., Any], *, updates: int | None = None, **options: Any
    ) -> Any:
        """Compiles a function of arrays that lie on the mesh.

        On Explicit axes the inside is computed as on Auto ones, since networks are written without
        regard to a mesh; only what goes in and comes out has sharded types.

        Args:
          function: to be compiled.
          updates: which argument, a tree of the rules' layout, the function returns anew as the
            first of two results. All else that it returns comes out on all devices.
          **options: of `jax.jit`.
        """

        def traced(*args: Any) -> Any:
            out = P() if updates is None else (self.specs(args[updates]), P())
            if self.mesh.explicit_axes:
                return jax.sharding.auto_axes(function, out_sharding=out)(*args)
            result = function(*args)
            if updates is None:
                return _replicated(result)
            return jax.lax.with_sharding_constraint(result[0], out[0]), _replicated(result[1])

        compiled = jax.jit(traced, **options)

        return _OnMesh(self.mesh, compiled)

    def _pieces(self, axes: Any) -> int:
        return int(np.prod([self.mesh.shape[axis] for axis in _axes((axes,))]))

    def _fits(self, spec: P, shape: tuple[int, ...]) -> bool:
        return len(spec) <= len(shape) and all(
            size % self._pieces(axes) == 0 for size, axes in zip(shape, spec, strict=False)
        )

    def _by_shape(self, shape: tuple[int, ...]) -> P:
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
        """The spec as XLA gives it back, so that a second step finds the first one's program."""
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
    """A compiled function that is called with its mesh around it."""

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
    """Names of the mesh's axes in a spec."""
    found: list[str] = []
    for entry in spec:
        found += [] if entry is None else [entry] if isinstance(entry, str) else list(entry)
    return found


def _replicated(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, P()), tree)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """A copy of one array, the same in every process, on the mesh."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        # Keys have one axis more inside, which stays whole.
        data = _placed(jax.random.key_data(leaf), NamedSharding(sharding.mesh, sharding.spec))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding, may_alias=False)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _from_local(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf  # put there before
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))
