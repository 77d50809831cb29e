"""Step, loader, cache, evaluation and checkpoints that do not belong together."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optax

from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import Attack, Attempt, Folder
from benchmarks.contract_attacks_parts.setting import CLASSES, VIEWS
from jaxkd import Objective, Term, Views, losses
from jaxkd import cache as caches
from jaxkd.data import Dataset, Loader, eval_batches
from jaxkd.targets import TopK
from jaxkd.training import evaluate, make_eval_step
from jaxkd.views import Normalize, RandomCrop

JOINED, RESUMED = "Step, loader, cache, evaluation", "A resume of another run"
PLAIN = Views((Normalize(),))


def attacks() -> Iterator[Attack]:
    for name, (call, words) in JOINS.items():
        yield Attack(JOINED, name, functools.partial(_joined, call), words)
    for name, (changes, words) in RESUMES.items():
        yield Attack(RESUMED, name, functools.partial(_resumed, changes), words)


def _joined(call: Callable[[Folder, Loader], Any], folder: Folder) -> Iterator[Attempt]:
    loader = Loader(cache=setting.opened(setting.home(folder)), batch_size=16)
    yield "fit", lambda: call(folder, loader)


def _other_set() -> Dataset:
    rng = np.random.default_rng(9)
    return setting.dataset(rng.integers(0, 256, setting.arrays()[0].shape).astype(np.uint8))


def _features(folder: Folder, loader: Loader) -> None:
    objective = Objective(
        kd=Term(losses.kd), hint=Term(losses.feature_mse, student="x", teacher="x")
    )
    setting.train(loader, objective=objective)


def _more_views(folder: Folder, loader: Loader) -> None:
    Loader(setting.dataset(), VIEWS, 16, cache=setting.opened(setting.home(folder)), num_views=5)


def _unopened(folder: Folder, loader: Loader) -> None:
    cache = caches.Cache(setting.home(folder))
    setting.train(Loader(_other_set(), VIEWS, 16, cache=cache))


def _ensemble(**second: Any) -> Callable[[Folder, Loader], None]:
    """A second member of an ensemble that belongs to other data or views."""

    def call(folder: Folder, loader: Loader) -> None:
        other = folder.empty()
        network = setting.teacher(2.0)
        cache = setting.build(other, network, **second)
        members = {"a": setting.opened(setting.home(folder)), "b": cache}
        setting.train(Loader(cache=caches.EnsembleCache(members), batch_size=16))

    return call


def _temperature(folder: Folder, loader: Loader) -> None:
    codec = TopK(2, temperatures=(1.0,))
    path = folder.built("top 2", lambda path: setting.build(path, setting.teacher(), codec=codec))
    cached = Loader(cache=setting.opened(path), batch_size=16)
    setting.train(cached, objective=Objective(kd=Term(losses.kd, temperature=4.0)))


def _evaluation(data: Dataset, views: Views | None) -> Callable[[Folder, Loader], None]:
    """An evaluation during training of other data, classes or views."""

    def call(folder: Folder, loader: Loader) -> None:
        network = setting.student()
        step = make_eval_step(network, views=views)

        def score(state: Any) -> Any:
            variables = state.params["student"], state.model_state["student"]
            return evaluate(step, *variables, eval_batches(data, 32))

        setting.train(loader, network=network, evaluate=score)

    return call


JOINS: dict[str, tuple[Callable[[Folder, Loader], Any], tuple[str, ...]]] = {
    "a step of other views": (lambda _, loader: setting.train(loader, views=PLAIN), ("views",)),
    "a step of another seed": (
        lambda _, loader: setting.train(loader, views=Views(VIEWS.transforms, 3)),
        ("views",),
    ),
    "a step without views": (lambda _, loader: setting.train(loader, views=None), ("views",)),
    "more views than the cache has": (_more_views, ("views",)),
    "a cache of other examples that was never checked": (_unopened, ("dataset.",)),
    "an online teacher beside the cache": (
        lambda _, loader: setting.train(loader, online=setting.teacher(2.0)),
        ("teacher",),
    ),
    "an output that the cache does not have": (_features, ("'x'",)),
    "a student of fewer classes": (
        lambda _, loader: setting.train(loader, network=setting.student(CLASSES - 1)),
        ("classes", "shape"),
    ),
    "a student of more classes": (
        lambda _, loader: setting.train(loader, network=setting.student(CLASSES + 1)),
        ("classes", "shape"),
    ),
    "an ensemble of other examples": (_ensemble(data=_other_set()), ("dataset.",)),
    "an ensemble of other views": (_ensemble(views=PLAIN), ("views.",)),
    "an ensemble of other classes": (
        _ensemble(data=setting.dataset(class_names=setting.NAMES[::-1])),
        ("class",),
    ),
    "an ensemble of fewer examples": (
        _ensemble(data=setting.dataset().select(np.arange(40))),
        ("missing records", "examples"),
    ),
    "a temperature that the codec does not keep": (_temperature, ("temperature",)),
    "an evaluation of classes in another order": (
        _evaluation(setting.dataset(split="test", class_names=setting.NAMES[::-1]), PLAIN),
        ("class",),
    ),
    "an evaluation without the normalization": (
        _evaluation(setting.dataset(split="test"), None),
        ("views", "Normalize"),
    ),
    "an evaluation of another normalization": (
        _evaluation(setting.dataset(split="test"), Views((Normalize((0.5,), (0.1,)),))),
        ("views", "Normalize"),
    ),
}


def _run(folder: Folder, workdir: Any, changes: dict[str, Any], steps: int) -> Any:
    """Trains in a work directory; the changes make it another run."""
    changes = dict(changes)
    path = folder.built("home", lambda path: setting.build(path, setting.teacher()))
    if changes.pop("teacher", False):
        path = folder.built("two", lambda path: setting.build(path, setting.teacher(2.0)))
        cache = setting.opened(path, setting.teacher(2.0))
    else:
        cache = setting.opened(path)
    views = changes.pop("views", VIEWS)
    data = changes.pop("data", None)
    loading = {name: changes.pop(name) for name in ("batch_size", "order") if name in changes}
    batch_size, order = loading.get("batch_size", 16), loading.get("order", 0)
    if data is not None or views is not VIEWS:
        other = folder.empty()
        cache = setting.build(other, setting.teacher(), data, views)
    loader = Loader(cache=cache, batch_size=batch_size, seed=order)
    given = {"optimizer": optax.sgd(0.1), "log_every": 2, **changes}
    return setting.train(loader, views=views, steps=steps, workdir=workdir, **given)


def _resumed(changes: dict[str, Any], folder: Folder) -> Iterator[Attempt]:
    workdir = folder.built("workdir", lambda path: _run(folder, path, {}, 2))
    yield "fit", lambda: _run(folder, folder.copy(workdir), changes, 4)


def _objective(weight: float = 1.0, temperature: Any = 1.0, more: bool = False) -> Objective:
    terms = {"kd": Term(losses.kd, weight=weight, temperature=temperature)}
    if more:
        terms["labels"] = Term(losses.cross_entropy)
    return Objective(**terms)


RESUMES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "another teacher": ({"teacher": True}, ("teacher",)),
    "other examples": ({"data": _other_set()}, ("dataset",)),
    "classes in another order": (
        {"data": setting.dataset(class_names=setting.NAMES[::-1])},
        ("class",),
    ),
    "other views": ({"views": Views((RandomCrop(2), Normalize()))}, ("views",)),
    "another learning rate": ({"optimizer": optax.sgd(0.2)}, ("optimizer",)),
    "a schedule of the learning rate": (
        {"optimizer": optax.sgd(optax.linear_schedule(0.1, 0.0, 50))},
        ("optimizer",),
    ),
    "another weight decay": (
        {"optimizer": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))},
        ("optimizer",),
    ),
    "another batch size": ({"batch_size": 32}, ("batch",)),
    "another order of the batches": ({"order": 7}, ("seed", "loader")),
    "another weight of a term": ({"objective": _objective(weight=2.0)}, ("objective",)),
    "another temperature": ({"objective": _objective(temperature=2.0)}, ("objective",)),
    "another loss": ({"objective": Objective(kd=Term(losses.logit_mse))}, ("objective",)),
    "a term more": ({"objective": _objective(more=True)}, ("objective",)),
    "another student": ({"network": setting.teacher(0.0)}, ("student",)),
}
