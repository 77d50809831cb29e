"""Functions of other libraries and of one's own as transforms, in JAX and in NumPy."""

import concurrent.futures
import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxkd
from jaxkd.data import Dataset, Loader, eval_batches
from jaxkd.views import Augment, Mixup, Normalize, OnHost, RandomFlip, Views

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
DATA = Dataset.from_arrays(PIXELS, np.arange(6) % 3, name="n", split="s", num_classes=3)
PLACES = np.arange(20).reshape(4, 5)
TEACHER = jaxkd.from_function(lambda w, x: x.reshape(len(x), -1) @ w, jnp.eye(60, 3))
KEY = jax.random.key(0)


def dimmed(key, image, most=0.5):
    return image * (1 - most * jax.random.uniform(key))


def shifted(key, image, order=1):
    # With an order of 1, values of neighbors are blended.
    moved = jnp.roll(image, 1, axis=1).at[:, 0].set(0)
    return moved if order == 0 else (moved + image) / 2


def speckle(rng, image, amount):
    return np.clip(image + rng.normal(0, amount, image.shape), 0, 255).astype(np.uint8)


def half(rng, image, maps=None):
    start = int(rng.integers(3))
    image = image[:, start : start + 3]
    if maps is None:
        return image
    return image, {name: values[:, start : start + 3] for name, values in maps.items()}


@pytest.mark.parametrize(("takes", "unit"), [("0..1", 1 / 255), ("0..255", 1), ("any", 1)])
def test_a_function_gets_the_range_it_takes(takes, unit):
    seen = []

    def look(image):
        seen.append(image)
        return image * 2

    image = jnp.asarray([[[10, 200]]], jnp.uint8)
    result = Augment(look, takes=takes, random=False)(KEY, image)
    np.testing.assert_allclose(seen[0], np.asarray(image) * unit, rtol=1e-6)
    if takes == "any":
        assert seen[0].dtype == result.dtype == jnp.uint8
    else:
        np.testing.assert_allclose(result, [[[20, 255]]], rtol=1e-6)


def test_options_and_the_name_are_the_specification():
    plain = Views((Augment(dimmed, most=0.25),))
    assert plain.specification()["transforms"] == [
        {
            "name": "Augment",
            "function": "dimmed",
            "options": {"most": 0.25},
            "kind": None,
            "takes": "0..1",
            "random": True,
            "on_maps": {},
        }
    ]
    assert plain == Views((Augment(dimmed, most=0.25),)) and hash(plain)
    assert plain != Views((Augment(dimmed, most=0.5),))
    shown = Augment(shifted, kind="geometric", order=1, on_maps={"order": 0})
    assert repr(shown) == "Augment(shifted, order=1, kind='geometric', on_maps={'order': 0})"
    assert OnHost(speckle, amount=[1, 2]).specification() == {
        "name": "OnHost",
        "function": "speckle",
        "options": {"amount": (1, 2)},
        "kind": None,
    }


def test_a_view_by_a_function_is_replayed_and_random():
    render = jax.jit(Views((Augment(dimmed),)).render)
    many, one = (
        render({"id": ids, "view": np.full(len(ids), 3), "inputs": PIXELS[ids]})["inputs"]
        for ids in (np.arange(6), np.array([4]))
    )
    np.testing.assert_allclose(many[4], one[0], rtol=1e-6)
    factors = np.asarray(many).sum((1, 2, 3)) / PIXELS.sum((1, 2, 3))
    assert factors.min() >= 0.5 and factors.max() <= 1 and factors.std() > 0.01


def test_a_geometric_function_moves_maps_with_options_of_their_own():
    move = Augment(shifted, kind="geometric", on_maps={"order": 0})
    labels = np.stack([PLACES, PLACES + 50])
    views = Views((move,), maps=("labels",))
    batch = {"id": np.arange(2), "view": np.zeros(2, int), "inputs": PIXELS[:2], "labels": labels}
    moved = jax.jit(views.render)(batch)["labels"]
    assert (moved[:, :, 0] == -1).all() and moved.dtype == np.int32
    np.testing.assert_array_equal(moved[:, :, 1:], labels[:, :, :-1])
    np.testing.assert_array_equal(
        Views((Augment(dimmed, kind="photometric"),), maps=("labels",)).render(batch)["labels"],
        labels,
    )


def test_a_function_of_numpy_is_replayed_by_id_and_view_for_partners_too():
    views = Views((OnHost(speckle, amount=9.0), RandomFlip(), Mixup(3)), seed=2)
    whole = jaxkd.data.raw_batch(DATA, views, DATA.ids, np.ones(6, np.int32))
    part = jaxkd.data.raw_batch(DATA, views, np.array([4, 1]), np.ones(2, np.int32))
    for name in ("inputs", "partner_inputs"):
        np.testing.assert_array_equal(whole[name][[4, 1]], part[name])
    noise = whole["inputs"].astype(float) - PIXELS
    assert 4 < noise.std() < 12 and not (noise[0] == noise[1]).all()
    # The partner's noise is its own, not that of the example, nor that of the same id.
    assert not any((whole["inputs"] == row).all((1, 2, 3)).any() for row in whole["partner_inputs"])
    for other in (dataclasses.replace(views, seed=3), views):
        number = np.full(6, 1 if other.seed == 3 else 2, np.int32)
        again = jaxkd.data.raw_batch(DATA, other, DATA.ids, number)
        assert not (again["inputs"] == whole["inputs"]).all((1, 2, 3)).any()


def test_loader_and_cache_see_the_same_and_other_code_is_refused(tmp_path):
    def other(rng, image, amount):
        return speckle(rng, image, amount) // 2

    views = Views((OnHost(speckle, amount=9.0), Normalize()))
    cache = jaxkd.cache.build(tmp_path / "c", TEACHER, DATA, views, num_views=2, batch_size=4)
    loader = Loader(cache=cache, batch_size=6, seed=1)
    batch = loader[1]
    wanted = TEACHER.apply(TEACHER.params, TEACHER.state, views.render(batch)["inputs"])[0]
    kept = batch["teacher"].decode()["logits"]
    np.testing.assert_allclose(kept, wanted["logits"], atol=0.02)
    other.__name__ = "speckle"
    changed = Views((OnHost(other, amount=9.0), Normalize()))
    assert changed.specification() == views.specification()
    with pytest.raises(jaxkd.cache.CacheError, match=r"views\.probe"):
        jaxkd.cache.open(tmp_path / "c", teacher=TEACHER, dataset=DATA, views=changed)


def test_a_batch_that_the_host_has_not_seen_is_refused():
    views = Views((OnHost(speckle, amount=9.0), Normalize()))
    with pytest.raises(ValueError, match=r"read without it: give these views to Loader"):
        views.render(Loader(DATA, batch_size=2)[0])
    (batch,) = batches = list(eval_batches(DATA, 6, views=views))
    assert eval_batches(DATA, 6, views=views).dataset is DATA and len(batches) == 1
    assert (batch["inputs"] != DATA.inputs).any() and "on_host" not in views.render(batch)


def test_threads_call_a_function_that_keeps_a_state_one_at_a_time():
    state = {}

    def stateful(rng, image):
        state["number"] = rng.integers(256)
        time.sleep(0.001)
        return image * 0 + np.uint8(state["number"])

    views = Views((OnHost(stateful),))
    read = functools.partial(jaxkd.data.raw_batch, DATA, views, DATA.ids)
    numbers = [np.full(6, number, np.int32) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for number, batch in zip(numbers, threads.map(read, numbers), strict=True):
            np.testing.assert_array_equal(batch["inputs"], read(number)["inputs"])


def test_image_and_map_are_cropped_at_once_on_the_host():
    labels = PLACES[None] + 100 * np.arange(6)[:, None, None]
    images = np.broadcast_to(labels[..., None] % 256, (6, 4, 5, 1)).astype(np.uint8)
    data = Dataset.from_arrays(images, labels, name="n", split="s", num_classes=600)
    views = Views((OnHost(half, kind="geometric"),), maps=("labels",))
    batch = views.render(Loader(data, views, 6)[0])
    assert batch["labels"].shape == (6, 4, 3)
    np.testing.assert_array_equal(np.asarray(batch["labels"]) % 256, batch["inputs"][..., 0])
    assert len({int(row[0, 0]) % 100 for row in batch["labels"]}) > 1


def grown(rng, image):
    return np.zeros((int(image[0, 0, 0]) + 1, 2, 3))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Augment(3), TypeError, "Augment wraps a function, not 3"),
        (lambda: OnHost(Views), TypeError, "OnHost wraps a function, not <class"),
        (
            lambda: Augment(functools.partial(dimmed, most=1)),
            TypeError,
            r"by its name, .* Augment\(function, name=…\)",
        ),
        (lambda: Augment(dimmed, most=np.ones(2)), TypeError, "numbers, texts and tuples"),
        (lambda: Augment(dimmed, kind="other"), ValueError, "'geometric', not 'other'"),
        (lambda: OnHost(half, kind="other"), ValueError, "'geometric', not 'other'"),
        (lambda: Augment(dimmed, takes="0-1"), ValueError, "takes must be one of .*not '0-1'"),
        (
            lambda: Augment(lambda key, image: image[:2], kind="photometric")(KEY, PIXELS[0]),
            ValueError,
            r"made \[2, 5, 3\] of an image \[4, 5, 3\]: .*kind='geometric'",
        ),
        (lambda: Views((dimmed,)), TypeError, r"jaxkd.views.Augment\(dimmed, …\), or one of NumPy"),
        (lambda: Views((Normalize,)), TypeError, r"write Normalize\(…\), an object of it"),
        (
            lambda: Views((RandomFlip(), OnHost(half))),
            ValueError,
            r"runs on the host .* write Views\(\(OnHost\(half\), RandomFlip\(.*\),\)\)",
        ),
        (lambda: Views((Normalize(), Augment(dimmed))), ValueError, "stands after Normalize"),
        (
            lambda: Loader(DATA, Views((OnHost(grown),)), 6)[0],
            ValueError,
            r"arrays of one shape and type of all images, not float64\[",
        ),
        (
            lambda: Loader(DATA, Views((OnHost(half, kind="photometric"),)), 2)[0],
            ValueError,
            r"made \[4, 3, 3\] of an image \[4, 5, 3\]",
        ),
    ],
)
def test_bad_functions_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_functions_of_dm_pix():
    dm_pix = pytest.importorskip("dm_pix")
    image, key = jnp.asarray(PIXELS[0]), jax.random.key(3)
    bright = Augment(dm_pix.random_brightness, max_delta=0.2)(key, image)
    wanted = dm_pix.random_brightness(key, image / 255.0, 0.2)
    np.testing.assert_allclose(bright, jnp.clip(wanted, 0, 1) * 255, atol=1e-3)
    flip = Augment(dm_pix.random_flip_left_right, kind="geometric")
    views = Views((flip, Augment(dm_pix.random_contrast, lower=0.8, upper=1.2, kind="photometric")))
    views = dataclasses.replace(views, maps=("labels",))
    batch = {"id": np.arange(6), "view": np.zeros(6, int), "inputs": PIXELS}
    seen = np.asarray(views.render(batch | {"labels": np.tile(PLACES, (6, 1, 1))})["labels"])
    flipped = (seen == PLACES[:, ::-1]).all((1, 2))
    assert flipped.any() and (flipped ^ (seen == PLACES).all((1, 2))).all()


def test_functions_of_albumentations():
    albumentations = pytest.importorskip("albumentations")
    pipeline = albumentations.Compose(
        [albumentations.HorizontalFlip(), albumentations.RandomBrightnessContrast(p=1.0)]
    )

    def augmented(rng, image, maps):
        pipeline.set_random_seed(int(rng.integers(2**31)))
        result = pipeline(image=image, mask=maps["labels"])
        return result["image"], {"labels": result["mask"]}

    labels = np.tile(PLACES, (6, 1, 1))
    data = Dataset.from_arrays(PIXELS, labels, name="n", split="s", num_classes=20)
    views = Views((OnHost(augmented, kind="geometric"),), maps=("labels",))
    first, again = (
        jaxkd.data.raw_batch(data, views, ids, np.zeros(len(ids), np.int32))
        for ids in (np.arange(6), np.arange(6)[::-1])
    )
    for name in ("inputs", "labels"):
        np.testing.assert_array_equal(first[name], again[name][::-1])
    assert {int(row[0, 0]) for row in first["labels"]} == {0, 4}
