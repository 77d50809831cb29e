"""A student that starts from layers of its teacher."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.networks import Network, PyTree
from jaxkd.networks._network import dotted
from jaxkd.strategies.multi_optimizer import is_under, leaves_by_path


def from_teacher_layers(student: Network, teacher: Network, layers: Mapping[str, str]) -> Network:
    """Copies layers of the teacher into the student, parameters and batch statistics.

    A student that is the teacher with layers left out starts far ahead of random weights: with the
    same width throughout, copy every second block. The teacher's classifier on a student of the
    same last width can be copied and frozen (`freeze`), so that features alone are learned;
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


def evenly_spaced_layers(teacher_count: int, student_count: int) -> list[int]:
    """Returns which of the teacher's layers a shallower student starts from, the ends among them.

    Args:
      teacher_count: number of layers of the teacher.
      student_count: number of layers of the student, at most as many.

    Returns:
      Ascending numbers from 0; the first layer alone if there is one.

    Raises:
      ValueError: a student of more layers than its teacher, or of none.

    Example:
      >>> evenly_spaced_layers(12, 6), evenly_spaced_layers(12, 4)
      ([0, 2, 4, 7, 9, 11], [0, 4, 7, 11])
    """
    if not 1 <= student_count <= teacher_count:
        raise ValueError(
            f"{student_count} layers cannot be chosen from {teacher_count}: the student has at "
            "least one, and at most as many as the teacher"
        )
    gaps = max(student_count - 1, 1)
    # Rounded half up, without floating point.
    return [(2 * i * (teacher_count - 1) + gaps) // (2 * gaps) for i in range(student_count)]


def layer_mapping(student: Network, teacher: Network, layers: str = "layers") -> dict[str, str]:
    """Maps a student's layers to evenly spaced ones of the teacher, and other parts by their name.

    Args:
      student: a network with numbered layers, a `Decoder` or an `Encoder` for one.
      teacher: a network with at least as many of them.
      layers: path of the layers in both, with dots.

    Returns:
      Path in the student → path in the teacher, for `from_teacher_layers`: of each of the student's
      layers, by `evenly_spaced_layers`, and of all its parts that are not among them (embeddings,
      the last normalization, the head). Remove what is to start anew.

    Raises:
      ValueError: a network without such layers, a student with more than its teacher.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> decoder = lambda depth, seed: jaxkd.from_nnx(
      ...     jaxkd.models.Decoder(32, 8, depth, 2, rngs=nnx.Rngs(seed)))
      >>> teacher, student = decoder(4, 0), decoder(2, 1)
      >>> mapping = layer_mapping(student, teacher)
      >>> mapping
      {'layers.0': 'layers.0', 'layers.1': 'layers.3', 'embeddings': 'embeddings', 'norm': 'norm'}
      >>> started = from_teacher_layers(student, teacher, mapping)
    """
    counts = []
    for network in (teacher, student):
        paths = leaves_by_path(network.params)
        numbers = {
            path[len(layers) + 1 :].partition(".")[0] for path in paths if is_under(path, layers)
        }
        if not numbers or not all(number.isdigit() for number in numbers):
            known = sorted({path.partition(".")[0] for path in paths})
            raise ValueError(f"{network.name} has no numbered layers under {layers!r}, but {known}")
        counts.append(len(numbers))
    mapping = {
        f"{layers}.{own}": f"{layers}.{other}"
        for own, other in enumerate(evenly_spaced_layers(*counts))
    }
    others = sorted(path for path in leaves_by_path(student.params) if not is_under(path, layers))
    return mapping | {part: part for part in (path.rpartition(".")[0] or path for path in others)}


def _variables(network: Network) -> dict[str, dict[str, jax.Array]]:
    """Returns variables by kind and dotted path; Linen's collections are kinds."""
    state = network.state
    kinds = dict(state) if _is_nested(state) else {"state": state}
    return {
        "params": leaves_by_path(network.params),
        **{k: leaves_by_path(tree) for k, tree in kinds.items()},
    }


def _is_nested(state: PyTree) -> bool:
    return isinstance(state, Mapping) and any(isinstance(v, Mapping) for v in state.values())


def _with(tree: PyTree, values: Mapping[str, jax.Array]) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, leaf: values.get(dotted(path), leaf), tree)


def _layers(variables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted({path.rpartition(".")[0] or path for path in variables["params"]})
