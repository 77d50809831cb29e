import sys

import jax
import numpy as np
import optax
import pytest
from conftest import random_images, small_network
from prepared import photos
from tiers import few

import jaxkd
from jaxkd import Objective, Term, losses
from jaxkd import cache as caches
from jaxkd.data import EncodedImages, Loader, RandomResizedCrop, eval_batches
from jaxkd.training import fit
from jaxkd.views import Mixup, Normalize, RandomFlip, Views

VIEWS = Views((RandomFlip(), Normalize(), Mixup(5)))
# Forwards, again, over the end of an epoch, back, and far away.
STEPS = (0, 0, 1, 2, 3, 1, 2, 40, 41)


def records(n=20, broken=()):
    files = photos(n, 0)
    for position in broken:
        files[position] = b"no image"
    return EncodedImages.from_source(
        files, np.arange(n) % 5, ids=3 * np.arange(n), crop=RandomResizedCrop(8), name="album",
        split="train", num_classes=5,
    )  # fmt: skip


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert type(a) is type(b) is np.ndarray and a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("data", [random_images, records], ids=["dataset", "records"])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_threads_make_the_same_batches(data, prefetch):
    data = data()
    plain = Loader(data, VIEWS, 6, num_views=2)
    with Loader(data, VIEWS, 6, num_views=2, prefetch=prefetch) as loader:
        for step in STEPS:
            assert_equal(loader[step], plain[step])
        loader.close()
        assert_equal(loader[2], plain[2])  # starts anew


def test_workers_make_the_same_batches():
    data, process = records(), (1, 2)
    plain = Loader(data, VIEWS, 6, process=process)
    with Loader(data, VIEWS, 6, process=process, workers=2) as loader:
        for step in (0, 0, 1, 2, 3, 40, 41):
            assert_equal(loader[step], plain[step])
            assert len(loader[step]["id"]) == 3


def test_processes_share_the_batches_that_are_prefetched():
    data = records()
    whole = Loader(data, VIEWS, 6)
    with (
        Loader(data, VIEWS, 6, process=(0, 2), prefetch=2) as one,
        Loader(data, VIEWS, 6, process=(1, 2), prefetch=2) as two,
    ):
        for step in range(4):
            parts = one[step], two[step]
            assert_equal(jax.tree.map(lambda *x: np.concatenate(x), *parts), whole[step])


@few("memory_limit", [1 << 30, 0], ids=["in_memory", "from_files"])
def test_cached_outputs_are_joined(memory_limit, tmp_path, images, small):
    teacher = small()
    caches.build(tmp_path, teacher, images, VIEWS, num_views=2, progress=False)
    arguments = {"teacher": teacher, "dataset": images, "views": VIEWS}
    cache = caches.open(tmp_path, memory_limit=memory_limit, **arguments)
    assert cache.in_memory == bool(memory_limit)
    plain = Loader(images, VIEWS, 50, cache=caches.open(tmp_path, **arguments))
    with Loader(images, VIEWS, 50, cache=cache, prefetch=2) as loader:
        for step in (0, 0, 1, 4, 5, 2):
            one, two = loader[step], plain[step]
            for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
                np.testing.assert_array_equal(a, b)
            assert "teacher" in one


@few("options", [{"prefetch": 2}, {"workers": 1}], ids=["threads", "workers"])
def test_an_error_names_the_example_and_comes_again(options):
    data = records(broken=[7])
    # The same order of examples that can all be read.
    whole = Loader(records(), Views(), 4)
    bad = next(step for step in range(5) if 21 in whole[step]["id"])
    with Loader(data, Views(), 4, **options) as loader:
        for _ in range(2):
            for step in range(bad):
                assert len(loader[step]["id"]) == 4
            with pytest.raises(ValueError, match=r"example id 21 of album train \(position 7\)"):
                loader[bad]


@few("options", [{"prefetch": 3}, {"workers": 1}], ids=["threads", "workers"])
def test_evaluation_prefetches_too(options):
    data = records()
    batches = list(eval_batches(data, 8, **options))
    assert len(batches) == 3
    for one, two in zip(batches, eval_batches(data, 8), strict=True):
        assert_equal(one, two)


@pytest.mark.exhaustive
def test_training_ends_in_the_same_student_and_resumes_there(tmp_path):
    images = random_images()
    network, objective = small_network(), Objective(label=Term(losses.cross_entropy))
    adam = optax.adam(1e-2)
    step = jaxkd.make_train_step(network, objective, adam, views=VIEWS)

    def trained(steps, workdir, **options):
        with Loader(images, VIEWS, 40, **options) as loader:
            state = step.init()
            return fit(step, state, loader, steps=steps, workdir=workdir, progress=None).state

    plain = trained(8, None)
    trained(3, tmp_path, prefetch=2)
    resumed = trained(8, tmp_path, prefetch=2)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, plain.params)


def test_bad_arguments(monkeypatch, images):
    for options in ({"prefetch": -1}, {"workers": -2}):
        with pytest.raises(ValueError, match="prefetch and workers must not be negative"):
            Loader(images, VIEWS, 10, **options)
    monkeypatch.setitem(sys.modules, "grain", None)
    assert len(Loader(images, VIEWS, 10)[0]["id"]) == 10
    with pytest.raises(ImportError, match=r'by Grain: pip install "jaxkd-distill\[data\]"'):
        Loader(images, VIEWS, 10, prefetch=1)
