"""A teacher and custom views are recognized by what they compute, however they are written."""

import dataclasses
import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.cache._identity import read_identity
from jaxkd.data import Dataset
from jaxkd.targets import Dense, TopK
from jaxkd.views import Normalize, RandomFlip, Views

GENERATOR = np.random.default_rng(0)
DATA = Dataset.from_arrays(
    GENERATOR.integers(0, 256, (96, 4, 4, 1), np.uint8),
    GENERATOR.integers(0, 3, 96),
    name="random",
    split="train",
    num_classes=3,
)
VIEWS = Views((RandomFlip(), Normalize()))
PLAIN = Views((Normalize(),))
WEIGHTS = GENERATOR.normal(size=(16, 3)).astype(np.float32)
BIASES = GENERATOR.normal(size=(2, 3)).astype(np.float32)
THIS = sys.modules[__name__]
GLOBAL = 0.0


def flat(x):
    return x.reshape(len(x), -1)


def build(path, teacher, data=DATA, views=VIEWS, **options):
    return caches.build(path, teacher, data, views, progress=False, **options)


def of(function):
    return jaxkd.from_function(function, jnp.asarray(WEIGHTS))


def activation(n):
    function = (jax.nn.relu, jnp.tanh)[n]
    return of(lambda p, x: function(flat(x) @ p))


def closure(value):
    return of(lambda p, x: flat(x) @ p + jnp.asarray(jax.tree.leaves(value)[0]))


def closure_over_a_function(n):
    inner = (lambda y: y, lambda y: y * 1.5)[n]
    return of(lambda p, x: inner(flat(x) @ p))


class Scaled:
    """A callable, and a bound method."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, p, x):
        return flat(x) @ p * self.scale

    def method(self, p, x):
        return self(p, x)


def keyword_default(n):
    def function(p, x, *, scale=1.0 + n):
        return flat(x) @ p * scale

    return of(function)


def module_global(n):
    THIS.GLOBAL = float(n)
    return of(lambda p, x: flat(x) @ p + THIS.GLOBAL)


class Linear(nnx.Module):
    """A module with whatever attributes."""

    def __init__(self, **attributes):
        self.linear = nnx.Linear(16, 3, rngs=nnx.Rngs(0))
        vars(self).update(attributes)

    def __call__(self, x):
        return self.linear(flat(x))


def subclass(call, **attributes):
    """A class of the same name that was edited, as in a notebook."""
    return jaxkd.from_nnx(type("Linear", (Linear,), {"__call__": call})(**attributes))


def configuration(n):
    config = types.SimpleNamespace(scale=1.0 + n)
    return subclass(lambda self, x: self.linear(flat(x)) * config.scale)


def lambda_in_a_sequential(n):
    act = (lambda x: jnp.maximum(x, 0), lambda x: jnp.sin(x))[n]
    act.__qualname__ = "<lambda>"
    return jaxkd.from_nnx(nnx.Sequential(flat, nnx.Linear(16, 3, rngs=nnx.Rngs(0)), act))


def replaced_logits(n):
    order = np.array([[0, 1, 2], [2, 0, 1]][n])
    return jaxkd.networks.add_outputs(
        activation(0), lambda params, outputs: {"logits": outputs["logits"][:, order]}
    )


TEACHERS = {
    "activation": activation,
    "jitted": lambda n: of(jax.jit(lambda p, x: flat(x) @ p + BIASES[n])),
    "array": lambda n: closure(jnp.asarray(BIASES[n])),
    "dictionary": lambda n: closure({"bias": jnp.asarray(BIASES[n])}),
    "list": lambda n: closure([BIASES[n], BIASES[0]]),
    "NumPy scalar": lambda n: closure(np.float32(n)),
    "function": closure_over_a_function,
    "partial": lambda n: of(functools.partial(lambda s, p, x: flat(x) @ p * s, np.float32(1 + n))),
    "callable": lambda n: of(Scaled(1.0 + n)),
    "bound method": lambda n: of(Scaled(1.0 + n).method),
    "keyword": keyword_default,
    "global": module_global,
    "configuration": configuration,
    "edited class": lambda n: subclass(
        (lambda self, x: jax.nn.relu(self.linear(flat(x))),
         lambda self, x: jax.nn.gelu(self.linear(flat(x))))[n]
    ),
    "Sequential": lambda_in_a_sequential,
    "add_outputs": replaced_logits,
    "callback": lambda n: of(
        lambda p, x: jax.pure_callback(
            lambda y: np.asarray(y) * (1 + n), jax.ShapeDtypeStruct((len(x), 3), jnp.float32),
            flat(x) @ p, vmap_method="sequential",
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TEACHERS)
def test_another_computation_is_refused_and_the_same_one_accepted(tmp_path, kind):
    make = TEACHERS[kind]
    build(tmp_path, make(0), views=PLAIN)
    own = {"dataset": DATA, "views": PLAIN}
    caches.open(tmp_path, teacher=make(0), **own)
    # Whatever the quick check says: it may look at the same text and see no difference.
    allow = {"teacher.architecture", "teacher.network"}
    message = r"teacher.outputs: the cache has \"logits of example \d+ in view 0: \[.*this run has"
    with pytest.raises(CacheError, match=message):
        caches.open(tmp_path, teacher=make(1), **own, allow=allow)
    caches.open(tmp_path, teacher=make(1), **own, allow={*allow, "teacher.outputs"})


def test_every_entrance_compares(tmp_path):
    right, wrong = activation(0), activation(1)
    cache = build(tmp_path, right)
    entrances = {
        "build": lambda t: build(tmp_path, t),
        "extend": lambda t: caches.extend(tmp_path, t, DATA, VIEWS, progress=False),
        "open": lambda t: caches.open(tmp_path, teacher=t, dataset=DATA, views=VIEWS),
        "fill": lambda t: caches.open(
            tmp_path, teacher=t, dataset=DATA, views=VIEWS, mode="fill"
        ).close(),
        "check": lambda t: cache.check(teacher=t, dataset=DATA, views=VIEWS),
        "check of a bound cache": lambda t: cache.check(teacher=t),
        "Writer": lambda t: caches.Writer(tmp_path, t, DATA, VIEWS, shapes={"logits": (3,)}),
    }
    for name, entrance in entrances.items():
        with pytest.raises(CacheError, match=r"teacher.outputs: the cache has"):
            entrance(wrong)
            pytest.fail(name)
        entrance(right)


def test_right_teachers_that_look_different_are_accepted(tmp_path, monkeypatch):
    def function(p, x):
        return flat(x) @ p + BIASES[0]

    build(tmp_path, of(function), views=PLAIN, batch_size=7)
    same = {
        "jitted": of(jax.jit(function)),
        "NumPy parameters": jaxkd.from_function(function, WEIGHTS),
        "at another place": of(lambda p, x: flat(x) @ p + BIASES[0]),
        "in another order": of(lambda p, x: jnp.dot(flat(x), p, precision="highest") + BIASES[0]),
    }
    for name in ("jitted", "NumPy parameters", "at another place"):
        caches.open(tmp_path, teacher=same[name], dataset=DATA, views=PLAIN)
        build(tmp_path, same[name], views=PLAIN)
    allow = {"teacher.architecture", "teacher.network"}
    for teacher in same.values():
        caches.open(tmp_path, teacher=teacher, dataset=DATA, views=PLAIN, allow=allow)
        build(tmp_path, teacher, views=PLAIN, allow=allow, batch_size=50)
    # By the outputs alone, as under another version of JAX.
    monkeypatch.setattr(jax, "__version__", "9.9")
    for teacher in same.values():
        caches.open(
            tmp_path, teacher=teacher, dataset=DATA, views=PLAIN, allow={*allow, "jax_version"}
        )


def test_parts_of_teachers_that_compute_something_else_are_not_merged(tmp_path):
    def part(name, teacher, ids, views=VIEWS):
        build(tmp_path / name, teacher, DATA.select(ids), views)
        return tmp_path / name

    dim, bright = Views((brighter(0.0, 1.0),)), Views((brighter(0.05, 1.0),))
    first = part("first", activation(0), DATA.ids[:48])
    # No example is in both parts; of a callback not even the program can be compared.
    merged = caches.merge(tmp_path / "right", [first, part("b", activation(0), DATA.ids[48:])])
    merged.check(teacher=activation(0), dataset=DATA, views=VIEWS)
    kept = read_identity(merged.path, merged.document, "teacher")
    assert len(kept["spots"]["ids"]) == len(set(kept["spots"]["ids"])) == 64
    assert max(kept["spots"]["ids"]) > 48 > min(kept["spots"]["ids"])
    wrong = [first, part("other", activation(1), DATA.ids[48:])]
    with pytest.raises(CacheError, match="teacher.architecture|teacher.outputs"):
        caches.merge(tmp_path / "wrong", wrong)
    allow = {"teacher.architecture"}
    with pytest.raises(CacheError, match=r"teacher.outputs: .*the program.*another one"):
        caches.merge(tmp_path / "wrong", wrong, allow=allow)
    caches.merge(tmp_path / "wrong", wrong, allow={*allow, "teacher.outputs"})
    views = [part(f"views {n}", scaled(1.0), DATA.ids[48 * n :][:48], v)
             for n, v in enumerate((dim, bright))]  # fmt: skip
    with pytest.raises(CacheError, match=r"views.probe: .*the program.*another one"):
        caches.merge(tmp_path / "wrong views", views)


def scaled(scale, dtype=jnp.float32):
    def function(p, x):
        hidden = jnp.sin(flat(x).astype(dtype) @ p.astype(dtype))
        return (hidden * jnp.asarray(scale, dtype)).astype(jnp.float32)

    return jaxkd.from_function(function, jnp.asarray(WEIGHTS), architecture="scaled")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_hundredth_of_the_spread_is_refused(tmp_path, dtype):
    build(tmp_path, scaled(1.0, dtype), views=PLAIN)
    own = {"dataset": DATA, "views": PLAIN, "allow": {"teacher.architecture"}}
    rounding = 1 + {jnp.float32: 1e-5, jnp.bfloat16: 1e-3}[dtype]
    caches.open(tmp_path, teacher=scaled(rounding, dtype), **own)
    with pytest.raises(CacheError, match="teacher.outputs"):
        caches.open(tmp_path, teacher=scaled(1.02, dtype), **own)


@few("codec", [TopK(2), Dense(), Dense("int8")], keep=2)
def test_a_selection_without_the_spots_is_compared_with_records(tmp_path, codec):
    cache = build(tmp_path, activation(0), views=PLAIN, codec=codec)
    document = read_identity(tmp_path, cache.document, "teacher")
    others = np.setdiff1d(DATA.ids, document["spots"]["ids"])
    assert len(document["spots"]["ids"]) == 64 and len(others) == 32
    part = {"dataset": DATA.select(others), "views": PLAIN}
    caches.open(tmp_path, teacher=ordered([0, 1, 2]), **part, allow={"teacher.architecture"})
    for wrong in (activation(1), ordered([2, 0, 1])):
        with pytest.raises(CacheError, match="teacher.outputs: .* records differ"):
            caches.open(tmp_path, teacher=wrong, **part, allow={"teacher.architecture"})


def ordered(classes):
    return of(lambda p, x: jax.nn.relu(flat(x) @ p)[:, np.array(classes)])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p, x: jax.nn.softmax(flat(x) @ p), r"they are probabilities.*jnp.log"),
        (lambda p, x: jnp.ones((len(x), 3)) + p[0, 0], "are the same for all 64 examples"),
    ],
)
def test_logits_that_are_none_are_refused(tmp_path, function, message):
    with pytest.raises(CacheError, match=message):
        build(tmp_path, of(function), views=PLAIN, allow={"teacher.outputs"})
    assert not (tmp_path / "contract.json").exists()
    build(tmp_path, of(function), views=PLAIN, allow={"teacher.logits"})


def test_no_teacher_and_part_of_a_fingerprint_are_refused(tmp_path):
    cache = build(tmp_path, activation(0))
    own = {"dataset": DATA, "views": VIEWS}
    for check in (cache.check, functools.partial(caches.open, tmp_path)):
        with pytest.raises(TypeError, match=r"teacher=None .* fingerprint\(\)"):
            check(teacher=None, **own)
        fingerprint = activation(0).fingerprint()
        check(teacher=fingerprint, **own)
        for name in fingerprint:
            part = {key: value for key, value in fingerprint.items() if key != name}
            with pytest.raises(CacheError, match=f"teacher.{name}: .*this run has nothing"):
                check(teacher=part, **own)
    with pytest.raises(ValueError, match=r"give dataset= and views= with it .*fingerprint\(\)"):
        caches.Cache(tmp_path).check(teacher=activation(0))


@dataclasses.dataclass(frozen=True)
class Brighter:
    """Changes some views, by what its code says, not by its fields."""

    def __call__(self, key, image):
        return image


def brighter(share, amount):
    def call(self, key, image):
        return jnp.where(jax.random.uniform(key) < share, image + amount, image)

    return type("Brighter", (Brighter,), {"__call__": call})()


@few("seed", range(6), keep=2)
def test_a_change_of_one_view_in_twenty_is_refused(tmp_path, seed, monkeypatch):
    views = Views((brighter(0.0, 1.0),), seed=seed)
    build(tmp_path, scaled(1.0), views=views, num_views=2)
    own = {"teacher": scaled(1.0), "dataset": DATA}
    caches.open(tmp_path, views=Views((brighter(0.0, 1.0),), seed=seed), **own)
    changed = Views((brighter(0.05, 1.0),), seed=seed)
    with pytest.raises(CacheError, match=r"views.probe: .*view \d of example.*of 192 views"):
        caches.open(tmp_path, views=changed, **own)
    monkeypatch.setattr("jaxkd.cache._rendering._platform", lambda: "another one")
    with pytest.raises(CacheError, match=r"views.probe: .*view \d of example"):
        caches.open(tmp_path, views=changed, **own)
    caches.open(tmp_path, views=Views((brighter(0.05, 1e-4),), seed=seed), **own)


def test_a_foreign_teacher_is_compared_by_a_function(tmp_path):
    def writer(scale, path=tmp_path, codec=None):
        def outputs(ids, view):
            assert view in (0, 1)
            return flat(DATA.inputs[DATA.rows(ids)]) @ WEIGHTS * scale + scale * view

        made = caches.Writer(
            path, {"name": "foreign"}, DATA, shapes={"logits": (3,)}, codec=codec, num_views=2,
            spot_check=outputs,
        )  # fmt: skip
        return made, outputs

    first, outputs = writer(1.0)
    ids, view = next(first.missing(batch_size=20))
    first.write(ids, view, outputs(ids, view))
    first.close()
    with pytest.raises(CacheError, match="teacher.outputs: the cache has .*logits of example"):
        writer(1.02)
    with writer(1.0)[0] as second:
        for ids, view in second.missing(batch_size=64):
            second.write(ids, view, outputs(ids, view))
    second.cache().check(teacher={"name": "foreign"}, dataset=DATA, views=Views())
    with pytest.raises(CacheError, match="are the same for all 64 examples"):
        writer(0.0, tmp_path / "constant")
