"""Teachers of a study: trained on labels, with their earlier selves, and their cached outputs."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxkd
from jaxkd import Network, TrainState
from jaxkd.cache import Cache
from jaxkd.data import Examples
from jaxkd.study import Study
from jaxkd.study.runner import Training, save, train
from jaxkd.study.runtime import Runtime
from jaxkd.training import is_main_process
from jaxkd.views import Views

# Shares of a teacher's training at which it is saved for progressive distillation.
_ANCHORS = (0.2, 0.6)


def train_teacher(
    study: Study,
    network: Network,
    train_examples: Examples,
    steps: int,
    *,
    name: str = "teacher",
    optimizer: optax.GradientTransformation | None = None,
    anchors: bool = False,
) -> Network:
    """Trains a teacher on all labels that it is given, or resumes its training.

    Args:
      study: gives views, batch size and held-out examples.
      network: untrained teacher.
      train_examples: training examples.
      steps: number of updates.
      name: name of its folder below that of the study.
      optimizer: None for the study's own.
      anchors: whether to save it at a fifth and at three fifths of its training, for `anchors_of`.

    Returns:
      The trained teacher.
    """
    batch_size = min(study.batch_size, len(train_examples))
    step = study.runtime.train_step(
        network,
        jaxkd.recipes.labels(),
        optimizer or study.optimizer(steps),
        batch_size=batch_size,
        views=study.views,
    )
    folder = study.workdir / name

    def evaluate(state: TrainState) -> dict[str, float]:
        present = state.network(network)
        if anchors:
            _save_anchors(folder, present, int(state.step), steps)
        return dict(study.evaluator("test").scores(present))

    training = Training(
        workdir=folder,
        step=step,
        loader=study.runtime.loader(
            train_examples, study.views, batch_size, num_views=None, **study.loader_options
        ),
        steps=steps,
        evaluate=evaluate,
        logs_per_evaluation=4,
        logs_per_checkpoint=4,
        progress=name,
    )
    return train(training, study.runtime).network


def anchors_of(study: Study, teacher: Network, *, name: str = "teacher") -> list[Network]:
    """Returns the teacher as it was during its training, at a fifth and at three fifths of it.

    Args:
      study: the study that trained it.
      teacher: trained teacher.
      name: name of its folder below that of the study.

    Returns:
      The earlier teachers, early to late.

    Raises:
      FileNotFoundError: it was trained elsewhere, or without `anchors`.
    """
    leaves, tree = jax.tree.flatten((teacher.params, teacher.state))
    anchors = []
    for index in range(len(_ANCHORS)):
        file = study.workdir / name / f"anchor{index}.npz"
        if not file.exists():
            raise FileNotFoundError(
                f"{file} is not there: the teacher's earlier checkpoints are kept only where it is "
                "trained by this experiment, and progressive distillation needs them"
            )
        with np.load(file) as stored:
            params, state = jax.tree.unflatten(
                tree, [jnp.asarray(stored[str(number)]) for number in range(len(leaves))]
            )
        anchors.append(teacher.replace(params=params, state=state))
    return anchors


def cache_outputs(
    path: pathlib.Path,
    teacher: Network,
    train_examples: Examples,
    views: Views,
    runtime: Runtime,
    *,
    student: Network,
    **options: Any,
) -> Cache:
    """Builds a cache of a teacher's outputs, after a forecast of its size and a question.

    Args:
      path: folder of the cache; what is there is not computed again.
      teacher: trained teacher.
      train_examples: examples whose outputs are cached.
      views: how the teacher sees them.
      runtime: whether a large cache needs a question.
      student: network whose step the forecast compares with.
      **options: further arguments of `jaxkd.cache.build`, such as `codec` and `num_views`.

    Returns:
      The cache.
    """
    arguments = (teacher, train_examples, views)
    known = {name: options[name] for name in ("codec", "num_views") if name in options}
    predicted = jaxkd.cache.forecast(*arguments, **known, student=student)
    if is_main_process():
        print(f"{path.name}: {predicted}")
    jaxkd.cache.confirm_build(predicted, yes=runtime.yes)
    return jaxkd.cache.build(path, *arguments, **options)


def _save_anchors(folder: pathlib.Path, network: Network, step: int, steps: int) -> None:
    """Saves a network at the first evaluation that comes after a share of its training."""
    every = 4 * max(1, steps // 20)
    for index, share in enumerate(_ANCHORS):
        if 0 <= step - share * steps < every:
            leaves = jax.tree.leaves((network.params, network.state))
            arrays = {str(number): np.asarray(leaf) for number, leaf in enumerate(leaves)}
            save(folder / f"anchor{index}.npz", arrays)
