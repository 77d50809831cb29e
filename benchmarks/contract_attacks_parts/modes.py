"""Networks whose mode, training or evaluation, is not what it is taken for."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import Attack, Attempt, Folder
from benchmarks.contract_attacks_parts.setting import CLASSES, VIEWS, WIDTH, flat
from jaxkd import cache as caches
from jaxkd.data import Loader
from jaxkd.networks import Network

TEACHERS: dict[str, Callable[[], Network]] = {}
STUDENTS: dict[str, Callable[[], Network]] = {}
WORDS = ("mode", "rngs", "deterministic", "use_running_average", "evaluation", "statistics")


def teacher(make: Callable[[], Network]) -> Callable[[], Network]:
    TEACHERS[make.__name__.replace("_", " ")] = make
    return make


def student(make: Callable[[], Network]) -> Callable[[], Network]:
    STUDENTS[make.__name__.replace("_", " ")] = make
    return make


def attacks() -> Iterator[Attack]:
    for name, make in TEACHERS.items():
        yield Attack("Mode of the teacher", name, functools.partial(_teaching, make), WORDS)
    for name, make in STUDENTS.items():
        yield Attack("Mode of the student", name, functools.partial(_learning, make), WORDS)


def _teaching(make: Callable[[], Network], folder: Folder) -> Iterator[Attempt]:
    data = setting.dataset()

    def fill() -> None:
        given = {"teacher": make(), "dataset": data, "views": VIEWS, "num_views": 2}
        with caches.open(folder.empty(), mode="fill", **given) as cache:
            cache.read(data.ids[:8], 0)

    yield "build", lambda: setting.build(folder.empty(), make())
    yield "fill", fill
    yield "online", lambda: setting.train(Loader(data, VIEWS, 16), online=make())


def _learning(make: Callable[[], Network], folder: Folder) -> Iterator[Attempt]:
    cache = setting.opened(setting.home(folder))
    yield "fit", lambda: setting.train(Loader(cache=cache, batch_size=16), network=make())


class Noisy(nnx.Module):
    """Dropout before a linear layer; what decides its mode is in the classes below."""

    def __init__(self):
        self.layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def scores(self, x, deterministic):
        """Returns logits."""
        return self.layer(self.drop(flat(x), deterministic=deterministic))


@teacher
def is_train_with_the_default_True():
    class Net(Noisy):
        def __call__(self, x, is_train=True):
            return self.scores(x, not is_train)

    return jaxkd.from_nnx(Net())


@teacher
def mode_as_a_text():
    class Net(Noisy):
        def __call__(self, x, mode="train"):
            return self.scores(x, mode != "train")

    return jaxkd.from_nnx(Net())


@teacher
def keywords_of_any_name():
    class Net(Noisy):
        def __call__(self, x, **options):
            return self.scores(x, not options.get("training", True))

    return jaxkd.from_nnx(Net())


@teacher
def an_attribute_of_its_own():
    class Net(Noisy):
        def __init__(self):
            super().__init__()
            self.in_training = True

        def __call__(self, x):
            return self.scores(x, not self.in_training)

    return jaxkd.from_nnx(Net())


@teacher
def an_argument_that_says_the_opposite():
    class Net(Noisy):
        def __call__(self, x, inference=False):
            return self.scores(x, inference)

    return jaxkd.from_nnx(Net())


@teacher
def dropout_that_is_always_on():
    class Net(Noisy):
        def __call__(self, x):
            return self.scores(x, False)

    return jaxkd.from_nnx(Net())


@teacher
def statistics_of_the_batch():
    class Net(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(CLASSES, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(self.layer(flat(x)), use_running_average=False)

    return jaxkd.from_nnx(Net())


@teacher
def mean_of_the_batch_in_a_function():
    def scores(params, inputs):
        logits = flat(inputs) @ params
        return logits - logits.mean(0)

    return jaxkd.from_function(scores, jnp.asarray(setting.WEIGHTS))


@teacher
def a_softmax_over_the_batch():
    return jaxkd.from_function(
        lambda params, inputs: 5 * jax.nn.softmax(flat(inputs) @ params, axis=0),
        jnp.asarray(setting.WEIGHTS),
    )


@teacher
def numbers_at_random_on_the_host():
    generator = np.random.default_rng(0)

    def noise(shape):
        return generator.normal(size=shape).astype(np.float32)

    def scores(params, inputs):
        logits = flat(inputs) @ params
        shape = jax.ShapeDtypeStruct(logits.shape, jnp.float32)
        return logits + jax.pure_callback(lambda: noise(logits.shape), shape)

    return jaxkd.from_function(scores, jnp.asarray(setting.WEIGHTS))


@teacher
def Linen_statistics_of_the_batch():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=False)(nn.Dense(CLASSES)(flat(x)))

    net = Net()
    return jaxkd.from_linen(net, net.init(jax.random.key(0), jnp.ones((2, WIDTH))))


@teacher
def Linen_dropout_with_a_key_of_its_own():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = flat(x)
            kept = jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)
            return nn.Dense(CLASSES)(jnp.where(kept, x, 0))

    net = Net()
    return jaxkd.from_linen(net, net.init(jax.random.key(0), jnp.ones((1, WIDTH))))


@teacher
def Linen_argument_of_another_name():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, learning=True):
            norm = nn.BatchNorm(use_running_average=not learning)
            return norm(nn.Dense(CLASSES)(flat(x)))

    net = Net()
    return jaxkd.from_linen(net, net.init(jax.random.key(0), jnp.ones((2, WIDTH))))


@teacher
def a_Linen_module_inside_an_NNX_module():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=False)(nn.Dense(CLASSES)(flat(x)))

    bridged = nnx.bridge.ToNNX(Net(), rngs=nnx.Rngs(0)).lazy_init(jnp.ones((2, WIDTH)))
    return jaxkd.from_nnx(bridged)


@student
def dropout_that_is_always_off():
    class Net(Noisy):
        def __call__(self, x):
            return self.scores(x, True)

    return jaxkd.from_nnx(Net())


@student
def dropout_of_an_unknown_argument():
    class Net(Noisy):
        def __call__(self, x, is_train=False):
            return self.scores(x, not is_train)

    return jaxkd.from_nnx(Net())


@student
def dropout_of_an_attribute_of_its_own():
    class Net(Noisy):
        def __init__(self):
            super().__init__()
            self.in_training = False

        def __call__(self, x):
            return self.scores(x, not self.in_training)

    return jaxkd.from_nnx(Net())


@student
def statistics_that_never_move():
    class Net(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(CLASSES, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(self.layer(flat(x)), use_running_average=True)

    return jaxkd.from_nnx(Net())


@student
def Linen_statistics_that_never_move():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=True)(nn.Dense(CLASSES)(flat(x)))

    net = Net()
    return jaxkd.from_linen(net, net.init(jax.random.key(0), jnp.ones((2, WIDTH))))


@student
def statistics_that_move_in_evaluation():
    def scores(params, state, inputs, train=False):
        logits = flat(inputs) @ params
        return logits - logits.mean(0), state + 1

    start: Any = jnp.zeros(())
    return jaxkd.from_function(scores, jnp.zeros((WIDTH, CLASSES)), state=start)
