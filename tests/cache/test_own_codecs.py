"""A codec of one's own is the one that a cache was written with, or it is refused."""

import dataclasses

import numpy as np
import pytest

from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.cache._own_codecs import decoded_fields
from jaxkd.cache._record_format import RecordFormat
from jaxkd.targets import Dense, TopK
from jaxkd.views import Views


def scaled(scale):
    """A class as a notebook's cell makes it anew."""

    @dataclasses.dataclass(frozen=True)
    class Scaled(Dense):
        def specification(self):
            return {**super().specification(), "name": "Scaled"}

        def decode(self, arrays, shape):
            return super().decode(arrays, shape) * scale

    return Scaled()


def test_an_edited_decoder_is_refused_and_the_same_one_is_not(tmp_path, images, small):
    options = {"codec": scaled(1.0), "progress": False}
    cache = caches.build(tmp_path, small(1), images, **options)
    assert list(cache.contract["codec.decoded"]) == ["logits"]
    given = {"teacher": small(1), "dataset": images, "views": Views()}
    caches.open(tmp_path, codecs=[type(scaled(1.0))], **given)
    caches.build(tmp_path, small(1), images, **{**options, "codec": scaled(1.0)})
    with pytest.raises(CacheError, match=r"codec\.decoded"):
        caches.open(tmp_path, codecs=[type(scaled(2.0))], **given)
    with pytest.raises(CacheError, match=r"codec\.decoded"):
        caches.build(tmp_path, small(1), images, **{**options, "codec": scaled(2.0)})
    caches.open(tmp_path, codecs=[type(scaled(2.0))], allow={"codec.decoded"}, **given)


def test_codecs_of_the_library_are_known_by_their_names():
    codecs = {"logits": TopK(2), "hidden": Dense("float16")}
    assert decoded_fields(RecordFormat(codecs, {"logits": (5,), "hidden": (3, 3)}, 5)) == {}


def test_what_was_written_by_a_codec_of_ones_own_is_read_by_no_other():
    shapes = {"logits": (4,)}
    own = decoded_fields(RecordFormat({"logits": scaled(3.0)}, shapes, 4))
    library = decoded_fields(RecordFormat({"logits": Dense()}, shapes, 4), also=["logits"])
    numbers, thirds = own["codec.decoded"]["logits"], library["codec.decoded"]["logits"]
    np.testing.assert_allclose(float(numbers[0]), 3 * float(thirds[0]), rtol=0.01)


def test_very_large_outputs_are_not_encoded_for_it():
    assert (
        decoded_fields(RecordFormat({"logits": scaled(1.0)}, {"logits": (2048, 1024)}, 1024)) == {}
    )
