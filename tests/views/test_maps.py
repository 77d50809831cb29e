"""Label maps and dictionaries of inputs: what moves the image moves them."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd.views import (
    CenterCrop,
    ColorJitter,
    Cutmix,
    Mixup,
    MixupOrCutmix,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    Views,
)

# Every pixel is another value, the same in image and map.
PLACES = np.arange(4 * 64, dtype=np.int32).reshape(4, 8, 8) % 251
IDS = {"id": np.arange(4), "view": np.full(4, 2)}
RAW = IDS | {"inputs": PLACES[..., None].astype(np.float32), "labels": PLACES}


def test_crops_and_flips_show_the_same_pixels_of_image_and_map():
    views = Views((RandomCrop(3, fill=-1.0), RandomFlip(), CenterCrop(6)), maps=("labels",))
    rendered = jax.jit(views.render)(RAW)
    assert rendered["labels"].shape == (4, 6, 6) and rendered["labels"].dtype == np.int32
    np.testing.assert_array_equal(rendered["labels"], rendered["inputs"][..., 0])
    assert (np.asarray(rendered["labels"]) == -1).any()


def test_values_of_maps_are_never_blended():
    transforms = (RandAugment(2, 20), RandomResizedCrop(5), Resize(9), ColorJitter(), Normalize())
    labels = np.where(PLACES % 2, 200, 7).astype(np.uint8)
    rendered = jax.jit(Views(transforms, maps=("labels",)).render)(RAW | {"labels": labels})
    assert rendered["labels"].shape == (4, 9, 9)
    assert set(np.unique(rendered["labels"])) <= {-1, 7, 200}


def test_what_changes_values_leaves_maps_alone():
    transforms = (ColorJitter(), RandomErasing(1.0), Normalize())
    rendered = jax.jit(Views(transforms, maps=("labels",)).render)(RAW)
    np.testing.assert_array_equal(rendered["labels"], PLACES)
    undeclared = jax.jit(Views((ColorJitter(),)).render)(RAW)
    np.testing.assert_array_equal(undeclared["labels"], PLACES)


def test_an_image_and_a_mask_among_the_inputs():
    mask, where = PLACES % 3 == 0, np.stack([PLACES % 5, PLACES % 7], -1).astype(np.float32)
    inputs = {"photo": {"rgb": RAW["inputs"]}, "mask": mask, "depth": where, "age": np.ones(4)}
    views = Views(
        (RandomCrop(2),), image="photo.rgb", maps={"inputs.mask": None, "inputs.depth": 9.0}
    )
    seen = views.render(IDS | {"inputs": inputs, "labels": np.zeros(4, np.int32)})["inputs"]
    image, inside = np.asarray(seen["photo"]["rgb"])[..., 0], np.asarray(seen["depth"]) != 9
    assert inside.any() and not inside.all() and seen["mask"].dtype == bool
    assert not np.asarray(seen["mask"])[~inside.all(-1)].any()
    np.testing.assert_array_equal(
        np.asarray(seen["depth"])[..., 1][inside[..., 1]], (image % 7)[inside[..., 1]]
    )
    np.testing.assert_array_equal(seen["age"], 1)
    assert inputs["photo"]["rgb"] is RAW["inputs"]


def test_the_default_specification_is_that_of_earlier_versions():
    plain = Views((RandomCrop(2), Normalize(), Mixup(4)), seed=3)
    assert plain.specification() == {
        "transforms": [
            {"name": "RandomCrop", "padding": 2, "fill": 0.0},
            {"name": "Normalize", "mean": (0.0,), "std": (1.0,), "scale": 255.0},
            {"name": "Mixup", "num_classes": 4, "alpha": 0.2},
        ],
        "seed": 3,
        "prng": "threefry2x32",
        "prng_partitionable": True,
    }
    mapped = dataclasses.replace(plain, image="a", maps={"labels": 0}, transforms=())
    assert mapped.specification()["maps"] == [("labels", 0)]
    assert mapped.specification()["image"] == "a" and "maps=" in repr(mapped)
    assert repr(Views()) == "Views(transforms=(), seed=0)"


def test_cutmix_pastes_the_map_of_the_partner():
    views = Views((RandomFlip(), Cutmix(None)), maps=("labels",))
    others = PLACES[::-1] + 1000
    partner = {"partner_inputs": others[..., None].astype(np.float32), "partner_labels": others}
    rendered = jax.jit(views.render)(RAW | partner)
    np.testing.assert_array_equal(rendered["labels"], rendered["inputs"][..., 0])
    pasted = np.asarray(rendered["labels"]) >= 1000
    assert pasted.any() and not pasted.all() and "labeled" not in rendered
    with pytest.raises(ValueError, match="cannot be blended: write Cutmix"):
        Views((Mixup(3),), maps=("labels",)).render(RAW | partner)


def mixed(mix, labels, others, **more):
    images = {"inputs": np.ones((4, 8, 8, 1)), "partner_inputs": np.zeros((4, 8, 8, 1))}
    batch = IDS | images | {"labels": labels, "partner_labels": others} | more
    rendered = jax.jit(Views((mix,), seed=1).render)(batch)
    weight = np.asarray(rendered["inputs"]).mean((1, 2, 3))
    return rendered["labels"], rendered["labeled"], weight


@pytest.mark.parametrize("mix", [Mixup, Cutmix, MixupOrCutmix])
def test_labels_of_every_kind_are_mixed_by_the_share_of_pixels(mix):
    ids, bits = np.array([0, 1, -1, 2]), np.array([[0, 1], [1, 1], [1, 0], [-1, 1]])
    values = np.linspace(0, 1, 4, dtype=np.float32)
    labels = {"color": ids, "tags": bits, "size": values}
    others = {"color": np.zeros(4, int), "tags": np.zeros((4, 2), int), "size": values * 0}
    labeled = {"size": np.array([True, True, True, False])}
    own, known, w = mixed(
        mix({"color": 3}), labels, others, labeled=labeled, partner_labeled=labeled
    )
    np.testing.assert_allclose(own["size"], w * values, atol=1e-6)
    np.testing.assert_allclose(own["tags"][:3], w[:3, None] * bits[:3], atol=1e-6)
    np.testing.assert_allclose(own["color"][1], [1 - w[1], w[1], 0], atol=1e-6)
    assert {name: rows.tolist() for name, rows in known.items()} == {
        "color": [True, True, False, True],
        "tags": [True, True, True, False],
        "size": [True, True, True, False],
    }
    own, known, w = mixed(mix(2), bits, bits)
    np.testing.assert_allclose(own[:3], bits[:3], atol=1e-6)
    assert known.tolist() == [True, True, True, False]


def test_mixup_or_cutmix_does_each_with_its_probability():
    mix, keys = MixupOrCutmix(3, 0.2, 0.3), jax.random.split(jax.random.key(0), 400)
    ones, zeros = jnp.ones((8, 8, 1)), jnp.zeros((8, 8, 1))
    images, weights = jax.jit(jax.vmap(lambda key: mix(key, ones, zeros)))(keys)
    np.testing.assert_allclose(images.mean((1, 2, 3)), weights, atol=1e-5)
    whole = np.asarray((images == 0) | (images == 1)).all((1, 2, 3))
    kept = np.asarray(images == 1).all((1, 2, 3))
    assert 0.14 < (~whole).mean() < 0.26 and 0.43 < kept.mean() < 0.57


@dataclasses.dataclass(frozen=True)
class Own:
    def __call__(self, key, image):
        return image


@dataclasses.dataclass(frozen=True)
class Moving(Own):
    kind: ClassVar[str] = "geometric"


NESTED = RAW | {"inputs": {"a": RAW["inputs"]}}
PAIR = RAW | {"partner_inputs": RAW["inputs"], "partner_labels": PLACES}
SETS = RAW | {"labels": {"a": np.zeros(4, int)}, "partner_labels": {"a": np.zeros(4, int)}}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Views((RandomFlip(),)).render(RAW), r"'labels' \[4, 8, 8\] .* maps=\('labels',\)"),
        (lambda: Views((Normalize(),)).render(NESTED), r"dictionary of \['a'\].*image='a'"),
        (lambda: Views((Normalize(),), image="a").render(RAW), "one array .* leave image= out"),
        (
            lambda: Views((Normalize(),), image="b").render(NESTED),
            r"the field 'inputs.b' of a batch, which has \['inputs.a'\]",
        ),
        (lambda: Views(maps=("label",)), "such as 'labels'.*, not 'label'"),
        (lambda: Views((Own(),), maps=("labels",)), "does not say whether it moves"),
        (lambda: Views((Moving(),), maps=("labels",)), "has no method on_map"),
        (
            lambda: Views((RandomFlip(),), maps=("labels",)).render(RAW | {"labels": np.zeros(4)}),
            r"'labels' as a label map, \[batch, height, width\], and it is \[4\] beside",
        ),
        (
            lambda: Views((RandomCrop(1),), maps=("labels",)).render(
                RAW | {"labels": PLACES.astype(np.float32)}
            ),
            r"floats has no value for it: name one, Views\(…, maps=\{'labels': 0.0\}\)",
        ),
        (lambda: Views((Mixup(3),)).render(PAIR), r"are int32\[4, 8, 8\]. If they are a map"),
        (
            lambda: Views((Mixup(3),)).render(PAIR | SETS),
            r"one number of classes: write Mixup\(\{'a': num_classes, …\}\)",
        ),
        (
            lambda: Views((Mixup(None),)).render(PAIR | SETS),
            r"does not know the number of classes of 'labels.a' \[4\]: write Mixup",
        ),
        (
            lambda: Views((Mixup({"a": 3}),)).render(
                PAIR | {"labels": np.zeros(4, int), "partner_labels": np.zeros(4, int)}
            ),
            r"the labels are one array: write Mixup\(num_classes\)",
        ),
        (
            lambda: Views((Mixup(3),), image="a").render(
                PAIR
                | dict.fromkeys(("inputs", "partner_inputs"), {"a": RAW["inputs"], "b": np.ones(4)})
            ),
            r"the inputs \['inputs.b'\] have no rule",
        ),
        (lambda: MixupOrCutmix(3, 0.6, 0.6), "add up to at most 1, not 0.6 and 0.6"),
        (lambda: Views((Normalize(), ColorJitter())), r"after .*write Views\(\(ColorJitter\("),
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_the_line_to_write(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_name_is_no_tuple_of_names():
    with pytest.raises(TypeError, match=r"write maps=\('labels',\)"):
        Views(maps="labels")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 4, 4, 3), 0.5, np.float32), "values from 0.5 to 0.5: give .* images \\* 255"),
        (np.full((2, 4, 4, 3), -3.0), "values from -3 to -3"),
        (np.full((2, 4, 4, 3), 300.0), "values from 300 to 300"),
        (np.zeros((2, 4, 4, 3), np.int16), "not int16"),
    ],
)
def test_images_of_another_range_are_refused_where_they_are_read(images, message):
    batch = {"id": np.arange(2), "view": np.zeros(2, int), "inputs": images}
    with pytest.raises(ValueError, match=message):
        Views((ColorJitter(),)).prepare(batch)
    assert Views((RandomFlip(), Normalize())).prepare(batch) is batch
