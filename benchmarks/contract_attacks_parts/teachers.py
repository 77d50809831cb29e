"""Teachers that look like the one that a cache was built with and compute something else."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jaxkd
from benchmarks.contract_attacks_parts import setting, teacher_functions, teacher_modules
from benchmarks.contract_attacks_parts.attempts import Attack, Attempt, Folder
from benchmarks.contract_attacks_parts.pairs import PAIRS, function
from benchmarks.contract_attacks_parts.setting import flat
from jaxkd import cache as caches
from jaxkd.networks import Network

KIND = "Teacher: another computation, the same parameters"
# Both register their pairs.
MAKERS = (teacher_functions, teacher_modules)


def attacks() -> Iterator[Attack]:
    for index, (name, make) in enumerate(PAIRS):
        yield Attack(KIND, name, functools.partial(_attempts, name, make, index), ("teacher.",))
    for name, codec, make in (
        ("another layer as a feature", {"hidden": None}, _feature),
        ("features in another order", {"hidden": None, "other": None}, _swapped),
    ):
        attempts = functools.partial(_of_features, name, codec, make)
        yield Attack("Teacher: other features, the same logits", name, attempts, ("teacher.",))


def _attempts(
    name: str, make: Callable[[bool], Network], index: int, folder: Folder
) -> Iterator[Attempt]:
    path = folder.built(name, lambda path: setting.build(path, make(False)))
    wrong = make(True)
    yield from setting.everywhere(folder, path, wrong)
    if index % 4 == 0:
        yield "merge", _merged(folder, path, wrong)


def _merged(folder: Folder, path: Any, wrong: Network) -> Callable[[], Any]:
    """Half of the right cache with the other half of the wrong teacher's."""
    data = setting.dataset()
    half = folder.empty()
    caches.subset(path, half, ids=data.ids[:48])
    other = folder.empty()
    setting.build(other, wrong, data.select(data.ids[48:]))
    return lambda: caches.merge(folder.empty(), [half, other])


def _of_features(
    name: str, codec: Any, make: Callable[[bool], Network], folder: Folder
) -> Iterator[Attempt]:
    codec = {"logits": jaxkd.targets.Dense(), **dict.fromkeys(codec, jaxkd.targets.Dense())}
    path = folder.built(name, lambda path: setting.build(path, make(False), codec=codec))
    attempts = dict(setting.everywhere(folder, path, make(True), codec=codec))
    yield from attempts.items()


def _feature(wrong):
    def scores(params, inputs):
        logits = flat(inputs) @ params
        return {"logits": logits, "hidden": jnp.tanh(logits) if wrong else jax.nn.relu(logits)}

    return function(scores)


def _swapped(wrong):
    def scores(params, inputs):
        logits = flat(inputs) @ params
        pair = jnp.sin(logits), jnp.cos(logits)
        hidden, other = reversed(pair) if wrong else pair
        return {"logits": logits, "hidden": hidden, "other": other}

    return function(scores)
