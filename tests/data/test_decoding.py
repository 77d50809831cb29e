import io

import numpy as np
import pytest

from jaxkd import cache as caches
from jaxkd import from_function
from jaxkd.cache import CacheError
from jaxkd.data import CenterCrop, EncodedImages, RandomResizedCrop, _decoding

Image = pytest.importorskip("PIL.Image")
# Light above and dark below, and a column that tells left from right.
PICTURE = np.full((24, 16, 3), (200, 120, 40), np.uint8)
PICTURE[12:], PICTURE[:, :4] = (10, 60, 130), (90, 90, 90)
TURNS = [Image.Transpose[name] for name in (
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE",
    "ROTATE_90", "TRANSVERSE", "ROTATE_270",
)]  # fmt: skip


def encoded(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


WHOLE = CenterCrop(16, resize=16)


def records(*files, crop=WHOLE):
    return EncodedImages.from_source(files, crop=crop, name="f", split="train", num_classes=2)


def read(content, **options):
    return records(content, **options).read([0])[0]


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_photographs_are_read_upright(orientation, file_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(PICTURE)
    options = {
        "PNG": {},
        "TIFF": {},
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    turned = upright.transpose(TURNS[orientation - 2])
    wanted = read(encoded(upright, file_format, **options[file_format])).astype(int)
    found = read(encoded(turned, file_format, exif=exif, **options[file_format]))
    assert np.abs(found - wanted).max() <= (6 if file_format == "JPEG" else 0)
    # A crop's part is one of the upright picture.
    crop = RandomResizedCrop(8)
    wanted = read(encoded(upright, file_format, **options[file_format]), crop=crop).astype(int)
    found = read(encoded(turned, file_format, exif=exif, **options[file_format]), crop=crop)
    assert np.abs(found - wanted).max() <= (6 if file_format == "JPEG" else 0)


def test_a_crop_of_ones_own_gets_upright_pixels_of_8_bits():
    exif = Image.Exif()
    exif[0x0112] = 6
    with _decoding.open_image(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif)) as image:
        assert image.size == (20, 40)
    gray = Image.fromarray(np.full((4, 4), 65535, np.uint16))
    with _decoding.open_image(encoded(gray)) as image:
        assert image.mode == "L" and np.all(np.asarray(image) == 255)


def test_damaged_metadata_leave_the_picture_as_it_is():
    plain = encoded(Image.fromarray(PICTURE))
    damaged = encoded(Image.fromarray(PICTURE), exif=b"Exif\0\0not a directory")
    np.testing.assert_array_equal(read(damaged), read(plain))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_gray_of_16_bits_is_scaled_not_clipped(file_format):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    found = read(encoded(Image.fromarray(ramp), file_format))
    np.testing.assert_array_equal(found[..., 0], np.arange(256).reshape(16, 16))
    assert np.ptp(found, axis=-1).max() == 0


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(mode):
    file = encoded(Image.new(mode, (20, 20), 7), "TIFF")
    with pytest.raises(ValueError, match="example id 0 .* of 32 bits, .* save it with 8 or 16"):
        read(file)


@pytest.mark.filterwarnings("error")
def test_other_modes_become_the_colors_that_were_stored():
    color, square = (200, 120, 40), np.full((16, 16, 3), (200, 120, 40), np.uint8)
    image = Image.fromarray(square)
    alpha = image.convert("RGBA")
    alpha.putalpha(0)
    palette = image.quantize(4)
    files = {
        "RGBA": encoded(alpha),
        "P": encoded(palette),
        "P with transparency": encoded(palette, transparency=bytes([0, 128])),
        "animation": encoded(image, save_all=True, append_images=[Image.new("RGB", (16, 16))]),
    }
    for name, file in files.items():
        assert np.abs(read(file) - np.int32(color)).max() <= 2, name
    gray = Image.new("LA", (16, 16), (77, 0))
    assert np.all(read(encoded(gray)) == 77)
    assert np.all(read(encoded(Image.new("1", (16, 16), 1))) == 255)
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(read(encoded(ink, "JPEG", quality=100)) - np.int32((255, 0, 0))).max() <= 3


def test_a_cache_notices_that_decoding_has_changed(tmp_path, monkeypatch):
    data = records(*(encoded(Image.fromarray(PICTURE + i)) for i in range(4)))
    teacher = from_function(lambda w, x: x.reshape(len(x), -1)[:, :3] * w, np.float32(1))
    caches.build(tmp_path / "c", teacher, data, progress=False)
    monkeypatch.setattr(_decoding, "VERSION", 1)
    with pytest.raises(
        CacheError, match="dataset.decoding: the cache has 2, this run has 1 .files that EX"
    ):
        caches.open(tmp_path / "c", teacher=teacher, dataset=data)
    caches.open(tmp_path / "c", teacher=teacher, dataset=data, allow={"dataset.decoding"})
