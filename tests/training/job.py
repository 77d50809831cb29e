"""One process of a job, for test_jobs.py: job.py COUNT INDEX PORT WORKDIR TERMINATE_AT.

Builds a cache from a teacher that is spread over all processes, trains a student whose parameters
are spread too, evaluates, and writes the results. At the step TERMINATE_AT (-1: never) the last
process gets SIGTERM.
"""

import os
import pathlib
import signal
import sys
import time

from jaxkd.training import initialize


def main() -> None:
    count, index, port = map(int, sys.argv[1:4])
    workdir, terminate_at = pathlib.Path(sys.argv[4]), int(sys.argv[5])
    if count > 1:
        initialize(f"127.0.0.1:{port}", count, index, heartbeat_timeout_seconds=10)
    import jax
    import numpy as np
    import optax
    from conftest import random_images, small_network
    from jax.sharding import NamedSharding

    import jaxkd
    from jaxkd import make_train_step, recipes, training
    from jaxkd.data import Loader, eval_batches
    from jaxkd.views import Normalize, RandomCrop, Views

    assert (jax.process_count(), jax.device_count()) == (count, 4)
    data, views = random_images(), Views((RandomCrop(1), Normalize()))
    spread = training.Partitioning(training.make_mesh(fsdp=4), min_size=0)
    whole = small_network(9)
    params, state = spread.place_teacher(whole.params, whole.state)
    teacher = whole.replace(params=params, state=state)
    assert teacher.fingerprint() == whole.fingerprint()
    over_batch = NamedSharding(spread.mesh, spread.batch)
    cache = jaxkd.cache.build(
        workdir / "cache", teacher, data, views, num_views=2, batch_size=32, block_size=64,
        batch_sharding=over_batch, progress=False,
    )  # fmt: skip
    if count > 1:  # each would compute its own rows, in one program of all
        try:
            jaxkd.cache.build(workdir / "other", teacher, data, views, progress=False)
            raise AssertionError("a spread teacher ran without batch_sharding")
        except ValueError as error:
            assert "sharded over several processes" in str(error)
    student, objective, sgd = small_network(0), recipes.kd(), optax.sgd(0.02, momentum=0.9)
    step = make_train_step(student, objective, sgd, views=views, partitioning=spread)
    scorer = training.make_eval_step(student, views=views, partitioning=spread)

    class Batches(Loader):
        def __getitem__(self, step):
            if step == terminate_at and index == count - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            if 0 <= terminate_at < step:
                time.sleep(0.2)  # the notice takes its time to reach everyone
            return super().__getitem__(step)

    def score(state):
        own = state.params["student"], state.model_state["student"]
        return training.evaluate(scorer, *own, eval_batches(data, 64))

    fitted = training.fit(
        step,
        step.init(seed=4),
        Batches(data, views, 32, cache=cache, process=spread.process),
        steps=20, log_every=5, checkpoint_every=5, steps_per_call=2, evaluate=score,
        workdir=workdir / "run", progress=None,
    )  # fmt: skip
    taught = fitted.state.network(student)
    if count > 1:
        check_that_all_agree(workdir / "run" / "checkpoints", index, fitted.state)
    logits = training.predict(scorer, taught, eval_batches(data, 64))
    if training.is_main_process():
        outputs = cache.read(data.ids, 1).decode()["logits"]
        np.savez(workdir / "result.npz", logits=logits, outputs=outputs, **taught.params)
    training.sync_processes("the end")


def check_that_all_agree(directory, index, state) -> None:
    """What one process alone cannot read, no process takes; none waits for another."""
    from jaxkd.training import Checkpoints

    with Checkpoints(directory) as checkpoints:
        newest, read = checkpoints.latest(), checkpoints._read

        def unreadable(step, like):
            found = read(step, like)
            if index == 1 and step == newest:
                raise OSError("a disk of this process alone")
            return found

        checkpoints._read = unreadable
        restored, _ = checkpoints.restore(state)
        assert int(restored.step) == checkpoints.latest() < newest


if __name__ == "__main__":
    from jaxkd.training import Preempted

    try:
        main()
    except Preempted as stopped:
        print(stopped)
        sys.exit(stopped.exit_code)
