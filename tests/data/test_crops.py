import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd.data import CenterCrop, RandomResizedCrop

Image = pytest.importorskip("PIL.Image")
SIDES = st.integers(1, 700)
IDS = st.integers(0, 2**31 - 1)


def photo(width, height, seed=0, mode="RGB", file_format="JPEG"):
    """An opened image that is smooth at the scale of the crops."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    image.convert(mode).save(file, file_format)
    return Image.open(file)


@given(width=SIDES, height=SIDES, example_id=IDS, view=IDS)
def test_a_box_lies_in_the_image_and_depends_on_id_and_view_alone(width, height, example_id, view):
    left, upper, right, lower = RandomResizedCrop().box(width, height, example_id, view)
    assert 0 <= left < right <= width and 0 <= upper < lower <= height
    again = RandomResizedCrop().box(width, height, example_id, view)
    assert again == (left, upper, right, lower)


def test_boxes_are_pinned():
    # Others would be other views than those that caches hold.
    crop = RandomResizedCrop()
    found = [crop.box(500, 375, *key) for key in ((0, 0), (0, 1), (1, 0), (2**31 - 1, 90))]
    assert found == PINNED
    assert RandomResizedCrop(seed=1).box(500, 375, 0, 0) != PINNED[0]


def test_boxes_have_areas_and_ratios_as_configured():
    crop = RandomResizedCrop(scale=(0.2, 0.6), ratio=(0.5, 2.0))
    boxes = np.array([crop.box(500, 500, i, 3) for i in range(2000)])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = wide * high / 250_000, np.log2(wide / high)
    assert area.min() > 0.195 and area.max() < 0.605 and abs(area.mean() - 0.4) < 0.02
    assert ratio.min() > -1.02 and ratio.max() < 1.02 and abs(ratio.mean()) < 0.05
    # Corners are anywhere: the free space is halved on average.
    assert abs((boxes[:, 0] / np.maximum(1, 500 - wide)).mean() - 0.5) < 0.03
    assert abs((boxes[:, 1] / np.maximum(1, 500 - high)).mean() - 0.5) < 0.03


@pytest.mark.parametrize(
    ("size", "box"), [((1000, 20), (486, 0, 513, 20)), ((20, 1000), (0, 486, 20, 513))]
)
def test_where_no_part_fits_the_middle_is_taken(size, box):
    assert RandomResizedCrop(scale=(1.0, 1.0)).box(*size, 0, 0) == box


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_without_draft_the_pixels_are_those_of_crop_and_resize(interpolation):
    crop = RandomResizedCrop(24, draft=False, interpolation=interpolation)
    image = photo(200, 150)
    wanted = image.crop(crop.box(200, 150, 5, 2)).resize(
        (24, 24), Image.Resampling[interpolation.upper()]
    )
    np.testing.assert_array_equal(crop(photo(200, 150), 5, 2), wanted)


@pytest.mark.parametrize(("width", "height"), [(200, 150), (90, 300), (64, 64), (30, 31)])
def test_center_crop_is_resize_and_crop_of_the_middle(width, height):
    image, shorter = photo(width, height), min(width, height)
    resized = image.resize(
        (int(32 * width / shorter), int(32 * height / shorter)), Image.Resampling.BILINEAR
    )
    left, upper = round((resized.width - 28) / 2), round((resized.height - 28) / 2)
    wanted = resized.crop((left, upper, left + 28, upper + 28))
    crop = CenterCrop(28, draft=False)
    assert crop.resize == 32
    np.testing.assert_array_equal(crop(photo(width, height), 0, 0), wanted)
    np.testing.assert_array_equal(crop(photo(width, height), 9, 4), wanted)


@settings(max_examples=20, deadline=None)
@given(width=st.integers(60, 400), height=st.integers(60, 400), view=IDS)
def test_draft_shows_nearly_the_same_and_is_never_enlarged(width, height, view):
    for exact, draft in (
        (RandomResizedCrop(16, draft=False), RandomResizedCrop(16)),
        (CenterCrop(16, draft=False), CenterCrop(16)),
    ):
        image = photo(width, height)
        one, two = exact(photo(width, height), 1, view), draft(image, 1, view)
        assert np.abs(one.astype(int) - two).mean() < 6
        assert one.shape == two.shape == (16, 16, 3)
    # A crop of at least 16 pixels was decoded at no less than that.
    assert min(image.size) >= 18 or min(width, height) < 36


def test_draft_decodes_fewer_pixels():
    image = photo(800, 600)
    CenterCrop(32)(image, 0, 0)
    assert image.size == (100, 75)


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("L", "PNG")],
)
def test_images_of_every_mode_become_rgb(mode, file_format):
    for crop in (RandomResizedCrop(20), CenterCrop(20)):
        made = crop(photo(90, 70, mode=mode, file_format=file_format), 3, 1)
        assert made.shape == (20, 20, 3) and made.dtype == np.uint8
        if mode == "L":
            assert np.ptp(made, axis=-1).max() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizedCrop(0), "size must be at least 1 pixel, not 0"),
        (lambda: CenterCrop(224, resize=200), "resize must be at least the size 224, not 200"),
        (lambda: CenterCrop(interpolation="nearest"), "'bilinear', 'bicubic'.*not 'nearest'"),
        (lambda: RandomResizedCrop(scale=(0.5, 0.1)), r"scale must be .*not \(0.5, 0.1\)"),
        (lambda: RandomResizedCrop(scale=(0.5, 1.5)), r"scale must be .*not \(0.5, 1.5\)"),
        (lambda: RandomResizedCrop(ratio=(0, 1)), r"ratio must be .*not \(0, 1\)"),
        (lambda: RandomResizedCrop(seed=-1), "seed must not be negative, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_inception_sizes():
    assert (CenterCrop(299).resize, CenterCrop(224).resize) == (342, 256)
    assert math.isclose(RandomResizedCrop().ratio[0] * RandomResizedCrop().ratio[1], 1)


PINNED = [(34, 18, 478, 368), (118, 17, 413, 331), (278, 0, 425, 171), (333, 94, 491, 283)]
