"""Arguments of a study: checked, with what stands for those that are not given."""

from __future__ import annotations

import itertools
import math
import os
import pathlib
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from jaxkd._files import file_in_the_way, local_path
from jaxkd.data import Examples, raw_batch, split
from jaxkd.networks import Network
from jaxkd.networks._arguments import check_integer, check_number, shown, suggestion
from jaxkd.study.runner import file_name
from jaxkd.study.runtime import Runtime
from jaxkd.teachers import ForeignTeacher
from jaxkd.views import Normalize, Views

if TYPE_CHECKING:
    from jaxkd.study.study import Study

PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Shares of a single data set."""
_RANDOM_VIEWS = 10
# Folders of the work directory that are not those of an arm.
_RESERVED = ("caches", "confirm", "stages", "together", "tune", "")
# Of a file system it is 255, with what temporary files add.
_LONGEST_NAME = 200
_KINDS: dict[str, tuple[Any, str]] = {
    "views": (Views, "views=Views((Normalize(),))"),
    "eval_views": (Views, "eval_views=Views((Normalize(),))"),
    "metrics": (Mapping, 'metrics={"accuracy": jaxkd.metrics.Accuracy()}'),
    "metric": (str | tuple, 'metric="accuracy", or metric=("mine", "max")'),
    "make_evaluator": (Callable, "make_evaluator=MyEvaluator, a jaxkd.study.Evaluator of your own"),
    "make_optimizer": (Callable, "make_optimizer=lambda steps, rate: optax.sgd(rate)"),
    "population": (bool | int, "population=False"),
    "loader_options": (Mapping, 'loader_options={"workers": 2}'),
    "show": (Callable, "show=lambda inputs: [str(each) for each in inputs]"),
    "runtime": (Runtime, "runtime=Runtime()"),
}
_WRITE = 'write jaxkd.data.split(dataset, {"train": 0.8, "validation": 0.1, "test": 0.1})'


def checked_data(data: Examples | Mapping[str, Examples]) -> dict[str, Examples]:
    """Returns the data by name; a single data set is divided.

    Raises:
      TypeError: no examples; says what to write.
      ValueError: no training or no held-out examples.
    """
    if isinstance(data, Examples):
        return dict(split(data, PARTS))
    if not isinstance(data, Mapping):
        raise TypeError(f"data must be examples by name, not {shown(data)}: {_WRITE}")
    for name, part in data.items():
        if not isinstance(part, Examples):
            raise TypeError(
                f"data[{name!r}] must be examples, not {shown(part)}: write "
                "jaxkd.data.Dataset.from_arrays(inputs, labels, …)"
            )
    if "train" not in data or not {"validation", "test"} & set(data):
        raise ValueError(
            f"data must have the parts 'train' and 'validation', and best 'test', too; there are "
            f"{list(data)}: {_WRITE}"
        )
    _warn_of_overlap(data)
    return dict(data)


def _warn_of_overlap(data: Mapping[str, Examples]) -> None:
    """Warns of examples that are trained on, or chosen on, and evaluated as if they were unseen."""
    named = [name for name in ("train", "validation", "test") if name in data]
    for one, other in itertools.combinations(named, 2):
        first, second = data[one], data[other]
        same = (first.name, first.version, first.split) == (
            second.name,
            second.version,
            second.split,
        )
        common = np.intersect1d(first.ids, second.ids).size if same else 0
        # The content of all examples is read only where names and ids leave it open.
        if common and (first is second or first.fingerprint == second.fingerprint):
            warnings.warn(
                f"{common} of the {len(second)} examples of data[{other!r}] are in data[{one!r}], "
                f"too, so that its metrics are not those of unseen examples: {_WRITE}",
                stacklevel=4,
            )


def check_kinds(given: Mapping[str, Any]) -> None:
    """Refuses arguments of another kind that would be found wrong later, or never.

    Args:
      given: name → value of the arguments of a study.

    Raises:
      TypeError: names the argument, its value and what to write.
      ValueError: no metric, or not the name of one and its direction; metrics and an evaluator;
        programs of one student.
    """
    for name, (kind, line) in _KINDS.items():
        value = given[name]
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} cannot be {shown(value)}: write {line}")
    population = given["population"]
    if population is not None and not isinstance(population, bool) and population < 2:
        raise ValueError(
            f"population must be at least 2 students of one program, not {population}: write "
            "population=False for each alone"
        )
    if given["metrics"] is not None and given["make_evaluator"] is not None:
        raise ValueError("an evaluator of your own has its own scores: leave metrics out")
    metric = given["metric"]
    if given["metrics"] == {} or (isinstance(metric, tuple) and len(metric) != 2):
        name = "metric" if given["metrics"] != {} else "metrics"
        raise ValueError(f"{name} cannot be {given[name]!r}: write {_KINDS[name][1]}")


def checked_make_student(make_student: Any) -> Callable[[int], Network]:
    """Returns a function from a seed to a student; modules of NNX become networks.

    Raises:
      TypeError: no function; says what to write.
    """
    if isinstance(make_student, ForeignTeacher):
        raise TypeError(
            f"make_student cannot be the teacher {make_student.name}, which nothing trains: write "
            "the student first, distill(student, teacher, data), Study(data, make_student, teacher)"
        )
    if isinstance(make_student, Network | nnx.Module) or not callable(make_student):
        raise TypeError(
            f"make_student must be a function from a seed, not {shown(make_student)}: write lambda "
            "seed: jaxkd.from_nnx(MLP(64, (32,), 10, rngs=nnx.Rngs(seed)))"
        )

    digests: dict[int, int] = {}

    def make(seed: int) -> Network:
        made = make_student(seed)
        if not isinstance(made, Network):
            raise TypeError(
                f"make_student must return a Network, not {shown(made)}: write lambda seed: "
                "jaxkd.from_nnx(…), from_linen or from_function"
            )
        digest = weights_digest(made)
        if digest is not None and digests.setdefault(seed, digest) != digest:
            raise ValueError(
                f"make_student({seed}) returned other weights than before, and runs of a seed "
                "start from the same ones: make them from the seed, lambda seed: "
                "jaxkd.from_nnx(MLP(64, (32,), 10, rngs=nnx.Rngs(seed)))"
            )
        return made

    return make


def weights_digest(network: Network) -> int | None:
    """Returns a checksum of the parameters; None while they are traced or known by shape alone."""
    leaves = jax.tree.leaves(network.params)
    known = (isinstance(x, np.ndarray | jax.Array) for x in leaves)
    if not all(known) or any(isinstance(x, jax.core.Tracer) for x in leaves):
        return None
    checksum = 0
    for leaf in leaves:
        checksum = zlib.crc32(np.asarray(leaf).tobytes(), checksum)
    return checksum


def checked_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Returns the seeds; a number stands for that many, from 0 on."""
    if not isinstance(seeds, Iterable):
        check_integer("seeds", seeds)
        seeds = range(int(seeds))
    for seed in (seeds := tuple(seeds)):
        check_integer("a seed", seed)
    seeds = tuple(map(int, seeds))
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(
            f"seeds must be at least one, from 0 on, and each once, not {list(seeds)}: write "
            "seeds=3, or seeds=[0, 1, 2]"
        )
    return seeds


def checked_batch_size(batch_size: int, train: Examples) -> int:
    """Returns the number of examples in a batch, at most as many as there are."""
    check_integer("batch_size", batch_size)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return min(int(batch_size), len(train))


def checked_learning_rate(learning_rate: float) -> float:
    """Returns the learning rate; refuses one that is not positive."""
    check_number("learning_rate", learning_rate)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be positive, not {learning_rate}")
    return learning_rate


def checked_folder(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the absolute path of a folder, which may not be there yet.

    Raises:
      NotADirectoryError: it is a file, or below one.
    """
    folder = local_path(path)
    if file := file_in_the_way(folder):
        raise NotADirectoryError(
            f"{name}={str(path)!r} is a folder for results, and {file} is a file: name another one"
        )
    return folder


def checked_steps(
    steps: int | None, epochs: float | None, seconds: float | None, steps_per_epoch: int
) -> int:
    """Returns the number of steps, 0 where it follows from the seconds.

    Raises:
      ValueError: no budget, several, or one that is not positive.
    """
    budgets = {"steps": steps, "epochs": epochs, "seconds": seconds}
    given = {name: value for name, value in budgets.items() if value is not None}
    if len(given) != 1:
        said = ", ".join(given) or "none"
        raise ValueError(
            f"a study has one budget for each student, steps, epochs or seconds; given: {said}. "
            "Write epochs=30"
        )
    ((name, value),) = given.items()
    check_number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive, not {value}")
    if name == "steps":
        check_integer("steps", value)
        return int(value)
    return max(1, round(value * steps_per_epoch)) if name == "epochs" else 0


def checked_evaluations(evaluations: int) -> int:
    """Returns the number of evaluations of a training; refuses one that its 20 log rows forbid."""
    check_integer("evaluations", evaluations)
    if not 1 <= evaluations <= 20:
        raise ValueError(f"evaluations must be from 1 to 20, not {evaluations}")
    return evaluations


def check_names(names: Sequence[str]) -> None:
    """Refuses arms whose folders would have one name."""
    folders = [file_name(name) for name in names]
    for name, folder in zip(names, folders, strict=True):
        if (size := len(folder.encode())) > _LONGEST_NAME:
            raise ValueError(
                f"the name of the arm {name!r} has {size} bytes, and that of a folder at most "
                f'{_LONGEST_NAME}: write Arm(…, name="…")'
            )
        if folders.count(folder) > 1 or folder in _RESERVED:
            raise ValueError(
                f"the arm {name!r} needs a name of its own among {list(names)}: write "
                'Arm(…, name="…")'
            )
    if not names:
        raise ValueError('a study needs an arm: write arms=["labels", "kd"]')


def default_views(examples: Examples) -> Views:
    """Returns `Normalize()` for images of 8 bits; others stay as they are."""
    first = examples.read(examples.ids[:1], 0)
    is_image = isinstance(first, np.ndarray) and first.dtype == np.uint8 and first.ndim == 4
    return Views((Normalize(),)) if is_image else Views()


def eval_views_of(views: Views) -> Views:
    """Returns what of some views is not random: normalization, resizing."""
    fixed = tuple(t for t in views.transforms if not getattr(t, "random", True))
    return Views(fixed, seed=views.seed, image=views.image, maps=views.maps)


def checked_num_views(num_views: int | None, views: Views) -> int | None:
    """Returns the number of views of an example; None for a new one in every epoch."""
    if num_views is None:
        return _RANDOM_VIEWS if views.random else 1
    check_integer("num_views", num_views)
    if num_views < 0:
        raise ValueError(f"num_views must not be negative, got {num_views}")
    return num_views or None


def as_network(teacher: Any, who: str) -> Network:
    """Returns a teacher that is a network.

    Raises:
      TypeError: there is none, or one outside of JAX; names what needs it.
    """
    if not isinstance(teacher, Network):
        raise TypeError(
            f"{who} needs a teacher that is a network of JAX, not {shown(teacher)}: write "
            "Study(data, make_student, teacher=jaxkd.from_nnx(…))"
        )
    return teacher


def check_codec(study: Study) -> None:
    """Refuses a codec of an output that no teacher has; nothing would be stored by it.

    Raises:
      ValueError: names the output, and those that there are.
    """
    codec, teacher = study.codec, study.teacher
    others = any(arm.teacher is not None for arm in study.arms)
    if not isinstance(codec, Mapping) or teacher is None or others:
        return
    if isinstance(teacher, Network):
        known = list(jax.eval_shape(teacher, study.inputs))
    else:
        ids = study.data["train"].ids[:1]
        batch = raw_batch(study.data["train"], study.views, ids, 0 * ids)
        known = list(teacher(np.asarray(study.views.render(batch)["inputs"])))
    if unknown := [name for name in codec if name not in known]:
        raise ValueError(
            f"codec names the output {unknown[0]!r}{suggestion(unknown[0], known)} The teacher has "
            f"{known}: write codec={{{known[0]!r}: Dense()}}"
        )


def has_convolutions(network: Network, inputs: Any) -> bool:
    """Whether the program of a network has a convolution."""
    program = jax.make_jaxpr(lambda p, s, x: network.apply(p, s, x)[0])(
        network.params, network.state, inputs
    )
    return re.search(r"\bconv(?!ert)", str(program)) is not None
