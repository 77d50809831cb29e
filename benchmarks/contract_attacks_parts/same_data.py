"""Data sets that are made again, in another order, grown or cut, with the same examples."""

import pathlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import Attempt, Folder
from benchmarks.contract_attacks_parts.setting import EXAMPLES, VIEWS
from jaxkd import cache as caches
from jaxkd.data import Loader


def attempts(make: Callable[[], tuple[Any, bool]], folder: Folder) -> Iterator[Attempt]:
    path, (data, whole) = setting.home(folder), make()
    known = np.intersect1d(data.ids, setting.dataset().ids)
    part = data.select(known)
    network = setting.teacher()
    yield "open", lambda: setting.opened(path, data=part)
    yield "Loader", lambda: Loader(part, VIEWS, 16, cache=setting.opened(path))
    yield "check", lambda: caches.Cache(path).check(teacher=network, dataset=part, views=VIEWS)
    yield "fit", lambda: setting.train(Loader(part, VIEWS, 16, cache=setting.opened(path)))
    if whole:
        yield "build", lambda: setting.build(folder.copy(path), network, data)
    else:
        yield (
            "extend",
            lambda: caches.extend(
                folder.copy(path), network, data, VIEWS, progress=False, block_size=24
            ),
        )


def _sorted_otherwise() -> tuple[Any, bool]:
    images, labels = setting.arrays()
    order = np.random.default_rng(1).permutation(EXAMPLES)
    return setting.dataset(images[order], labels[order], ids=order), True


def _grown() -> tuple[Any, bool]:
    images, labels = setting.arrays()
    more = np.concatenate([images, images[:10] ^ 255])
    return setting.dataset(more, np.concatenate([labels, labels[:10]])), False


def _unlabeled() -> tuple[Any, bool]:
    return setting.dataset(labels=np.full(EXAMPLES, -1)), True


SETS: dict[str, Callable[[], tuple[Any, bool]]] = {
    "made again": lambda: (setting.dataset(), True),
    "in another order": _sorted_otherwise,
    "grown": _grown,
    "shrunk": lambda: (setting.dataset(setting.arrays()[0][:60], setting.arrays()[1][:60]), False),
    "a selection": lambda: (setting.dataset().select(np.arange(0, EXAMPLES, 3)), False),
    "a selection without the first examples": lambda: (
        setting.dataset().select(np.arange(40, 90)),
        False,
    ),
    "without labels": _unlabeled,
    "a few labels": lambda: (setting.dataset().with_labels(np.arange(12)), True),
    "without names of the classes": lambda: (setting.dataset(class_names=()), True),
    "pickled": lambda: (pickle.loads(pickle.dumps(setting.dataset())), True),
    "arrays of another layout": lambda: (
        setting.dataset(np.asfortranarray(setting.arrays()[0]), setting.arrays()[1].tolist()),
        True,
    ),
}


def float64(folder: Folder, path: pathlib.Path) -> None:
    """Opens a cache of float32 inputs with the same values in float64, a difference by name."""
    values = (setting.arrays()[0] / 256).astype(np.float32)
    target = folder.empty()
    setting.build(target, setting.teacher(), setting.dataset(values))
    longer = setting.dataset(values.astype(np.float64))
    setting.opened(target, data=longer, allow={"dataset.fingerprint", "dataset.examples"})
