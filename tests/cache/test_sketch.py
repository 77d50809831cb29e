"""Sketches show every change beside rounding; a document of other entries is damage."""

import jax.numpy as jnp
import numpy as np
import pytest
from written_caches import IMAGES, LOGITS, write, writer

from jaxkd import cache as caches
from jaxkd.cache import CacheError, _store
from jaxkd.cache._behavior import agree
from jaxkd.cache._sketch import sketch


def outputs(ids, view):
    return LOGITS[IMAGES.rows(ids)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built")
    write(path, spot_check=outputs)
    return path


def array(**changes):
    return {"shape": [64, 5], "dtype": "float32", "base64": ""} | changes


DAMAGES = {
    "teacher": [
        {"spots": 7},
        {"spots": {"ids": 7, "views": 7}},
        {"spots": {"ids": ["a"], "views": [0]}},
        {"spots": {"ids": [3, 6], "views": [0]}},
        {"rounding": "small"},
        {"outputs": []},
        {"outputs": {"logits": 1.5}},
        {"outputs": {"logits": array()}},
        {"outputs": {"logits": array(base64="%%%")}},
        {"outputs": {"logits": array(dtype="no dtype")}},
        {"outputs": {"logits": array(shape=["a"])}},
        {"outputs": {}},
    ],
    "views": [{"spots": {}}, {"digests": 3}, {"digests": []}, {"sketches": "none"}],
}


@pytest.mark.parametrize(
    "kind,changes", [(kind, changes) for kind, every in DAMAGES.items() for changes in every]
)
def test_documents_of_another_type_are_damage(built, kind, changes):
    (file,) = built.glob(f"identity/*/{kind}.json")
    whole, name = file.read_bytes(), str(file.relative_to(built))
    _store.write_document(built, name, _store.read_document(built, name) | changes)
    try:
        with pytest.raises(CacheError, match=f"damaged: identity.*{kind}.json"):
            writer(built, spot_check=outputs)
        assert [damage.file for damage in caches.verify(built)] == [name]
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    "changes", [{"block_size": 0}, {"num_views": 0}, {"first_view": -1}, {"num_views": True}]
)
def test_segments_of_no_extent_are_damage(built, changes):
    file = built / "segments.json"
    whole, document = file.read_bytes(), _store.read_document(built, "segments.json")
    document["segments"][0] |= changes
    _store.write_document(built, "segments.json", document)
    try:
        with pytest.raises(CacheError, match=r"segments.json has other entries"):
            caches.Cache(built)
    finally:
        file.write_bytes(whole)


MASKS = {
    "a class masked by -1e9": lambda logits: logits.at[:, 3].set(-1e9),
    "the least number": lambda logits: logits.at[:, 3].set(jnp.finfo(jnp.float32).min),
    "the least of float16": lambda logits: logits.at[:, 3].set(-65504.0),
    "a class of each example": lambda logits: logits.at[jnp.arange(64), jnp.arange(64) % 8].set(
        -1e9
    ),
    "other units": lambda logits: logits.at[:, 3].multiply(1e4),
    "padding of a vocabulary": lambda logits: jnp.pad(
        jnp.tile(logits, 40), ((0, 0), (0, 50)), constant_values=-1e9
    ),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", MASKS)
def test_large_numbers_do_not_hide_that_the_others_changed(kind, dtype):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(64, 8)), jnp.float32)
    changed = logits.at[:, 1].multiply(2)
    kept, same, other = (
        np.asarray(sketch(MASKS[kind](x).astype(dtype)))
        for x in (logits, logits * (1 + 1e-6), changed)
    )
    rounding = 2.0**-19 if dtype == jnp.float32 else 2.0**-6
    every = np.ones(64, bool)
    assert agree(kept, every, same, rounding)
    assert not agree(kept, every, other, rounding)


def test_sums_of_huge_numbers_and_numbers_without_spread_agree_with_themselves():
    every = np.ones(4, bool)
    for values in (jnp.full((4, 1000), 3e38), jnp.zeros((4, 8)), jnp.full((4, 8), jnp.nan)):
        kept = np.asarray(sketch(values))
        assert np.isfinite(kept).all() and agree(kept, every, kept, 2.0**-19)
    assert not agree(np.zeros((4, 8)), every, np.full((4, 8), 1e-3), 2.0**-19)
