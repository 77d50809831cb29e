"""Builds a cache in a process of its own, for tests: cache_builder.py PATH [--kill_at N] …"""

import argparse
import os
import pathlib
import signal
import time

import numpy as np
from conftest import random_images, small_network

import jaxkd
from jaxkd.cache import _build
from jaxkd.data import Dataset
from jaxkd.views import Mixup, Normalize, RandomCrop, RandomFlip, Views

TEACHER_SEED = 9
VIEWS = Views((RandomCrop(2), RandomFlip(), Normalize(std=(0.3,)), Mixup(5, alpha=0.4)), seed=3)


def reordered(data: Dataset, seed: int) -> Dataset:
    """The same examples in another order."""
    order = np.random.default_rng(seed).permutation(len(data))
    return Dataset.from_arrays(
        data.inputs[order],
        data.labels[order],
        ids=data.ids[order],
        name=data.name,
        split=data.split,
        num_classes=data.num_classes,
    )


def main() -> None:
    """Builds the cache, or is killed on the way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--order", type=int, default=0)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--block_size", type=int, default=64)
    parser.add_argument("--kill_at", type=int, default=0)
    parser.add_argument("--wait_at", type=int, default=0, help="until another one is killed")
    parser.add_argument("--process", type=int, nargs=2, default=(0, 1))
    arguments = parser.parse_args()
    if arguments.kill_at or arguments.wait_at:
        store, calls = _build._store, []
        is_killed = pathlib.Path(f"{arguments.path}.killed")
        deadline = time.monotonic() + 600

        def watched(*args):
            calls.append(1)
            if len(calls) == arguments.kill_at:
                is_killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            while len(calls) == arguments.wait_at and not is_killed.exists():
                assert time.monotonic() < deadline, "the other process was not killed"
                time.sleep(0.01)
            return store(*args)

        _build._store = watched
    jaxkd.cache.build(
        arguments.path,
        small_network(TEACHER_SEED),
        reordered(random_images(), arguments.order),
        VIEWS,
        num_views=3,
        batch_size=arguments.batch_size,
        block_size=arguments.block_size,
        process=tuple(arguments.process),
        progress=False,
    )


if __name__ == "__main__":
    main()
