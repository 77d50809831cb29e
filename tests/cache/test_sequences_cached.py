"""Caches of rows of tokens: contract, padding, vocabularies of any size, another tokenizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import cache as caches
from jaxkd import losses, models
from jaxkd.cache import AlignedCache, CacheError, EnsembleCache, Writer
from jaxkd.data import GrainSource, Loader, Sequences, Texts, Tokenizer, pack
from jaxkd.networks import valid_classes
from jaxkd.targets import Dense, Sampled, TopK, TopP
from jaxkd.training import fit
from jaxkd.views import Views

VOCABULARY = 30
TEXTS = Texts.from_texts(
    ["the cat sat on the mat", "a café in the night", "the night, the mat, the cat"] * 3,
    name="texts",
    split="train",
)


def tokens(**changes):
    """Nine rows of eight tokens, the last one half empty."""
    generator = np.random.default_rng(0)
    documents = [generator.integers(1, VOCABULARY, n) for n in (20, 7, 31, 10)]
    named = {"name": "rows", "split": "train", "vocab_size": VOCABULARY, "tokenizer": "sha256:a"}
    return Sequences.from_packed(pack(documents, 8), **named | changes)


def bigrams(seed=0, size=VOCABULARY, vocabulary=VOCABULARY, params=None):
    """Logits that depend on the last token alone."""
    if params is None:
        params = jax.random.normal(jax.random.key(seed), (vocabulary, size))

    def apply(params, inputs):
        return params[inputs[..., 0]]

    return jaxkd.from_function(apply, params)


def build(path, teacher, rows, **options):
    return caches.build(path, teacher, rows, **{"batch_size": 4, "progress": False} | options)


def trained(student, rows, cache, steps=40, loss=losses.kl_divergence, **named):
    """Loss at the first and at the last step."""
    objective = jaxkd.Objective(kd=jaxkd.Term(loss, **named))
    optimizer = optax.adam(0.1)
    step = jaxkd.make_train_step(student, objective, optimizer)
    state = step.init()
    loader = Loader(rows, Views(), 4, cache=cache)
    found = []
    for index in range(steps):
        state, metrics = step(state, loader[index])
        found.append(float(metrics["loss"]))
    return found[0], found[-1], state


WRONG = {
    "another tokenizer": (
        {"tokenizer": "sha256:b"},
        'dataset.tokenizer: the cache has "sha256:a", this run has "sha256:b"',
    ),
    "another vocabulary": (
        {"vocab_size": VOCABULARY + 2},
        "dataset.vocabulary: the cache has 30, this run has 32",
    ),
    "another name": ({"name": "x"}, 'dataset.name: the cache has "rows", this run has "x"'),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_tokenizer_or_vocabulary_is_refused_by_name(tmp_path, case):
    rows = tokens()
    cache = build(tmp_path, bigrams(), rows)
    changes, message = WRONG[case]
    other = tokens(**changes)
    with pytest.raises(CacheError, match=message) as error:
        caches.open(tmp_path, teacher=bigrams(), dataset=other)
    assert str(error.value).count("the cache has") == 1
    with pytest.raises(CacheError, match=message):
        Loader(other, Views(), 4, cache=cache)
    with pytest.raises(CacheError, match=message):
        build(tmp_path, bigrams(), other)
    caches.open(tmp_path, teacher=bigrams(), dataset=rows)


def test_byte_offsets_are_in_the_contract(tmp_path):
    rows = tokens()
    offsets = np.zeros((*rows.tokens.shape, 2), int)
    known = Sequences.from_arrays(
        rows.tokens, rows.documents, rows.labels, offsets=offsets, name="rows", split="train",
        vocab_size=VOCABULARY, tokenizer="sha256:a",
    )  # fmt: skip
    cache = build(tmp_path, bigrams(), rows)
    assert cache.contract["dataset.offsets"] is False
    with pytest.raises(CacheError, match="dataset.offsets: the cache has false, this run has true"):
        caches.open(tmp_path, teacher=bigrams(), dataset=known)


def test_labels_may_be_others(tmp_path):
    rows = tokens()
    cache = build(tmp_path, bigrams(), rows)
    masked = Sequences.from_arrays(
        rows.tokens, rows.documents, np.where(rows.labels > 9, rows.labels, -1), name="rows",
        split="train", vocab_size=VOCABULARY, tokenizer="sha256:a",
    )  # fmt: skip
    batch = Loader(masked, Views(), 4, cache=cache)[0]
    assert batch["where"].sum() < (batch["inputs"][..., 1] > 0).sum()


@few(
    "codec",
    [
        TopK(4, temperatures=(1.0, 2.0)),
        Sampled(5),
        Dense("bfloat16"),
        TopK(4, label=True, values="int8"),
        TopP(0.9, cap=6),
    ],
    keep=2,
    ids=str,
)
def test_every_codec_keeps_tokens(tmp_path, codec):
    rows, teacher = tokens(), bigrams()
    predicted = caches.forecast(teacher, rows, codec=codec, student=teacher)
    cache = build(tmp_path, teacher, rows, codec=codec)
    assert predicted.bytes == cache.bytes and predicted.records == len(rows)
    assert cache.shapes["logits"] == (8, VOCABULARY)
    assert caches.verify(tmp_path) == []
    again = caches.spot_check(cache, teacher, rows, Views(), records=16)
    assert again.max_difference["logits"] < 1e-2 and again.changed_predictions == 0
    element = GrainSource(rows, cache=cache)[3]
    assert all(array.shape[0] == 8 for array in element["teacher"].arrays["logits"].values())
    student = bigrams(params=jnp.zeros((VOCABULARY, VOCABULARY)))
    first, last, _ = trained(student, rows, cache)
    assert last < first / 3
    if getattr(codec, "label", False):
        encoded = cache.read(rows.ids, 0).decode()["logits"].indices
        there = (np.asarray(encoded) == rows.labels[..., None]).any(-1)
        assert there[rows.labels >= 0].all()


def test_samples_of_a_token_are_a_function_of_id_and_view(tmp_path):
    rows, teacher = tokens(), bigrams()
    one = build(tmp_path / "one", teacher, rows, codec=Sampled(3), num_views=2)
    two = build(
        tmp_path / "two", teacher, rows.select(rows.ids[::-2]), codec=Sampled(3), num_views=2,
        batch_size=3,
    )  # fmt: skip
    a, b = (c.read(two.ids, 1).decode()["logits"].indices for c in (one, two))
    np.testing.assert_array_equal(a, b)
    other = one.read(two.ids, 0).decode()["logits"].indices
    assert (np.asarray(a) != np.asarray(other)).any()
    # Equal tokens of one row are sampled independently.
    same = Sequences.from_arrays(
        np.ones((1, 64), int), name="ones", split="s", vocab_size=VOCABULARY, tokenizer="t"
    )
    sampled = build(tmp_path / "same", teacher, same, codec=Sampled(3)).read(same.ids, 0)
    assert len(np.unique(np.asarray(sampled.decode()["logits"].indices)[0], axis=0)) > 5


def test_a_teachers_outputs_for_padding_are_stored_as_zeros(tmp_path):
    """A row of padding often attends to nothing, whose softmax is not a number."""
    rows = tokens()

    def apply(params, inputs):
        logits = params[inputs[..., 0]]
        return jnp.where(inputs[..., 1:] > 0, logits, jnp.nan)

    teacher = jaxkd.from_function(apply, bigrams().params)
    expected = np.asarray(bigrams().params)[rows.tokens] * (rows.documents > 0)[..., None]
    cache = build(tmp_path / "built", teacher, rows)
    with Writer(tmp_path / "w", {"name": "t"}, rows, shapes={"logits": (8, VOCABULARY)}) as writer:
        for ids, view in writer.missing(batch_size=4):
            writer.write(ids, view, np.asarray(teacher(rows.read(ids))["logits"]))
    own = {"teacher": teacher, "dataset": rows, "views": Views()}
    with caches.open(tmp_path / "fill", **own, mode="fill") as writing:
        for source in (cache, writer.cache(), writing):
            found = source.read(rows.ids, 0).decode()["logits"]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    # Outputs that are not finite at other tokens are still refused.
    broken = jaxkd.from_function(
        lambda params, inputs: jnp.where(inputs[..., :1] == rows.tokens[0, 0], jnp.nan, params[0]),
        bigrams().params,
    )
    with pytest.raises(CacheError, match="they are not finite"):
        build(tmp_path / "broken", broken, rows)


PADDED, OWN = 36, 33  # the teacher's logits, and those of another padding


@few("codec", [TopK(4), Dense(), Sampled(4)], ids=str)
def test_a_padded_vocabulary_works_both_ways(tmp_path, codec):
    rows = tokens()
    teacher = bigrams(size=PADDED)
    # Whatever stands in the padding must not be seen.
    loud = teacher.replace(params=teacher.params.at[:, VOCABULARY:].set(1e4), state=teacher.state)
    cache = build(tmp_path, loud, rows, codec=codec, valid_classes=VOCABULARY)
    assert (cache.contract["num_classes"], cache.contract["num_logits"]) == (VOCABULARY, PADDED)
    results = []
    for size in (VOCABULARY, OWN):
        student = bigrams(params=jnp.zeros((VOCABULARY, size)))
        if size > VOCABULARY:
            with pytest.raises(ValueError, match=r"33 .*30.*a padded vocabulary is cut by jaxkd"):
                trained(student, rows, cache, steps=1)
            student = valid_classes(student, VOCABULARY)
        first, last, state = trained(student, rows, cache)
        assert last < first / 3
        assert (np.asarray(state.params["student"])[:, VOCABULARY:] == 0).all()
        results.append(last)
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    # One that pads nothing is the teacher's own vocabulary, a smaller one is another.
    small = bigrams(params=jnp.zeros((VOCABULARY, 28)))
    with pytest.raises(ValueError, match=r"28 .*30"):
        trained(small, rows, cache, steps=1)
    with pytest.raises(ValueError, match="30 valid classes, the logits of .* are 28"):
        trained(valid_classes(small, VOCABULARY), rows, cache, steps=1)


def test_networks_without_embeddings_for_all_tokens_are_refused(tmp_path):
    """Before any work: an embedding that is not there is NaN."""
    rows = tokens()
    small = jaxkd.from_nnx(models.Encoder(28, 8, 1, 2, rngs=nnx.Rngs(0)))
    batch = jnp.asarray(rows.read(rows.ids))
    assert (small(batch)["logits"].shape, small.vocab_size) == ((len(rows), 8), 28)
    assert jnp.isnan(small(batch)["logits"]).any()
    message = "the {} has embeddings for 28 tokens, the data set rows has 30 tokens in its vocab"
    with pytest.raises(ValueError, match=message.format("teacher")):
        build(tmp_path / "cache", valid_classes(small, 8), rows)
    assert not (tmp_path / "cache").exists()
    objective = jaxkd.Objective(kd=jaxkd.Term(losses.kl_divergence))
    for student, teacher, role in ((small, bigrams(), "student"), (bigrams(), small, "teacher")):
        step = jaxkd.make_train_step(student, objective, optax.sgd(0.1), teacher=teacher)
        state = step.init()
        with pytest.raises(ValueError, match=message.format(role)):
            fit(step, state, Loader(rows, Views(), 4), steps=1, log_every=1, progress=None)


def test_a_student_of_fewer_tokens_is_refused_before_it_trains(tmp_path):
    rows = tokens()
    cache = build(tmp_path, bigrams(), rows)
    student = bigrams(params=jnp.zeros((VOCABULARY, 28)))
    objective = jaxkd.Objective(label=jaxkd.Term(losses.cross_entropy))
    step = jaxkd.make_train_step(student, objective, optax.sgd(0.1))
    state = step.init()
    with pytest.raises(
        ValueError, match="28 classes, the data set rows has 30 tokens in its vocab"
    ):
        fit(step, state, Loader(rows, Views(), 4, cache=cache), steps=2)
    with pytest.raises(CacheError, match="num_classes: the cache has 30, this run has 28"):
        caches.open(tmp_path, teacher=bigrams(), dataset=rows, num_classes=28)


@pytest.mark.parametrize("codec", [TopK(4), Sampled(4)], ids=str)
def test_ids_are_wide_enough_for_any_vocabulary(tmp_path, codec):
    """151,936 tokens of 152,064 logits, whose ids take 18 bits."""
    valid, padded = 151_936, 152_064
    rows = Sequences.from_arrays(
        [[5, 6, 0]], [[1, 1, 0]], name="wide", split="s", vocab_size=valid, tokenizer="t"
    )
    likely = np.array([151_935, 131_072, 65_536, 7])

    def apply(params, inputs):
        logits = jnp.full((*inputs.shape[:2], padded), -30.0) + params
        return logits.at[..., likely].set(jnp.arange(4.0, 0, -1)).at[..., valid:].set(50.0)

    teacher = jaxkd.from_function(apply, jnp.zeros(()))
    cache = build(tmp_path, teacher, rows, codec=codec, valid_classes=valid, batch_size=1)
    encoded = np.asarray(cache.read(rows.ids, 0).decode()["logits"].indices)[0, :2]
    if isinstance(codec, TopK):
        np.testing.assert_array_equal(encoded, [likely, likely])
    assert set(encoded.ravel()) <= set(likely) and {151_935, 131_072} <= set(encoded.ravel())
    assert cache.bytes_per_record < 3 * (9 + 8 + 4 + 4)


def test_statistics_are_over_tokens(tmp_path):
    rows = tokens()
    perfect = np.full((len(rows), 8, VOCABULARY), -30.0, np.float32)
    np.put_along_axis(perfect, np.maximum(rows.labels, 0)[..., None], 0.0, axis=-1)
    with Writer(tmp_path, {"name": "t"}, rows, shapes={"logits": (8, VOCABULARY)}) as writer:
        writer.write(rows.ids, 0, perfect)
    found = caches.stats(writer.cache(), rows)
    assert found.records == (rows.labels >= 0).sum() and found.accuracy == 1.0
    assert found.confidence == pytest.approx(1, abs=1e-6) and found.entropy < 1e-6
    # Without labels, padding counts: its logits of zero are sure of nothing.
    assert caches.stats(writer.cache()).records == rows.tokens.size
    assert caches.stats(writer.cache()).confidence < 1


def test_several_teachers_of_one_vocabulary(tmp_path):
    rows = tokens()
    made = {str(s): build(tmp_path / str(s), bigrams(s), rows) for s in (1, 2)}
    joined = EnsembleCache(made)
    joined.check(dataset=rows, views=Views())
    combined = joined.read(rows.ids, 0).decode()["logits"]
    parts = [jax.nn.softmax(c.read(rows.ids, 0).decode()["logits"]) for c in made.values()]
    np.testing.assert_allclose(jnp.exp(combined), sum(parts) / 2, atol=1e-6)
    made["3"] = build(tmp_path / "3", bigrams(3), rows, valid_classes=20)
    with pytest.raises(ValueError, match="different classes"):
        EnsembleCache(made)


def test_a_block_and_a_chunk_hold_few_large_records(tmp_path):
    """A record of 64 × 8,192 float32 is 2 MB: none waits in memory with 8,191 others."""
    rows = Sequences.from_arrays(
        np.ones((300, 64), int), name="large", split="s", vocab_size=8192, tokenizer="t"
    )
    writer = Writer(tmp_path, {"name": "t"}, rows, shapes={"logits": (64, 8192)})
    segment = writer.plan.segments[0]
    assert segment.block_size == 128
    layout = segment._open(create=True)["logits.values"].chunk_layout
    assert layout.read_chunk.shape[1] == 1 and layout.write_chunk.shape[1] == 128
    small = Writer(tmp_path / "small", {"name": "t"}, rows, shapes={"logits": (64, 2)})
    assert small.plan.segments[0].block_size == 512


def test_chunks_of_older_caches_are_read(tmp_path, monkeypatch):
    """Before, a chunk held 256 records of any size."""
    rows, teacher = tokens(), bigrams()
    with monkeypatch.context() as patch:
        patch.setattr("jaxkd.cache._store._CHUNK_BYTES", 1 << 40)
        build(tmp_path, teacher, rows, block_size=256)
    monkeypatch.setattr("jaxkd.cache._store._CHUNK_BYTES", 4096)
    cache = caches.open(tmp_path, teacher=teacher, dataset=rows)
    found = cache.read(rows.ids, 0).decode()["logits"][..., 0]
    there = rows.documents > 0
    np.testing.assert_allclose(found[there], teacher.params[rows.tokens[there], 0])
    build(tmp_path, teacher, rows, block_size=256)


def chunk_loss(student, teacher, *, where=None):
    """The universal loss of two tokenizers, a mean over chunks."""
    del where  # padding is in no chunk
    logits, labels, chunks, own_labels, own_chunks = teacher
    count = min(chunks.shape[1], own_chunks.shape[1])
    q, there = losses.chunk_log_probs(student, own_labels, own_chunks, num_chunks=count)
    p, also = losses.chunk_log_probs(logits, labels, chunks, num_chunks=count)
    values = losses.uld_from_log_probs(q, p, where=there & also)
    return jnp.sum(values) / jnp.maximum(jnp.sum(there & also), 1)


def test_a_teacher_of_another_tokenizer(tmp_path):
    """The whole way: cached with BPE, aligned by bytes, a student of bytes trained on chunks."""
    pytest.importorskip("tokenizers")
    theirs, ours = Tokenizer.train(TEXTS.texts, 280), Tokenizer.bytes()
    teacher_rows, student_rows = TEXTS.padded(theirs, 16), TEXTS.padded(ours, 32)
    size = theirs.vocab_size
    counts = np.full((size, size), 0.01)
    labels = teacher_rows.labels
    np.add.at(counts, (teacher_rows.tokens[labels >= 0], labels[labels >= 0]), 1)
    teacher = bigrams(params=jnp.asarray(np.log(counts), jnp.float32))
    cache = build(tmp_path, teacher, teacher_rows)
    aligned = AlignedCache(cache, student_rows, teacher_rows)
    outputs = aligned.read(student_rows.ids, 0).decode()
    assert (outputs["chunks"].max(axis=1) == outputs["student_chunks"].max(axis=1)).all()
    # The bytes of each chunk are the same on both sides.
    for row, text in enumerate(TEXTS.texts):
        for chunk in range(outputs["chunks"][row].max() + 1):
            parts = [
                b"".join(tokenizer.pieces[label] or b"" for label in own[at == chunk])
                for tokenizer, own, at in (
                    (theirs, outputs["labels"][row], outputs["chunks"][row]),
                    (ours, outputs["student_labels"][row], outputs["student_chunks"][row]),
                )
            ]
            assert parts[0] == parts[1] and parts[0] in text.encode()
    student = bigrams(params=jnp.zeros((ours.vocab_size, ours.vocab_size)))
    outputs = ("logits", "labels", "chunks", "student_labels", "student_chunks")
    first, last, state = trained(
        student, student_rows, aligned, steps=60, loss=chunk_loss, teacher=outputs
    )
    assert np.isfinite(first) and last < 0.75 * first
    assert np.isfinite(np.asarray(state.params["student"])).all()
    with pytest.raises(CacheError, match="dataset.tokenizer"):
        Loader(teacher_rows, Views(), 4, cache=aligned)
    with pytest.raises(CacheError, match="dataset.tokenizer"):
        AlignedCache(cache, teacher_rows, student_rows)
