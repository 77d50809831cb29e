import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd.views import Cutmix, Mixup, Normalize, RandomCrop, RandomFlip, Views

INPUTS = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)
LABELS = np.arange(16) % 4


def batch(ids, view, views):
    ids, view = np.asarray(ids), np.broadcast_to(np.asarray(view), len(ids))
    raw = {"id": ids, "view": view, "inputs": INPUTS[ids], "labels": LABELS[ids]}
    if views.mixes:
        partners = np.asarray(views.partners(ids, view, len(INPUTS)))
        raw |= {"partner_inputs": INPUTS[partners], "partner_labels": LABELS[partners]}
    return raw


ALL = {
    "identity": Views(),
    "crop": Views((RandomCrop(2), Normalize())),
    "flip": Views((RandomFlip(), Normalize())),
    "mixup": Views((RandomCrop(2), RandomFlip(), Normalize(), Mixup(4, alpha=0.5))),
    "cutmix": Views((RandomFlip(), Normalize(), Cutmix(4))),
}


@pytest.mark.parametrize("name", ALL)
def test_a_view_is_a_function_of_id_and_number_alone(name):
    views = ALL[name]
    render = jax.jit(views.render)
    together = render(batch([5, 2, 9, 11], 3, views))
    for row, i in enumerate([5, 2, 9, 11]):
        alone = render(batch([i], 3, views))
        other_order = render(batch([1, i, 0, 7], 3, views))
        for key in ("inputs", "labels"):
            chex.assert_trees_all_close(together[key][row], alone[key][0], atol=1e-6)
            chex.assert_trees_all_close(together[key][row], other_order[key][1], atol=1e-6)


@pytest.mark.parametrize("name", ["crop", "mixup", "cutmix"])
def test_other_views_seeds_and_ids_look_different(name):
    views = ALL[name]
    render = jax.jit(views.render)
    first = render(batch(range(16), 0, views))["inputs"]
    assert not np.allclose(first, render(batch(range(16), 1, views))["inputs"])
    other = dataclasses.replace(views, seed=1)
    assert not np.allclose(first, jax.jit(other.render)(batch(range(16), 0, other))["inputs"])
    same_image = {"id": np.arange(16), "view": np.zeros(16, int), "inputs": INPUTS[[0] * 16]}
    crops = jax.jit(Views((RandomCrop(2),)).render)(same_image)["inputs"]
    assert len({np.asarray(image).tobytes() for image in crops}) > 5


def test_identity_leaves_everything_as_it_is():
    chex.assert_trees_all_equal(Views().render(batch([1, 2], 0, Views()))["inputs"], INPUTS[[1, 2]])


@settings(max_examples=25, deadline=None)
@given(padding=st.integers(1, 6), seed=st.integers(0, 2**31 - 1))
def test_a_crop_is_a_window_of_the_padded_image(padding, seed):
    image = INPUTS[0]
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), constant_values=7)
    crop = np.asarray(RandomCrop(padding, fill=7)(jax.random.key(seed), jnp.asarray(image)))
    windows = [
        padded[top : top + 8, left : left + 8]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    assert any(np.array_equal(crop, window) for window in windows)


def test_flips_mirror_about_half_of_the_images():
    image = jnp.asarray(INPUTS[0])
    keys = jax.random.split(jax.random.key(0), 400)
    flipped = jax.vmap(lambda key: RandomFlip()(key, image))(keys)
    mirrored = (np.asarray(flipped) == INPUTS[0][:, ::-1]).all((1, 2, 3))
    assert set(np.unique((np.asarray(flipped) == INPUTS[0]).all((1, 2, 3)) ^ mirrored)) == {True}
    assert 150 < mirrored.sum() < 250


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_labels_follow_the_mixed_pixels(name):
    views = Views(ALL[name].transforms[-1:], seed=3)
    raw = batch(range(16), 2, views)
    raw["inputs"], raw["partner_inputs"] = np.ones((2, 16, 8, 8, 1)) * [[[[[1.0]]]], [[[[0.0]]]]]
    rendered = jax.jit(views.render)(raw)
    share = np.asarray(rendered["inputs"]).mean((1, 2, 3))
    different = raw["labels"] != raw["partner_labels"]
    own = np.asarray(rendered["labels"])[np.arange(16), raw["labels"]]
    np.testing.assert_allclose(own[different], share[different], atol=1e-5)
    np.testing.assert_allclose(np.asarray(rendered["labels"]).sum(-1), 1, atol=1e-6)
    assert rendered["labeled"].all() and share.std() > 0.05


def test_a_mix_with_an_unlabeled_example_is_unlabeled():
    views = ALL["mixup"]
    raw = batch([0, 1], 0, views)
    raw["labels"], raw["partner_labels"] = np.array([-1, 2]), np.array([1, 3])
    np.testing.assert_array_equal(jax.jit(views.render)(raw)["labeled"], [False, True])


def test_normalize_is_what_it_says():
    image = jnp.full((2, 2, 2), 51, jnp.uint8)
    result = Normalize(mean=(0.1, 0.2), std=(0.5, 0.25))(jax.random.key(0), image)
    np.testing.assert_allclose(result[0, 0], [0.2, 0.0], atol=1e-6)


def test_the_probe_notices_other_transforms_and_seeds():
    probes = [views.probe(INPUTS[:4]) for views in ALL.values()]
    probes.append(Views((RandomCrop(2), Normalize()), seed=1).probe(INPUTS[:4]))
    assert len({tuple(np.round(p, 3)) for p in probes}) == len(probes)
    assert ALL["crop"].probe(INPUTS[:4]) == pytest.approx(ALL["crop"].probe(INPUTS[:4]))


def test_transforms_that_cannot_name_themselves_are_refused():
    with pytest.raises(TypeError, match="frozen dataclass, .* is not"):
        Views((lambda key, image: image,))
    with pytest.raises(TypeError, match="cannot be hashed"):
        Views((Normalize(mean=[0.5]),))


def test_mixing_views_say_that_they_need_partners():
    raw = batch([1, 2], 0, Views())
    with pytest.raises(
        ValueError, match="no 'partner_inputs': evaluate with views that do not mix"
    ):
        ALL["mixup"].render(raw)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(0), "padding must be at least 1 pixel, not 0"),
        (lambda: RandomFlip(1.5), "not 1.5"),
        (lambda: Mixup(1), "num_classes must be at least 2, not 1"),
        (lambda: Cutmix(4, alpha=0.0), "alpha must be positive, not 0.0"),
        (lambda: Normalize(std=(0.0,)), "must be positive"),
        (lambda: Views((Mixup(4), RandomFlip())), "must be the last"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("seed", [-1, 1.5, "a", None, 2**32])
def test_seeds_that_would_be_wrapped_are_refused(seed):
    with pytest.raises(ValueError, match="the seed of views must be an integer from 0"):
        Views((Normalize(),), seed=seed)
    assert Views(seed=np.int64(3)) == Views(seed=3)


@dataclasses.dataclass(frozen=True)
class Titled:
    name: str

    def __call__(self, key, image):
        return image


@dataclasses.dataclass(frozen=True)
class OtherwiseTitled(Titled):
    pass


def test_a_field_called_name_does_not_hide_the_name_of_the_class():
    one, two, other = (
        Views((transform,)).specification()["transforms"]
        for transform in (Titled("a"), OtherwiseTitled("a"), Titled("b"))
    )
    assert one == [{"name": "Titled", "field name": "a"}]
    assert one != two and one != other
