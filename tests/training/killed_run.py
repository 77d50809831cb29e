"""A run for test_loop.py: killed by SIGKILL at a step between checkpoints, or left to finish.

Usage: killed_run.py WORKDIR STEP (0: finish; the final state is written to WORKDIR.npz).
"""

import os
import signal
import sys

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from jaxkd import make_train_step, recipes
from jaxkd.data import Dataset, Loader
from jaxkd.training import evaluate, fit, make_eval_step
from jaxkd.views import Mixup, Normalize, RandomCrop, Views


def main(workdir: str, kill_at: int) -> None:
    """Trains, from the newest checkpoint on.

    Args:
      workdir: the work directory.
      kill_at: the step at which the process is killed; 0: none.
    """
    generator = np.random.default_rng(0)
    data = Dataset.from_arrays(
        generator.integers(0, 256, (200, 8, 8, 1), np.uint8),
        generator.integers(0, 5, 200),
        name="random",
        split="train",
        num_classes=5,
    )
    views = Views((RandomCrop(1), Normalize(), Mixup(5)))
    teacher = jaxkd.from_nnx(jaxkd.models.MLP(64, (32,), 5, rngs=nnx.Rngs(7)))
    student = jaxkd.from_nnx(
        jaxkd.models.CNN((8, 8, 1), (4,), 16, 5, dropout_rate=0.2, rngs=nnx.Rngs(0))
    )
    cache = jaxkd.cache.build(f"{workdir}.cache", teacher, data, views, num_views=3, progress=False)

    class Batches(Loader):
        """Batches of which one kills the process."""

        def __getitem__(self, step):
            if kill_at and step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(step)

    optimizer = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 10, 100))
    objective = recipes.kd(temperature=optax.linear_schedule(8.0, 2.0, 100))
    step = make_train_step(student, objective, optimizer, views=views)
    test_step = make_eval_step(student, views=Views((Normalize(),)))

    def score(state):
        """Accuracy on the training examples."""
        return evaluate(
            test_step,
            state.params["student"],
            state.model_state["student"],
            jaxkd.data.eval_batches(data, 64),
        )

    fitted = fit(
        step,
        step.init(seed=4),
        Batches(data, views, 32, seed=1, cache=cache),
        steps=100,
        log_every=10,
        eval_every=20,
        evaluate=score,
        checkpoint_every=20,
        workdir=workdir,
        tensorboard=False,
        progress=None,
    )
    state = fitted.state.replace(key=jax.random.key_data(fitted.state.key))
    np.savez(
        f"{workdir}.npz",
        **{
            jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        },
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
