"""What a cache would hold is tried before the cache is created."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import cache as caches
from jaxkd.data import Dataset
from jaxkd.views import Normalize

INPUTS = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
DATA = Dataset.from_arrays(
    INPUTS,
    np.arange(20) % 3,
    name="d",
    split="train",
    num_classes=3,
)


class Noisy(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x, is_train=True):
        return self.layer(self.dropout(x, deterministic=not is_train))


def build(path, teacher, **options):
    return caches.build(path, teacher, DATA, progress=False, **options)


def fill(path, teacher, **options):
    with caches.open(path, teacher=teacher, dataset=DATA, mode="fill", **options) as cache:
        cache.read(DATA.ids, 0)


@pytest.mark.parametrize("start", [build, fill])
def test_a_teacher_that_is_not_in_evaluation_mode_is_refused_before_anything_is_written(
    start, tmp_path
):
    path = tmp_path / "cache"
    with pytest.raises(ValueError, match=r"random numbers.*train_mode='is_train'.*teacher\.mode"):
        start(path, jaxkd.from_nnx(Noisy()))
    assert not path.exists() or not list(path.iterdir())
    start(path, jaxkd.from_nnx(Noisy(), train_mode="is_train"))
    expected = Noisy()(jnp.asarray(INPUTS), is_train=False)
    teacher = jaxkd.from_nnx(Noisy(), train_mode="is_train")
    cache = caches.open(path, teacher=teacher, dataset=DATA)
    np.testing.assert_allclose(cache.read(DATA.ids, 0).decode()["logits"], expected, atol=1e-5)


def test_a_teacher_that_depends_on_the_batch_is_accepted_by_name(tmp_path):
    teacher = jaxkd.from_function(lambda p, x: x @ p - (x @ p).mean(0), jnp.ones((6, 3)))
    with pytest.raises(ValueError, match="rest of the batch"):
        build(tmp_path / "cache", teacher)
    allow = {"teacher.mode", "teacher.outputs"}
    assert build(tmp_path / "cache", teacher, batch_size=20, allow=allow).num_views == 1


def test_a_cache_that_is_there_is_not_tried_again(tmp_path, monkeypatch):
    teacher = jaxkd.from_function(lambda p, x: x @ p, jnp.ones((6, 3)))
    build(tmp_path / "cache", teacher)
    monkeypatch.setattr(
        "jaxkd.networks._trial.Trial.check_evaluation", lambda self: pytest.fail("tried")
    )
    build(tmp_path / "cache", teacher)


def linear(params, inputs):
    return inputs @ params


@pytest.mark.parametrize(
    "function,options,message",
    [
        (linear, {"views": (Normalize(),)}, r"write Views\(\(Normalize"),
        (linear, {"views": Normalize()}, r"write Views\(\(Normalize"),
        (lambda p, x: linear(p, x) * 1j, {}, r"\['logits'\] are complex"),
        (linear, {"dataset": DATA.select(DATA.ids[:0])}, "at least 1, not 0"),
    ],
)
def test_what_is_no_views_no_number_and_no_example_is_refused(tmp_path, function, options, message):
    teacher = jaxkd.from_function(function, jnp.eye(6, 3))
    given = {"teacher": teacher, "dataset": DATA} | options
    with pytest.raises((TypeError, ValueError), match=message):
        caches.build(tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_an_empty_selection_is_refused_where_a_cache_is_opened(tmp_path):
    teacher = jaxkd.from_function(linear, jnp.eye(6, 3))
    caches.build(tmp_path, teacher, DATA, progress=False)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        caches.open(tmp_path, teacher=teacher, dataset=DATA.select(DATA.ids[:0]))
    with pytest.raises(TypeError, match=r"write Views\(\(Normalize"):
        caches.open(tmp_path, teacher=teacher, dataset=DATA, views=(Normalize(),))


def test_logits_of_a_writer_have_classes(tmp_path):
    with pytest.raises(ValueError, match="axis of classes"):
        caches.Writer(tmp_path, {"name": "a"}, DATA, shapes={"logits": ()})
