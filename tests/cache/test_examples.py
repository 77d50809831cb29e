"""Data sets that grow, shrink and change: by example, by class and by label."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxkd
from jaxkd import cache as caches
from jaxkd.cache import AlignedCache, CacheError, EnsembleCache
from jaxkd.data import Dataset, GrainSource, Loader, Sequences, Texts, Tokenizer
from jaxkd.targets import TopK
from jaxkd.views import Mixup, Views

TEACHER = jaxkd.from_function(
    lambda params, x: x @ params, jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), "f")
)
ROWS = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
LABELS = np.arange(24) % 3
OPTIONS = {"block_size": 8, "batch_size": 4, "progress": False}
NAMES = ("cat", "dog", "owl")


def data(rows=ROWS[:16], labels=None, **changes):
    labels = LABELS[: len(rows)] if labels is None else labels
    named = {"name": "rows", "split": "train", "num_classes": 3, "class_names": NAMES}
    return Dataset.from_arrays(rows, labels, **named | changes)


def changed(count=24, ids=(2, 5, 9)):
    rows = ROWS[:count].copy()
    rows[list(ids)] += 1
    return rows


def build(path, dataset=None, **options):
    return caches.build(path, TEACHER, dataset or data(), **OPTIONS | options)


def check_records(cache, rows, ids=None):
    ids = cache.ids if ids is None else ids
    for view in range(cache.num_views):
        logits = cache.read(ids, view).decode()["logits"]
        np.testing.assert_allclose(logits, rows[ids] @ TEACHER.params, rtol=1e-5)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A cache of 16 examples in one view, to be read."""
    return build(tmp_path_factory.mktemp("cached")).path


def test_a_data_set_that_grew_is_extended_and_opened_without_allowing_anything(tmp_path):
    build(tmp_path)
    grown = data(ROWS)
    with pytest.raises(CacheError, match=r"missing records: 8 of 24 .*\[16, 17.*extend\(path, t"):
        caches.open(tmp_path, teacher=TEACHER, dataset=grown)
    cache = caches.extend(tmp_path, TEACHER, grown, **OPTIONS)
    assert cache.build_cost["records"] == 24  # the new ones alone, after 16
    cache = caches.open(tmp_path, teacher=TEACHER, dataset=grown)
    check_records(cache, ROWS)
    assert len(Loader(cache=cache, batch_size=8)[0]["id"]) == 8
    assert len(GrainSource(cache=cache)) == 24
    # As it was before it grew, and a third state between the two.
    for dataset in (data(), data(ROWS[:20])):
        caches.open(tmp_path, teacher=TEACHER, dataset=dataset)
    assert caches.verify(tmp_path) == []


def test_a_data_set_that_shrank_or_was_put_in_another_order_opens(cached):
    part = data(ROWS[:16:2], LABELS[:16:2], ids=np.arange(16)[::2])
    assert part.fingerprint != data().fingerprint
    cache = caches.open(cached, teacher=TEACHER, dataset=part)
    check_records(cache, ROWS, part.ids)
    turned = data(ROWS[15::-1], LABELS[15::-1], ids=np.arange(16)[::-1])
    caches.open(cached, teacher=TEACHER, dataset=turned)


def test_what_changed_is_refused_by_number_and_id(cached):
    for dataset in (data(changed(16)), data(changed()[:12])):
        message = rf"dataset.examples: .* 3 of these {len(dataset)} examples .*ids \[2, 5, 9\]"
        with pytest.raises(CacheError, match=message):
            caches.open(cached, teacher=TEACHER, dataset=dataset)
        with pytest.raises(CacheError, match="dataset.examples"):
            Loader(dataset, Views(), 4, cache=caches.Cache(cached))
    allow = {"dataset.examples"}
    cache = caches.open(cached, teacher=TEACHER, dataset=data(changed(16)), allow=allow)
    Loader(cache=cache, batch_size=4)


def test_two_rows_that_changed_places_are_two_that_changed(cached):
    rows = ROWS[:16].copy()
    rows[[3, 6]] = rows[[6, 3]]
    with pytest.raises(CacheError, match=r"2 of these 16 examples .*ids \[3, 6\]") as refused:
        caches.open(cached, teacher=TEACHER, dataset=data(rows))
    assert "there under other ids" in str(refused.value) and "ids=ids" in str(refused.value)
    rows[3] += 1
    with pytest.raises(CacheError) as refused:
        caches.open(cached, teacher=TEACHER, dataset=data(rows))
    assert "other ids" not in str(refused.value)


def test_extending_with_changed_examples_is_refused_and_writes_nothing(tmp_path):
    build(tmp_path)
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    with pytest.raises(CacheError, match=r"3 of these 24 .*\n.*subset\(path, target, "):
        caches.extend(tmp_path, TEACHER, data(changed()), **OPTIONS)
    with pytest.raises(CacheError, match="dataset.examples: .*another content"):
        build(tmp_path, data(changed(16)))
    assert before == {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}


def test_what_changed_is_computed_anew_as_the_message_says(tmp_path):
    path, target = tmp_path / "before", tmp_path / "after"
    build(path, num_views=2)
    dataset = data(changed())
    kept = caches.subset(path, target, dataset=dataset)
    np.testing.assert_array_equal(kept.ids, np.delete(np.arange(16), [2, 5, 9]))
    caches.extend(target, TEACHER, dataset, **OPTIONS)
    cache = caches.open(target, teacher=TEACHER, dataset=dataset)
    check_records(cache, changed())
    # The data set before is refused now, though the contract was written for it.
    with pytest.raises(CacheError, match=r"3 of these 16 examples .*\[2, 5, 9\]"):
        caches.open(target, teacher=TEACHER, dataset=data())
    part = data().select([0, 1, 3])
    check_records(caches.open(target, teacher=TEACHER, dataset=part), ROWS, part.ids)


def test_views_are_added_for_the_examples_as_they_are(tmp_path):
    build(tmp_path)
    with pytest.raises(CacheError, match="3 of these 16 examples"):
        caches.extend(tmp_path, TEACHER, data(changed(16)), num_views=2, **OPTIONS)
    caches.extend(tmp_path, TEACHER, data(ROWS), num_views=2, **OPTIONS)
    check_records(caches.open(tmp_path, teacher=TEACHER, dataset=data(ROWS)), ROWS)


def test_a_build_that_was_cut_short_goes_on_with_the_same_examples_only(tmp_path):
    build(tmp_path)
    next(tmp_path.rglob("records/*/c/0/1/0")).unlink()
    next(tmp_path.rglob("seal.json")).unlink()
    with pytest.raises(CacheError, match="dataset.examples"):
        build(tmp_path, data(changed(16)))
    check_records(build(tmp_path), ROWS)


def test_views_that_mix_cannot_grow_and_say_why(tmp_path):
    views = Views((Mixup(3),))
    wide = np.zeros((16, 2, 2, 1), np.float32)
    teacher = jaxkd.from_function(
        lambda params, x: x.reshape(len(x), -1) @ params, np.ones((4, 3), np.float32)
    )
    pictures = [data(np.concatenate([wide, wide])[:n], np.zeros(n, int)) for n in (16, 20)]
    caches.build(tmp_path, teacher, pictures[0], views, **OPTIONS)
    with pytest.raises(CacheError, match="partners to mix with are sampled from all examples"):
        caches.extend(tmp_path, teacher, pictures[1], views, **OPTIONS)
    with pytest.raises(CacheError, match="views that mix examples, .* 1 are others"):
        part = pictures[0].select(np.arange(1, 16))
        caches.subset(tmp_path, tmp_path / "part", dataset=part)


def test_digests_by_example_are_computed_only_where_the_fingerprint_differs(cached, monkeypatch):
    def refuse(self, ids):
        raise AssertionError("nothing needs to be hashed by example")

    dataset = data()
    monkeypatch.setattr(Dataset, "example_digests", refuse)
    cache = caches.open(cached, teacher=TEACHER, dataset=dataset)
    Loader(dataset.select([1, 2]), Views(), 1, cache=cache)
    with pytest.raises(AssertionError, match="by example"):
        caches.open(cached, teacher=TEACHER, dataset=data(ROWS[:9]))


def test_filling_takes_a_grown_selection_and_refuses_what_changed(tmp_path):
    with caches.open(tmp_path, teacher=TEACHER, dataset=data(), mode="fill") as cache:
        Loader(data(ROWS[:12]), Views(), 4, cache=cache)[0]
        with pytest.raises(CacheError, match="dataset.examples"):
            Loader(data(changed(16)), Views(), 4, cache=cache)
        with pytest.raises(CacheError, match="dataset.labels"):
            Loader(data(labels=(LABELS[:16] + 1) % 3), Views(), 4, cache=cache)


def test_digests_that_are_damaged_are_reported_and_written_anew(tmp_path):
    build(tmp_path)
    (file,) = tmp_path.rglob("examples")
    content = file.read_bytes()
    assert len(content) == 16 * 16
    for damaged in (content[:-1], b"\0" * len(content), None):
        file.unlink(missing_ok=True)
        if damaged is not None:
            file.write_bytes(damaged)
        (damage,) = caches.verify(tmp_path)
        assert "/examples should have the digest sha256:" in damage.message
        with pytest.raises(CacheError, match=r"/examples should have the digest sha256:"):
            caches.open(tmp_path, teacher=TEACHER, dataset=data(ROWS[:9]))
        with pytest.raises(CacheError, match=r"/examples should have the digest sha256:"):
            build(tmp_path, data(changed(16)))
        build(tmp_path)
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    "names", [NAMES[::-1], ("cat", "owl", "dog"), ("cat", "dog", "newt")], ids=str
)
def test_other_classes_are_refused_whatever_their_labels(cached, names):
    renumbered = np.asarray([names.index(n) if n in names else -1 for n in NAMES])[LABELS[:16]]
    dataset = data(labels=renumbered, class_names=names)
    for use in (
        lambda: caches.open(cached, teacher=TEACHER, dataset=dataset),
        lambda: Loader(dataset, Views(), 4, cache=caches.Cache(cached)),
        lambda: build(cached, dataset),
        lambda: caches.extend(cached, TEACHER, dataset, num_views=2, **OPTIONS),
    ):
        with pytest.raises(CacheError, match=r'class_names: the cache has \["cat", "dog", "owl"\]'):
            use()
    allow = {"dataset.class_names", "dataset.labels"}
    caches.open(cached, teacher=TEACHER, dataset=dataset, allow=allow)


def test_names_that_are_not_known_are_compared_with_nothing(cached, tmp_path):
    caches.open(cached, teacher=TEACHER, dataset=data(class_names=()))
    build(tmp_path, data(class_names=()))
    caches.open(tmp_path, teacher=TEACHER, dataset=data())
    many = tuple(f"class number {index}" for index in range(300))
    named = {"num_classes": 300, "class_names": many}
    build(tmp_path / "many", data(**named))
    assert len(str(caches.Cache(tmp_path / "many").contract["dataset.class_names"])) < 100
    with pytest.raises(CacheError, match='dataset.class_names: the cache has "300 names, sha256:'):
        other = data(**named | {"class_names": many[::-1]})
        caches.open(tmp_path / "many", teacher=TEACHER, dataset=other)
    with pytest.raises(CacheError, match="dataset.num_classes: the cache has 3, this run has 4"):
        caches.open(cached, teacher=TEACHER, dataset=data(num_classes=4, class_names=()))


def test_other_labels_are_refused_unless_they_are_meant(cached):
    labels = LABELS[:16].copy()
    labels[[4, 7]] = (labels[[4, 7]] + 1) % 3
    message = (
        r"dataset.labels: .* 2 of these 16 examples, ids \[4, 7\] first: \[1, 1\] there, "
        r"\[2, 2\] in this run\n.*allow=\{\"dataset.labels\"\}"
    )
    noisy = data(labels=labels)
    with pytest.raises(CacheError, match=message):
        caches.open(cached, teacher=TEACHER, dataset=noisy)
    with pytest.raises(CacheError, match="1 of these 7 examples"):
        caches.open(cached, teacher=TEACHER, dataset=noisy.select(np.arange(7)))
    with pytest.raises(CacheError, match="dataset.labels"):
        build(cached, noisy)
    cache = caches.open(cached, teacher=TEACHER, dataset=noisy, allow={"dataset.labels"})
    assert Loader(cache=cache, batch_size=16)[0]["labels"].sum() == labels.sum()
    # Few labels, or those of a part: -1 contradicts nothing.
    caches.open(cached, teacher=TEACHER, dataset=data().with_labels([1, 2]))


def test_labels_that_a_record_holds_cannot_be_allowed_to_differ(tmp_path):
    path, target = tmp_path / "before", tmp_path / "after"
    codec = TopK(2, label=True)
    build(path, codec=codec)
    labels = LABELS[:16].copy()
    labels[4] = 0
    noisy = data(labels=labels)
    for allow in ((), {"dataset.labels"}):
        with pytest.raises(CacheError, match="stored the class of each label, so labels cannot"):
            caches.open(path, teacher=TEACHER, dataset=noisy, allow=allow)
    caches.open(path, teacher=TEACHER, dataset=data().with_labels([1, 2]))
    assert 4 not in caches.subset(path, target, dataset=noisy).ids
    caches.extend(target, TEACHER, noisy, **OPTIONS)
    caches.open(target, teacher=TEACHER, dataset=noisy)


def test_sizes_that_are_numbers_of_numpy_are_written_as_numbers(tmp_path):
    options = {"num_views": np.int64(2), "codec": TopK(np.int64(2)), "block_size": np.int64(8)}
    numbers = data(num_classes=np.int64(3), class_names=np.asarray(NAMES))
    build(tmp_path, numbers, **options)
    assert caches.verify(tmp_path) == []
    build(tmp_path, num_views=2, codec=TopK(2))
    caches.open(tmp_path, teacher=TEACHER, dataset=numbers)


def test_fingerprints_that_are_empty_are_refused(tmp_path):
    class Nameless(Dataset):
        fingerprint = ""

    nameless = Nameless.from_arrays(ROWS, name="a", split="train", num_classes=3)
    with pytest.raises(ValueError, match="fingerprint of the data set a is empty"):
        build(tmp_path, nameless)
    for empty in ("", None):
        teacher = {"name": "resnet", "sha256": empty}
        with pytest.raises(ValueError, match=r"has nothing for \['sha256'\]"):
            caches.Writer(tmp_path, teacher, data(), shapes={"logits": (3,)})


def test_labels_of_tokens(tmp_path):
    tokens = np.arange(24).reshape(6, 4) % 7
    named = {"name": "t", "split": "train", "vocab_size": 7, "tokenizer": "t"}
    rows = Sequences.from_arrays(tokens, **named)
    table = jaxkd.from_function(lambda params, x: params[x[..., 0]], 2 * jnp.eye(7))
    caches.build(tmp_path, table, rows, **OPTIONS)
    caches.open(tmp_path, teacher=table, dataset=rows.select([1, 4]))
    labels = rows.labels.copy()
    labels[1, 0] = -1  # a token, or a whole row, without a label contradicts nothing
    labels[5] = -1
    masked = Sequences.from_arrays(tokens, labels=labels, **named)
    caches.open(tmp_path, teacher=table, dataset=masked)
    labels[2, 0] = (labels[2, 0] + 1) % 7
    other = Sequences.from_arrays(tokens, labels=labels, **named)
    with pytest.raises(CacheError, match=r"labels of 1 of these 6 examples, ids \[2\] first\n"):
        caches.open(tmp_path, teacher=table, dataset=other)
    classes = Sequences.from_arrays(tokens, labels=np.arange(6), num_classes=7, **named)
    caches.open(tmp_path, teacher=table, dataset=classes)


def test_parts_of_one_data_set_as_it_grew_are_merged(tmp_path):
    ids = np.arange(24)
    build(tmp_path / "a", data(ROWS[:16]))
    build(tmp_path / "b", data(ROWS).select(ids[16:]))
    cache = caches.merge(tmp_path / "whole", [tmp_path / "a", tmp_path / "b"])
    check_records(cache, ROWS)
    caches.open(tmp_path / "whole", teacher=TEACHER, dataset=data(ROWS))


def test_views_of_other_contents_are_not_merged(tmp_path):
    build(tmp_path / "a", data(), num_views=1)
    build(tmp_path / "b", data(changed(16)), num_views=2)
    view = caches.Cache(tmp_path / "b")
    segment = view.segments[0]
    assert segment.first_view == 0
    with pytest.raises(CacheError, match="examples"):
        caches.merge(tmp_path / "whole", [tmp_path / "a", tmp_path / "b"])


def test_a_cache_without_digests_knows_its_data_set_as_a_whole(tmp_path):
    """As one of format 2, or converted from it."""
    cache = build(tmp_path)
    for segment in cache.segments:
        object.__setattr__(segment, "content", None)
    cache.check(dataset=data())
    with pytest.raises(CacheError, match="dataset.fingerprint: the cache has"):
        cache.check(dataset=data(ROWS[:9]))
    cache.check(dataset=data(ROWS[:9]), allow={"dataset.fingerprint"})


def test_teachers_of_classes_in_another_order_are_not_combined(cached, tmp_path):
    turned = build(tmp_path / "turned", data(class_names=NAMES[::-1]))
    nameless = build(tmp_path / "nameless", data(class_names=()))
    one = caches.Cache(cached)
    EnsembleCache({"a": one, "b": nameless})
    with pytest.raises(ValueError, match=r"classes in another order .*\['owl', 'dog', 'cat'\]"):
        EnsembleCache({"a": one, "b": turned, "c": nameless})


def test_statistics_are_of_the_cache_s_own_examples(cached):
    cache = caches.Cache(cached)
    noisy = data(labels=(LABELS[:16] + 1) % 3)
    assert caches.stats(cache, noisy).accuracy != caches.stats(cache, data(ROWS)).accuracy
    with pytest.raises(CacheError, match="dataset.examples"):
        caches.stats(cache, data(changed(16)))


def test_rows_that_were_aligned_may_be_fewer_and_not_others(tmp_path):
    texts = [Texts.from_texts(some, name="t", split="train") for some in (["ab", "cd"], ["ab"])]
    rows, fewer = (some.padded(Tokenizer.bytes(), 4) for some in texts)
    table = jaxkd.from_function(lambda params, x: params[x[..., 0]], 2 * jnp.eye(257))
    aligned = AlignedCache(caches.build(tmp_path, table, rows, **OPTIONS), rows, rows)
    aligned.check(dataset=fewer, views=Views())
    other = Texts.from_texts(["ax"], name="t", split="train").padded(Tokenizer.bytes(), 4)
    with pytest.raises(CacheError, match="dataset.fingerprint: .*\n.*"):
        aligned.check(dataset=other, views=Views())
