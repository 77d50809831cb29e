"""Part E: two runs in one work directory, and owners that are killed."""

import contextlib
import hashlib
import multiprocessing
import pathlib
import random
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from rich.progress import Progress

from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import said
from jaxkd.data import Loader

STEPS, KILLS = 60, 20
# A slow loader, so that a second run and a kill find the first one at work.
SECONDS_PER_STEP = 0.05
# Well beyond a whole run; a process that is alive then hangs.
LONGEST = 90
SECOND: dict[str, dict[str, Any]] = {
    "the same run": {},
    "another learning rate": {"rate": 0.02},
    "another number of steps": {"steps": 2 * STEPS},
    "another seed": {"seed": 5},
    "with a configuration": {"config": {"rate": 1}},
}
OWNER = ("process", "owner", "in use", "another run", "held by")


def run(folder: pathlib.Path, *, seed: int = 0, first: int | None = None) -> dict[str, Any]:
    """Disturbs a run in every way, then kills its owner again and again."""
    setting.build(folder / "cache", setting.teacher())
    kills = KILLS if first is None else first
    context = multiprocessing.get_context("spawn")
    lone, seconds = _lone(context, folder)
    cases = {
        f"{name}, in {where}": (where, changes)
        for name, changes in list(SECOND.items())[:first]
        for where in ("a process", "a thread")
    }
    rows, wrong = [], []
    with Progress(transient=True) as bar:
        task = bar.add_task("two runs, and kills", total=len(cases) + kills)
        refused = undisturbed = 0
        for name, (where, changes) in cases.items():
            text, equal = _disturbed(context, folder, where, changes, lone)
            named = any(word in text.lower() for word in OWNER)
            refused, undisturbed = refused + named, undisturbed + equal
            wrong += [] if named else [f"second run, {name}: {text or 'accepted'}"]
            wrong += [] if equal else [f"second run, {name}: the first one did not end as alone"]
            bar.advance(task)
        rows.append(["second runs refused by name", len(cases), refused])
        rows.append(["first runs that end bit-identical", len(cases), undisturbed])
        chance = random.Random(seed)
        done = equal_kills = 0
        while done < kills:
            count = min(4, kills - done)
            problem = _killed(context, folder, count, seconds, chance, lone)
            done += count
            equal_kills += 0 if problem else count
            wrong += [f"after kills: {problem}"] if problem else []
            bar.advance(task, count)
        rows.append(["owners killed, successors that end bit-identical", kills, equal_kills])
    columns = ["Runs in one work directory", "Times", "As it should be"]
    caption = f"{STEPS} steps, a checkpoint every 5; state, train.csv and eval.csv are compared."
    table = {"columns": columns, "rows": rows, "compared": columns[2]}
    return {"table": table, "wrong": wrong, "caption": caption}


class SlowLoader(Loader):
    """Batches that take a while."""

    def __getitem__(self, step: int) -> Any:
        time.sleep(SECONDS_PER_STEP)
        return super().__getitem__(step)


def train(
    cache: str,
    workdir: str,
    rate: float = 0.01,
    steps: int = STEPS,
    seed: int = 0,
    config: Any = None,
) -> str:
    """Trains in a work directory; returns a digest of the state at the end."""
    opened = setting.opened(cache)
    result = setting.train(
        SlowLoader(cache=opened, batch_size=32),
        optimizer=optax.adam(optax.linear_schedule(rate, 0.0, STEPS)),
        steps=steps,
        seed=seed,
        workdir=workdir,
        config=config,
        log_every=5,
        eval_every=10,
        checkpoint_every=5,
        evaluate=lambda state: {"norm": float(optax.global_norm(state.params))},
    )
    state = result.state.replace(key=jax.random.key_data(result.state.key))
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


def work(cache: str, workdir: str, result: str, options: dict[str, Any]) -> None:
    """What a process does: trains, and leaves the digest or the error in a file."""
    try:
        text = train(cache, workdir, **options)
    except Exception as error:
        text = said(error)
    pathlib.Path(result).write_text(text, encoding="utf-8")


def _started(context: Any, folder: pathlib.Path, workdir: pathlib.Path, **options: Any) -> Any:
    result = workdir.with_name(f"{workdir.name}_{time.monotonic_ns()}.txt")
    arguments = str(folder / "cache"), str(workdir), str(result), options
    process = context.Process(target=work, args=arguments)
    process.start()
    return process, result


def _ended(process: Any, result: pathlib.Path) -> str:
    process.join(LONGEST)
    if process.exitcode is None:
        process.kill()
        return f"a run did not end within {LONGEST} s"
    return result.read_text(encoding="utf-8") if result.exists() else f"exit {process.exitcode}"


def _digest(workdir: pathlib.Path, state: str) -> str:
    files = [(workdir / name).read_text(encoding="utf-8") for name in ("train.csv", "eval.csv")]
    return state + hashlib.sha256("\n".join(files).encode()).hexdigest()


def _lone(context: Any, folder: pathlib.Path) -> tuple[str, float]:
    """The run that nobody disturbs, and its seconds; the second time programs are compiled."""
    for name in ("first", "lone"):
        started = time.monotonic()
        digest = _digest(folder / name, _ended(*_started(context, folder, folder / name)))
    return digest, time.monotonic() - started


def _disturbed(
    context: Any, folder: pathlib.Path, where: str, changes: dict[str, Any], lone: str
) -> tuple[str, bool]:
    """Returns the error of a second run, and whether the first one ends as if it was alone."""
    workdir = folder / "shared"
    shutil.rmtree(workdir, ignore_errors=True)
    if where == "a process":
        first = _started(context, folder, workdir)
        _wait_for(lambda: any(workdir.glob("checkpoints/*")))
        second = _ended(*_started(context, folder, workdir, **changes))
        state = _ended(*first)
    else:
        states: list[str] = []
        cache = str(folder / "cache")

        def go() -> None:
            with contextlib.suppress(Exception):
                states.append(train(cache, str(workdir)))

        thread = threading.Thread(target=go)
        thread.start()
        _wait_for(lambda: any(workdir.glob("checkpoints/*")) or not thread.is_alive())
        try:
            second = train(cache, str(workdir), **changes)
        except Exception as error:
            second = said(error)
        thread.join()
        state = states[0] if states else "the first run ended with an error"
    try:
        equal = _digest(workdir, state) == lone
    except OSError:
        equal = False
    return ("" if len(second) == 64 else second), equal


def _killed(
    context: Any,
    folder: pathlib.Path,
    kills: int,
    seconds: float,
    chance: random.Random,
    lone: str,
) -> str:
    """Kills one owner after the other; returns what is wrong with the last one's end."""
    workdir = folder / "killed"
    shutil.rmtree(workdir, ignore_errors=True)
    done = 0
    while done < kills:
        process, _ = _started(context, folder, workdir)
        process.join(chance.uniform(0, 0.7 * seconds))
        if process.exitcode is None:
            process.kill()
            process.join()
            done += 1
        elif process.exitcode or any(workdir.glob("checkpoints/*")):
            shutil.rmtree(workdir, ignore_errors=True)  # it came to its end before
    state = _ended(*_started(context, folder, workdir))
    if len(state) != 64:
        return state
    return "" if _digest(workdir, state) == lone else "another state, or other CSV files"


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
