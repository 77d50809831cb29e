"""A student that starts from layers of its teacher, and layers that stay as they are."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxkd.networks import Network, PyTree
from jaxkd.networks._network import dotted


def from_teacher_layers(student: Network, teacher: Network, layers: Mapping[str, str]) -> Network:
    """The student with layers copied from the teacher, parameters and batch statistics.

    A student that is the teacher with layers left out starts far ahead of random weights: with the
    same width throughout, copy every second block. The teacher's classifier on a student of the
    same last width can be copied and kept still (`freeze`), so that features alone are learned;
    where the widths differ, `recipes.simkd` puts a projector between.

    Args:
      student: the network to start.
      teacher: the trained network.
      layers: path in the student → path in the teacher, of a layer or of any part with layers
        inside, with dots. NNX and Linen alike.

    Returns:
      The student with other variables, of its own dtypes.

    Raises:
      ValueError: a path that one of the two does not have, variables that only one of two layers
        has, shapes that differ; names them all.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> mlp = lambda depth, seed: jaxkd.from_nnx(
      ...     jaxkd.models.MLP(4, (8,) * depth, 3, rngs=nnx.Rngs(seed)))
      >>> teacher, student = mlp(4, 0), mlp(2, 1)
      >>> started = from_teacher_layers(
      ...     student, teacher, {"layers.0": "layers.0", "layers.1": "layers.3", "head": "head"})
      >>> bool((started.params["layers.1.bias"] == teacher.params["layers.3.bias"]).all())
      True

    Reference:
      Sanh et al., DistilBERT, 2019 (every second layer of the teacher).
    """
    own, others = _variables(student), _variables(teacher)
    copied: dict[str, dict[str, jax.Array]] = {kind: {} for kind in own}
    wrong: list[str] = []
    for path, source in layers.items():
        found = 0
        for kind in sorted({*own, *others}):
            here, there = own.get(kind, {}), others.get(kind, {})
            mine = {p[len(path) :] for p in here if is_under(p, path)}
            theirs = {p[len(source) :] for p in there if is_under(p, source)}
            found += len(mine) + len(theirs)
            wrong += [f"the teacher has no {source + rest}" for rest in sorted(mine - theirs)]
            wrong += [f"the student has no {path + rest}" for rest in sorted(theirs - mine)]
            for rest in sorted(mine & theirs):
                old, new = here[path + rest], there[source + rest]
                if old.shape != new.shape:
                    wrong.append(
                        f"{path + rest} is {old.shape} in the student, {source + rest} {new.shape} "
                        "in the teacher"
                    )
                else:
                    copied[kind][path + rest] = jnp.array(new, old.dtype)
        if not found:
            wrong.append(f"the student has no {path}, the teacher no {source}")
    if wrong:
        raise ValueError(
            f"layers cannot be copied: {'; '.join(wrong)}. The student has {_layers(own)}, the "
            f"teacher {_layers(others)}"
        )
    params, state = student.params, student.state
    params = _with(params, copied["params"])
    if _is_nested(state):
        state = {kind: _with(tree, copied[kind]) for kind, tree in state.items()}
    else:
        state = _with(state, copied["state"])
    return student.replace(params=params, state=state)


def pick_layers(teacher_count: int, student_count: int) -> list[int]:
    """Which of the teacher's layers a shallower student starts from: evenly, first and last kept.

    Args:
      teacher_count: number of layers.
      student_count: at most as many.

    Returns:
      Ascending numbers from 0; the first layer alone if there is one.

    Raises:
      ValueError: a student of more layers than its teacher, or of none.

    Example:
      >>> pick_layers(12, 6), pick_layers(12, 4)
      ([0, 2, 4, 7, 9, 11], [0, 4, 7, 11])
    """
    if not 1 <= student_count <= teacher_count:
        raise ValueError(
            f"{student_count} layers cannot be picked from {teacher_count}: the student has at "
            "least one, and at most as many as the teacher"
        )
    gaps = max(student_count - 1, 1)
    # Rounded half up, without floating point.
    return [(2 * i * (teacher_count - 1) + gaps) // (2 * gaps) for i in range(student_count)]


def spread_layers(student: Network, teacher: Network, layers: str = "layers") -> dict[str, str]:
    """For `from_teacher_layers`: layers picked evenly, and everything else as it is called.

    Args:
      student: a network with numbered layers, a `Decoder` or an `Encoder` for one.
      teacher: the same with more of them.
      layers: path of the layers in both, with dots.

    Returns:
      Path in the student → path in the teacher, of each of the student's layers, by `pick_layers`,
      and of all its parts that are not among them (embeddings, the last normalization, the head).
      Take out what is to start anew.

    Raises:
      ValueError: a network without such layers, a student with more than its teacher.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> decoder = lambda depth, seed: jaxkd.from_nnx(
      ...     jaxkd.models.Decoder(32, 8, depth, 2, rngs=nnx.Rngs(seed)))
      >>> teacher, student = decoder(4, 0), decoder(2, 1)
      >>> mapping = spread_layers(student, teacher)
      >>> mapping
      {'layers.0': 'layers.0', 'layers.1': 'layers.3', 'embeddings': 'embeddings', 'norm': 'norm'}
      >>> started = from_teacher_layers(student, teacher, mapping)
    """
    counts = []
    for network in (teacher, student):
        paths = _leaves(network.params)
        numbers = {
            path[len(layers) + 1 :].partition(".")[0] for path in paths if is_under(path, layers)
        }
        if not numbers or not all(number.isdigit() for number in numbers):
            known = sorted({path.partition(".")[0] for path in paths})
            raise ValueError(f"{network.name} has no numbered layers under {layers!r}, but {known}")
        counts.append(len(numbers))
    mapping = {
        f"{layers}.{own}": f"{layers}.{other}" for own, other in enumerate(pick_layers(*counts))
    }
    others = sorted(path for path in _leaves(student.params) if not is_under(path, layers))
    return mapping | {part: part for part in (path.rpartition(".")[0] or path for path in others)}


def multi_optimizer(
    optimizer: optax.GradientTransformation, others: Mapping[str, optax.GradientTransformation]
) -> optax.GradientTransformationExtraArgs:
    """One optimizer for the student and others for parts of it.

    Args:
      optimizer: for all parameters that no path covers, connectors among them.
      others: path in the student's parameters, with dots, → optimizer of all that lies under it;
        the longest path decides.

    Returns:
      An optax transformation for the parameters of a `TrainState`; not around
      `jaxkd.training.dot`, which wants gradients of the whole.

    Raises:
      ValueError: on `init`, a path that no parameter is under; names the paths there are.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0)))
      >>> slow_head = multi_optimizer(optax.adam(1e-3), {"head": optax.sgd(1e-4)})
      >>> step = jaxkd.make_train_step(network, jaxkd.recipes.labels(), slow_head)
      >>> state = step.init()
    """
    paths = sorted(others, key=len, reverse=True)

    def labels(params: PyTree) -> PyTree:
        used = set()

        def one(path: Any, _: Any) -> str:
            name = dotted(path)
            for own in paths:
                if is_under(name, f"student.{own}"):
                    used.add(own)
                    return own
            return ""

        made = jax.tree_util.tree_map_with_path(one, params)
        if missing := sorted(set(paths) - used):
            known = sorted({p.rpartition(".")[0] for p in _leaves(params.get("student", {}))})
            raise ValueError(f"no parameter of the student lies under {missing}; there are {known}")
        return made

    return optax.with_extra_args_support(
        optax.multi_transform({**dict(others), "": optimizer}, labels)
    )


def freeze(
    optimizer: optax.GradientTransformation, *paths: str
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that leaves parts of the student as they are.

    For a classifier taken over from the teacher, or lower layers that were trained in a phase
    before. Parameters alone stay: the running statistics of a BatchNorm in training still move.

    Args:
      optimizer: for everything else.
      *paths: in the student's parameters, with dots: `"head"`, `"stages.0"`.

    Returns:
      An optax transformation, as `multi_optimizer`.

    Raises:
      ValueError: no path; on `init`, one that no parameter is under.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0)))
      >>> frozen = freeze(optax.sgd(1), "hed")
      >>> jaxkd.make_train_step(network, jaxkd.recipes.labels(), frozen).init()
      Traceback (most recent call last):
        ...
      ValueError: no parameter of the student lies under ['hed']; there are ['head', 'layers.0']
    """
    if not paths:
        raise ValueError("nothing to freeze: name at least one path of the student's parameters")
    return multi_optimizer(optimizer, {path: optax.set_to_zero() for path in paths})


def is_under(path: str, part: str) -> bool:
    """Whether a dotted path is a part, or lies in it."""
    return path == part or path.startswith(part + ".")


def _variables(network: Network) -> dict[str, dict[str, jax.Array]]:
    """Variables by kind and dotted path; Linen's collections are kinds."""
    state = network.state
    kinds = dict(state) if _is_nested(state) else {"state": state}
    return {"params": _leaves(network.params), **{k: _leaves(tree) for k, tree in kinds.items()}}


def _is_nested(state: PyTree) -> bool:
    return isinstance(state, Mapping) and any(isinstance(v, Mapping) for v in state.values())


def _leaves(tree: PyTree) -> dict[str, jax.Array]:
    return {dotted(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _with(tree: PyTree, values: Mapping[str, jax.Array]) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, leaf: values.get(dotted(path), leaf), tree)


def _layers(variables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted({path.rpartition(".")[0] or path for path in variables["params"]})
