"""Teachers of other frameworks, teachers that are not named, and outputs that cannot be right."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxkd
from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import Attack, Attempt, Folder
from benchmarks.contract_attacks_parts.setting import CLASSES, EXAMPLES, VIEWS, WEIGHTS, flat
from jaxkd import cache as caches

NAMED = {"name": "resnet.onnx", "sha256": "0123", "runtime": "onnxruntime 1.20"}
FOREIGN = "Teacher: the name of one of another framework"
UNUSABLE = "Teacher: outputs that are no logits"


def attacks() -> Iterator[Attack]:
    for name, named in {
        "another hash": {**NAMED, "sha256": "0124"},
        "another name": {**NAMED, "name": "resnet2.onnx"},
        "fewer fields": {"name": NAMED["name"]},
        "a field more": {**NAMED, "precision": "int8"},
        "other fields": {"path": "resnet.onnx"},
        "the fields of a network": setting.teacher().fingerprint(),
        "empty": {},
        "a number instead of a text": {**NAMED, "sha256": 123},
    }.items():
        yield Attack(FOREIGN, name, functools.partial(_of_writer, named), ("teacher",))
    yield Attack(FOREIGN, "a network for a cache of another's", _network, ("teacher",))
    for name, given in {
        "None": None,
        "a text": "resnet.onnx",
        "fewer fields than a network has": {"network": "_linear"},
        "a module without its adapter": _linear_module,
    }.items():
        yield Attack(FOREIGN, name, functools.partial(_unnamed, given), ("teacher",))
    for name, make in UNUSABLE_OUTPUTS.items():
        words = ("logits", "finite", "cannot store", "probabilities", "constant")
        yield Attack(UNUSABLE, name, functools.partial(_unusable, make), words)


def write(path: Any, named: Any, outputs: Any = None, **options: Any) -> caches.Cache:
    """Writes outputs of a teacher that goes by these fields."""
    data = setting.dataset()
    if outputs is None:
        outputs = np.random.default_rng(5).normal(size=(EXAMPLES, CLASSES))
    sizes = {"shapes": {"logits": (CLASSES,)}, "num_views": 2, "block_size": 24, **options}
    with caches.Writer(path, named, data, VIEWS, **sizes) as writer:
        for ids, view in writer.missing(32):
            writer.write(ids, view, outputs[data.rows(ids)])
    return writer.cache()


def _of_writer(named: Any, folder: Folder) -> Iterator[Attempt]:
    path = folder.built("written", lambda path: write(path, NAMED))
    data = setting.dataset()
    yield "open", lambda: setting.opened(path, named)
    yield "Writer", lambda: write(folder.copy(path), named)
    yield "Writer, extending", lambda: write(folder.copy(path), named, num_views=3, extend=True)
    yield "check", lambda: caches.Cache(path).check(teacher=named, dataset=data, views=VIEWS)


def _network(folder: Folder) -> Iterator[Attempt]:
    path = folder.built("written", lambda path: write(path, NAMED))
    yield from setting.everywhere(folder, path, setting.teacher())


def _linear_module(x: Any) -> Any:
    return x


def _unnamed(given: Any, folder: Folder) -> Iterator[Attempt]:
    path, data = setting.home(folder), setting.dataset()
    yield "open", lambda: caches.open(path, teacher=given, dataset=data, views=VIEWS)
    yield (
        "fill",
        lambda: caches.open(
            path, teacher=given, dataset=data, views=VIEWS, mode="fill", num_views=2
        ),
    )
    yield "build", lambda: setting.build(folder.copy(path), given)
    if given is not None:
        yield "check", lambda: caches.Cache(path).check(teacher=given, dataset=data, views=VIEWS)


def _logits(inputs: Any) -> Any:
    return flat(inputs) @ jnp.asarray(WEIGHTS)


UNUSABLE_OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "probabilities": lambda x: jax.nn.softmax(_logits(x)),
    "sharp probabilities": lambda x: jax.nn.softmax(50 * _logits(x)),
    "the same for every example": lambda x: jnp.ones((len(x), 1)) * jnp.arange(CLASSES),
    "zeros": lambda x: jnp.zeros((len(x), CLASSES)),
    "not a number": lambda x: _logits(x) * jnp.nan,
    "infinite in some examples": lambda x: jnp.where(
        flat(x)[:, :1] > flat(x)[:, 1:2] + 0.5, jnp.inf, _logits(x)
    ),
}


def _unusable(make: Callable[[Any], Any], folder: Folder) -> Iterator[Attempt]:
    network = jaxkd.from_function(lambda params, inputs: make(inputs) * params, jnp.ones(()))
    data = setting.dataset()

    def fill() -> None:
        given = {"teacher": network, "dataset": data, "views": VIEWS, "num_views": 2}
        with caches.open(folder.empty(), mode="fill", **given) as cache:
            cache.read(data.ids, 0)

    yield "build", lambda: setting.build(folder.empty(), network)
    yield "fill", fill
