"""Training in several processes, some killed by SIGKILL at random: nothing is lost, nothing hangs.

  python benchmarks/train_kills.py [--kills 50] [--processes 2 4] [--output FILE]

A job of N processes on this machine (CPU, gloo), four devices in all, builds a cache, trains a
convolutional student with dropout, mixup, a memory bank, schedules, AdamW, evaluations and
checkpoints, and writes its final state.

First the job runs undisturbed with 1 and with N processes: the states are compared. Then it is
killed at random moments, one process or all, and started again until it ends: its state and its
CSV files must be those of the undisturbed job to the last bit. When one process is killed the
others must end by themselves, with an error, within a bounded time; the longest is reported.
"""

import argparse
import dataclasses
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Kill:
    """One SIGKILL: of all or of one, how long the others ran on, and the outcome."""

    everyone: bool
    wait_s: float
    equal: bool = False


DEVICES = 4
STEPS = 60
HEARTBEAT_S = 10
# Well beyond two heartbeats; a process that is alive then hangs.
LIMIT_S = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, help="a Markdown file for the table")
    parser.add_argument("--worker", nargs=4, metavar=("COUNT", "INDEX", "PORT", "WORKDIR"))
    parser.add_argument("--die", nargs=2, metavar=("STEP", "SECONDS"), default=("-2", "0"))
    arguments = parser.parse_args()
    if arguments.worker:
        count, index, port, workdir = arguments.worker
        die_at, delay = int(arguments.die[0]), float(arguments.die[1])
        work(int(count), int(index), int(port), pathlib.Path(workdir), die_at, delay)
        return
    from jaxkd.study import Table

    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(arguments, pathlib.Path(temporary))
    columns = [
        "Processes",
        "Largest difference to one process",
        "Kills",
        "Of all processes at once",
        "States and CSV files equal to the bit",
        "Longest wait for the others' end",
    ]
    table = Table("Jobs killed while training", columns, rows, caption(arguments))
    table.print()
    if arguments.output:
        text = f"# Jobs killed while training\n\n{table.to_markdown()}\n\n{table.caption}\n"
        arguments.output.write_text(text, encoding="utf-8")
    if any(row[2] != row[4] for row in rows):
        sys.exit("a job did not end in the state of the undisturbed one")


def caption(arguments: argparse.Namespace) -> str:
    return (
        f"{STEPS} steps on {DEVICES} CPU devices shared by the processes; SIGKILL at random "
        f"moments from the start of the cache to the last step; heartbeat {HEARTBEAT_S} s. The "
        f"difference is relative to the largest number of each array. jax {jax.__version__}."
    )


def measure(arguments: argparse.Namespace, place: pathlib.Path) -> list[list[object]]:
    chance = random.Random(arguments.seed)
    alone = undisturbed(1, place / "alone")
    rows: list[list[object]] = []
    for count, kills in zip(
        arguments.processes, shares(arguments.kills, len(arguments.processes)), strict=True
    ):
        apart = difference(alone, undisturbed(count, place / f"whole{count}"))
        killed: list[Kill] = []
        while len(killed) < kills:
            workdir = place / f"cut{count}_{len(killed)}"
            some = cut_and_resumed(count, workdir, chance, min(kills - len(killed), 4))
            equal = same_bits(workdir, place / f"whole{count}")
            killed += [dataclasses.replace(kill, equal=equal) for kill in some]
            print(f"{count} processes, {len(killed)} kills, equal: {equal}", flush=True)
            shutil.rmtree(workdir)
        waits = [kill.wait_s for kill in killed if not kill.everyone]
        rows.append(
            [
                count,
                f"{apart:.1e}",
                len(killed),
                sum(kill.everyone for kill in killed),
                sum(kill.equal for kill in killed),
                f"{max(waits, default=0):.1f} s",
            ]
        )
    return rows


def shares(total: int, parts: int) -> list[int]:
    return [total // parts + (index < total % parts) for index in range(parts)]


def undisturbed(count: int, workdir: pathlib.Path) -> dict[str, np.ndarray]:
    finish(launch(count, workdir), workdir)
    with np.load(workdir / "state.npz") as stored:
        return dict(stored)


def cut_and_resumed(
    count: int, workdir: pathlib.Path, chance: random.Random, kills: int
) -> list[Kill]:
    """Runs a job to its end through some kills, each later in the job than the one before."""
    killed = []
    for _ in range(kills):
        saved = max((int(p.name) for p in workdir.glob("checkpoints/*")), default=-1)
        step = chance.randrange(saved, STEPS)  # -1: while the cache is built
        everyone = chance.random() < 0.4
        victims = range(count) if everyone else [chance.randrange(count)]
        processes = launch(count, workdir, dict.fromkeys(victims, step), chance)
        codes = [processes[victim].wait(timeout=600) for victim in victims]
        since = time.monotonic()
        wait_for_end(processes, workdir)
        if not any(codes):
            break  # the end came before the signal
        if any(process.returncode == 0 for process in processes):
            raise SystemExit(f"a surviving process reports success; see {workdir}")
        killed.append(Kill(everyone, time.monotonic() - since))
    finish(launch(count, workdir), workdir)
    return killed


def wait_for_end(processes: list[subprocess.Popen], workdir: pathlib.Path) -> None:
    try:
        for process in processes:
            process.wait(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        raise SystemExit(
            f"a process lives on {LIMIT_S} s after its peer died; see {workdir}"
        ) from None


def launch(
    count: int,
    workdir: pathlib.Path,
    victims: dict[int, int] | None = None,
    chance: random.Random | None = None,
) -> list[subprocess.Popen]:
    workdir.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(DEVICES // count),
        "XLA_FLAGS": "",
        # Each launch compiles the same programs.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / f"programs{count}"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    processes = []
    for index in range(count):
        options = ["--worker", str(count), str(index), str(port), str(workdir)]
        if victims and chance and index in victims:
            options += ["--die", str(victims[index]), f"{chance.uniform(0, 0.4):.3f}"]
        with open(workdir / f"log{index}.txt", "a", encoding="utf-8") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, __file__, *options], env=environment, stdout=log, stderr=log
                )
            )
    return processes


def finish(processes: list[subprocess.Popen], workdir: pathlib.Path) -> None:
    for process in processes:
        process.wait(timeout=600)
    if codes := [p.returncode for p in processes if p.returncode]:
        text = (workdir / "log0.txt").read_text(encoding="utf-8")[-3000:]
        raise SystemExit(f"a job that nobody disturbed ended with {codes}:\n{text}")


def same_bits(one: pathlib.Path, other: pathlib.Path) -> bool:
    with np.load(one / "state.npz") as a, np.load(other / "state.npz") as b:
        arrays = sorted(a) == sorted(b) and all(np.array_equal(a[name], b[name]) for name in a)
    names = ("train.csv", "eval.csv")
    return arrays and all(
        (one / n).read_text(encoding="utf-8") == (other / n).read_text(encoding="utf-8")
        for n in names
    )


def difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    worst = 0.0
    for name in a:
        one, other = a[name].astype(np.float64), b[name].astype(np.float64)
        scale = max(np.abs(one).max(initial=0), 1e-3)
        worst = max(worst, float(np.abs(one - other).max(initial=0) / scale))
    return worst


def work(
    count: int, index: int, port: int, workdir: pathlib.Path, die_at: int, delay: float
) -> None:
    """One process of the job; it may kill itself some seconds after it began a step."""

    def die() -> None:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

    from jaxkd.training import initialize

    if count > 1:
        initialize(f"127.0.0.1:{port}", count, index, heartbeat_timeout_seconds=HEARTBEAT_S)
    import optax
    from flax import nnx

    import jaxkd
    from jaxkd import Objective, Term, losses, training
    from jaxkd.data import Dataset, Loader, eval_batches
    from jaxkd.views import Mixup, Normalize, RandomCrop, Views

    generator = np.random.default_rng(0)
    data = Dataset.from_arrays(
        generator.integers(0, 256, (240, 8, 8, 1), np.uint8),
        generator.integers(0, 5, 240),
        name="random",
        split="train",
        num_classes=5,
    )
    views, plain = Views((RandomCrop(1), Normalize(), Mixup(5))), Views((Normalize(),))

    class Batches(Loader):
        def __getitem__(self, step):
            if step == die_at:
                die()
            return super().__getitem__(step)

    if die_at == -1:
        die()
    teacher = jaxkd.from_nnx(jaxkd.models.MLP(64, (32,), 5, rngs=nnx.Rngs(7)))
    cache = jaxkd.cache.build(
        workdir / "cache", teacher, data, views, num_views=3, block_size=32, progress=False
    )
    student = jaxkd.from_nnx(
        jaxkd.models.CNN((8, 8, 1), (4,), 16, 5, dropout_rate=0.2, rngs=nnx.Rngs(0))
    )
    bank = jaxkd.connectors.CRD(5, 5, 240, dim=8, num_negatives=16, rngs=nnx.Rngs(3))
    objective = Objective(
        kd=Term(losses.kd, temperature=optax.linear_schedule(8.0, 2.0, STEPS)),
        crd=Term(losses.crd, weight=0.1, connector=bank),
    )
    optimizer = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 3e-3, 6, STEPS))
    spread = training.Partitioning(training.make_mesh())
    step = jaxkd.make_train_step(student, objective, optimizer, views=views, partitioning=spread)
    scorer = training.make_eval_step(student, views=plain, partitioning=spread)

    def score(state):
        student = state.params["student"], state.model_state["student"]
        return training.evaluate(scorer, *student, eval_batches(data, 64))

    fitted = training.fit(
        step,
        step.init(seed=4),
        Batches(data, views, 32, seed=1, cache=cache, process=spread.process),
        steps=STEPS,
        log_every=5,
        eval_every=10,
        evaluate=score,
        checkpoint_every=10,
        workdir=workdir,
        tensorboard=False,
        progress=None,
    )
    state = fitted.state.replace(key=jax.random.key_data(fitted.state.key))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    if training.is_main_process():
        np.savez(workdir / "state.npz", **arrays)
    training.sync_processes("the end")


if __name__ == "__main__":
    main()
