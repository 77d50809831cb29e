import jax
import pytest

from jaxkd import cache as caches
from jaxkd.cache import CacheError, _store
from jaxkd.data import Dataset, Loader
from jaxkd.targets import Dense
from jaxkd.views import Mixup, Normalize, RandomCrop, RandomFlip, Views
from jaxkd.views import _views as view_functions

VIEWS = Views((RandomCrop(2), RandomFlip(), Normalize()))


def build(path, teacher, data, views=VIEWS, **options):
    options = {"num_views": 2, "block_size": 64, "batch_size": 32, "progress": False} | options
    return caches.build(path, teacher, data, views, **options)


WRONG = {
    "another teacher": (
        lambda d, s: {"teacher": s(2)},
        r"teacher.parameters: the cache has .* this run has",
    ),
    "another activation": (
        lambda d, s: {"teacher": s(1, activation=jax.nn.gelu)},
        "teacher.architecture: the cache has",
    ),
    "another data set": (
        lambda d, s: {"dataset": replace(d, name="other")},
        'dataset.name: the cache has "random", this run has "other"',
    ),
    "another split": (
        lambda d, s: {"dataset": replace(d, split="test")},
        'dataset.split: the cache has "train", this run has "test"',
    ),
    "other contents": (
        lambda d, s: {"dataset": replace(d, inputs=d.inputs ^ 1)},
        "dataset.examples: the cache has 200 of these 200 examples with another content",
    ),
    "another crop": (
        lambda d, s: {"dataset": d, "views": Views((RandomCrop(3), RandomFlip(), Normalize()))},
        'views.transforms: .*"padding": 2.*"padding": 3',
    ),
    "another seed": (
        lambda d, s: {"dataset": d, "views": Views(VIEWS.transforms, seed=7)},
        "views.seed: the cache has 0, this run has 7",
    ),
    "other classes": (
        lambda d, s: {"num_classes": 100},
        "num_classes: the cache has 5, this run has 100",
    ),
}


def replace(data, **changes):
    arguments = {"inputs": data.inputs, "name": data.name, "split": data.split} | changes
    return Dataset.from_arrays(
        labels=data.labels, ids=data.ids, num_classes=data.num_classes, **arguments
    )


@pytest.mark.parametrize("case", WRONG)
def test_a_cache_of_something_else_is_refused_by_field(tmp_path, images, small, case):
    build(tmp_path, small(1), images)
    make, message = WRONG[case]
    own = {"teacher": small(1), "dataset": images, "views": VIEWS}
    caches.open(tmp_path, **own)
    with pytest.raises(CacheError, match=message) as error:
        caches.open(tmp_path, **own | make(images, small))
    assert str(error.value).count("the cache has") == 1


def test_a_named_field_may_be_allowed(tmp_path, images, small):
    build(tmp_path, small(1), images)
    other = small(2)
    own = {"teacher": other, "dataset": images, "views": VIEWS}
    with pytest.raises(CacheError, match=r"teacher.outputs: the cache has .*logits of example"):
        caches.open(tmp_path, **own, allow={"teacher.parameters"})
    caches.open(tmp_path, **own, allow={"teacher.parameters", "teacher.outputs"})
    with pytest.raises(ValueError, match="fingerprint is empty"):
        caches.open(tmp_path, teacher={}, dataset=images, views=VIEWS)


def test_another_rendering_of_the_same_specification_is_refused(
    tmp_path, images, small, monkeypatch
):
    build(tmp_path, small(1), images)
    monkeypatch.setattr(RandomFlip, "__call__", lambda self, key, image: image[:, ::-1])
    view_functions._renderer.cache_clear()
    with pytest.raises(CacheError, match="views.probe: the cache has"):
        caches.open(tmp_path, teacher=small(1), dataset=images, views=VIEWS)
    # Nor is a build that was cut short finished with other views than it was begun with.
    next(tmp_path.rglob("records/*/c/1/0/0")).unlink()
    with pytest.raises(CacheError, match="views.probe: the cache has"):
        build(tmp_path, small(1), images)


def test_a_selection_has_other_partners_to_mix_with(tmp_path, images, small):
    views = Views((Normalize(), Mixup(5)))
    cache = build(tmp_path, small(1), images, views)
    with pytest.raises(CacheError, match=r"views.partners: .*200 examples.*100 examples"):
        cache.check(dataset=images.select(images.ids[:100]), views=views)


def test_missing_records_are_refused(tmp_path, images, small):
    part = images.select(images.ids[:150])
    cache = build(tmp_path, small(1), part)
    with pytest.raises(CacheError, match=r"missing records: 50 of 200 .*\[453, 456"):
        cache.check(dataset=images)
    with pytest.raises(CacheError, match="3 views of each example are wanted.* has 2"):
        cache.check(num_views=3)
    with pytest.raises(CacheError, match="view 2 is wanted"):
        cache.read(part.ids[:1], 2)


def test_building_over_another_cache_is_refused_and_harms_nothing(tmp_path, images, small):
    build(tmp_path, small(1), images)
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    for options in ({"codec": Dense("float16")}, {"num_views": 3}):
        with pytest.raises(CacheError, match="does not belong to this run"):
            build(tmp_path, small(1), images, **options)
    with pytest.raises(CacheError, match="teacher.parameters"):
        build(tmp_path, small(2), images)
    assert before == {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}


def test_there_is_no_cache(tmp_path, images):
    with pytest.raises(CacheError, match="there is no cache at"):
        caches.open(tmp_path / "nothing", teacher={"network": "mine"}, dataset=images)


def test_a_newer_format_is_refused(tmp_path, images, small):
    build(tmp_path, small(1), images)
    document = _store.read_document(tmp_path, "contract.json")
    _store.write_document(tmp_path, "contract.json", document | {"format": 4})
    with pytest.raises(CacheError, match="format 4, this release reads format 3"):
        caches.Cache(tmp_path)


def test_every_field_is_checked_and_each_may_be_allowed(tmp_path, images, small):
    """Whatever the contract says, another value is refused by name, and nothing starts."""
    views = Views((*VIEWS.transforms, Mixup(5)))
    build(tmp_path, small(1), images, views)
    document = _store.read_document(tmp_path, "contract.json")
    expected = {
        *(f"teacher.{name}" for name in ("network", "architecture", "parameters")),
        *(f"dataset.{name}" for name in ("name", "version", "split", "fingerprint", "num_classes")),
        *(f"views.{n}" for n in ("transforms", "seed", "prng", "prng_partitionable", "partners")),
        *("num_classes", "num_logits", "codec", "shapes", "jax_version"),
    }
    assert set(document["fields"]) == expected
    for field in sorted(expected):
        # The codec and the shapes must stay readable, or another error comes first.
        value = document["fields"][field]
        other = {"codec": {"logits": {"name": "Dense", "dtype": "bfloat16"}}}.get(field, 7)
        other = {"logits": [5], "map": [1]} if field == "shapes" else other
        tampered = {**document, "fields": {**document["fields"], field: other}}
        _store.write_document(tmp_path, "contract.json", tampered)
        if field == "dataset.fingerprint":  # where it differs, examples are compared one by one
            own = {"teacher": small(1), "dataset": images, "views": views}
            assert caches.open(tmp_path, **own).num_views == 2
            continue
        if field in ("teacher.network", "teacher.architecture"):  # of a network, what it computes
            own = {"dataset": images, "views": views}
            caches.open(tmp_path, teacher=small(1), **own)
            build(tmp_path, small(1), images, views)
            with pytest.raises(CacheError, match=f"{field}: the cache has"):
                caches.open(tmp_path, teacher=small(1).fingerprint(), **own)
            continue
        with pytest.raises(CacheError, match=f"{field}: the cache has") as error:
            build(tmp_path, small(1), images, views)
        assert str(error.value).count("the cache has") == 1, value
        if field not in ("codec", "shapes", "num_logits"):  # of the cache, no business of a reader
            own = {"teacher": small(1), "dataset": images, "views": views, "num_classes": 5}
            with pytest.raises(
                CacheError, match=f'{field}: the cache has.*\n.*allow={{"{field}"}}'
            ):
                caches.open(tmp_path, **own)
            caches.open(tmp_path, **own, allow={field})


def test_what_was_allowed_at_opening_is_allowed_to_the_loader(tmp_path, images, small):
    build(tmp_path, small(1), images)
    document = _store.read_document(tmp_path, "contract.json")
    document["fields"]["jax_version"] = "0.1.2"
    _store.write_document(tmp_path, "contract.json", document)
    own = {"teacher": small(1), "dataset": images, "views": VIEWS}
    with pytest.raises(CacheError, match='jax_version: the cache has "0.1.2", this run has "'):
        caches.open(tmp_path, **own)
    cache = caches.open(tmp_path, **own, allow={"jax_version"})
    assert "teacher" in Loader(images, VIEWS, 8, cache=cache)[0]
    with pytest.raises(CacheError, match="jax_version"):
        Loader(images, VIEWS, 8, cache=caches.Cache(tmp_path))
