"""How far a student taught from the cache drifts from one taught online.

  python benchmarks/exact_views.py [--steps 200]

Scikit-learn's digits with crops, flips and mixup; a dense float32 cache. Prints the largest
difference of any parameter after all steps, once with the cache built as the student reads it and
once with it built in another process, from the data in another order, in another batch size.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from jaxkd import make_train_step, recipes
from jaxkd.data import Dataset, Loader, digits
from jaxkd.models import CNN, MLP
from jaxkd.study import Column, Table
from jaxkd.views import Mixup, Normalize, RandomCrop, RandomFlip, Views

VIEWS = Views((RandomCrop(1), RandomFlip(), Normalize(), Mixup(10, alpha=0.4)), seed=5)
NUM_VIEWS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--build", help="used by the script itself: only build, at this path")
    arguments = parser.parse_args()
    teacher = jaxkd.from_nnx(CNN((8, 8, 1), (16, 32), 64, 10, rngs=nnx.Rngs(1)))
    if arguments.build:
        _build(arguments.build, teacher, _data(order=1), batch_size=333)
        return
    folder = tempfile.mkdtemp()
    other = f"{folder}/other"
    caches = {
        "same process, order and batch size": _build(
            f"{folder}/here", teacher, _data(order=0), batch_size=64
        )
    }
    command = [sys.executable, __file__, "--build", other]
    subprocess.run(command, check=True, env=os.environ)
    caches["another process, order and batch size"] = jaxkd.cache.open(
        other, teacher=teacher, dataset=_data(order=0), views=VIEWS
    )
    rows = []
    for name, student in {
        "MLP-32": jaxkd.from_nnx(MLP(64, (32,), 10, rngs=nnx.Rngs(0))),
        "CNN-8-16 with dropout": jaxkd.from_nnx(
            CNN((8, 8, 1), (8, 16), 32, 10, dropout_rate=0.2, rngs=nnx.Rngs(0))
        ),
    }.items():
        online = _train(student, arguments.steps, teacher=teacher)
        moved = _apart(online, student.params)
        for built, cache in caches.items():
            cached = _train(student, arguments.steps, cache=cache)
            rows.append([name, built, _apart(online, cached), moved])
    number = "{:.1e}".format
    Table(
        f"Online against cached students after {arguments.steps} steps",
        [
            "Student",
            "Cache built in",
            Column("Largest difference of a parameter", number),
            Column("Largest way a parameter went", number),
        ],
        rows,
        f"Digits, crops, flips and mixup, SGD with momentum, {NUM_VIEWS} views, dense float32, "
        f"jax {jax.__version__}.",
    ).print()


def _data(order: int) -> Dataset:
    data = digits.load("train")
    shuffled = np.random.default_rng(order).permutation(len(data))
    return Dataset.from_arrays(
        data.inputs[shuffled],
        data.labels[shuffled],
        ids=data.ids[shuffled],
        name=data.name,
        split=data.split,
        num_classes=10,
    )


def _build(path, teacher, data, batch_size):
    return jaxkd.cache.build(
        path,
        teacher,
        data,
        VIEWS,
        num_views=NUM_VIEWS,
        batch_size=batch_size,
        progress=False,
    )


def _train(student, steps, *, teacher=None, cache=None):
    objective, sgd = recipes.kd(), optax.sgd(0.02, momentum=0.9)
    step = make_train_step(student, objective, sgd, teacher=teacher, views=VIEWS)
    state = step.init()
    loader = Loader(_data(order=2), VIEWS, 64, cache=cache, num_views=NUM_VIEWS)
    for index in range(steps):
        state, _ = step(state, loader[index])
    return state.params["student"]


def _apart(a, b) -> float:
    return max(float(jnp.abs(a[name] - b[name]).max()) for name in a)


if __name__ == "__main__":
    main()
