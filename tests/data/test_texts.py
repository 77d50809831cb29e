"""Texts: splits and formats, folders of files, tensorflow-datasets."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxkd
from jaxkd import recipes
from jaxkd.data import Loader, Texts, Tokenizer, plain, split_labels
from jaxkd.views import Views


def texts(n=200):
    return Texts.from_texts(
        [f"text {i // 2}" for i in range(n)], [i // 2 % 4 for i in range(n)], name="t",
        split="all", num_classes=4,
    )  # fmt: skip


def test_a_split_is_stratified_and_stable_and_parts_no_equal_texts():
    everything = texts()
    train, test = everything.held_out(0.2)
    assert (train.split, test.split) == ("train", "test")
    assert len(train) + len(test) == 200 and not set(train.texts) & set(test.texts)
    assert np.bincount(test.labels).tolist() == [10, 10, 10, 10]
    # Order and ids make no difference, the seed does.
    turned = Texts.from_texts(
        everything.texts[::-1], everything.labels[::-1], ids=1000 + np.arange(200), name="t",
        split="all", num_classes=4,
    )  # fmt: skip
    assert set(turned.held_out(0.2)[1].texts) == set(test.texts)
    assert set(everything.held_out(0.2, seed=1)[1].texts) != set(test.texts)
    # Equal texts of two classes stand on one side, too.
    doubled = Texts.from_texts(
        [*everything.texts, *everything.texts[:100:2]],
        [*everything.labels, *(everything.labels[:100:2] + 1) % 4],
        name="t", split="all", num_classes=4,
    )  # fmt: skip
    train, test = doubled.held_out(0.2)
    assert len(test) and not set(train.texts) & set(test.texts)
    with pytest.raises(ValueError, match=r"test_fraction must be in \(0, 1\), got 1"):
        everything.held_out(1)


def test_texts_are_sorted_by_id_and_checked():
    made = Texts.from_texts(["b", "a"], [1, 0], ids=[7, 3], name="t", split="s", num_classes=2)
    assert made.texts == ("a", "b") and made.labels.tolist() == [0, 1]
    with pytest.raises(TypeError, match="text 1 must be a string, got bytes"):
        Texts.from_texts(["a", b"b"], name="t", split="s")
    with pytest.raises(ValueError, match="labels need num_classes"):
        Texts.from_texts(["a"], [0], name="t", split="s")
    with pytest.raises(ValueError, match="Every id must be unique"):
        Texts.from_texts(["a", "b"], ids=[1, 1], name="t", split="s")
    with pytest.raises(ValueError, match="t has no classes: labels='next' or"):
        Texts.from_texts(["a"], name="t", split="s").padded(Tokenizer.bytes(), 4, labels="class")
    with pytest.raises(ValueError, match="labels must be 'next', 'class' or None, got 'all'"):
        made.padded(Tokenizer.bytes(), 4, labels="all")


def test_rows_without_labels_are_of_whole_texts():
    """With or without classes, a loss on embeddings counts each row once."""
    for classes in (texts(4), Texts.from_texts(["a", "bc", "d", ""], name="t", split="s")):
        rows = classes.padded(Tokenizer.bytes(), 7, labels=None)
        assert rows.labels.tolist() == [-1] * 4 and rows.num_classes is None
        assert not rows.of_tokens and "4 rows of 7 tokens of 257, 0 labeled" in repr(rows)
        batch = Loader(rows, Views(), 2)[0]
        assert set(batch) == {"id", "view", "inputs", "labels"}
        step = jaxkd.make_train_step(
            student := jaxkd.from_function(_embed, jnp.ones((257, 3))),
            recipes.embedding_kd(recipes.Pair(student, student, batch["inputs"])),
            optax.sgd(0.1),
            teacher=student,
        )
        _, metrics = jax.eval_shape(step.function, step.frozen, step.init(), dict(batch))
        assert {"embedding_kd", "relation"} < set(metrics)
    with pytest.raises(ValueError, match="split_labels needs one class .* no classes"):
        split_labels(rows, 1, 0)


def _embed(table, rows):
    mask = rows[..., 1:] > 0
    total = jnp.sum(jnp.where(mask, table[rows[..., 0]], 0), axis=1)
    return {"embedding": total / jnp.maximum(jnp.sum(mask, axis=1), 1)}


def test_rows_of_texts_name_their_tokenizer():
    made = texts(4)
    tokenizer = Tokenizer.bytes()
    packed, padded = made.packed(tokenizer, 6), made.padded(tokenizer, 7, labels="class")
    assert packed.tokenizer == padded.tokenizer == tokenizer.fingerprint
    assert packed.num_classes == packed.vocab_size == 257 and padded.num_classes == 4
    assert tokenizer.decode(packed.tokens.ravel()[: 4 * 7]) == "".join(made.texts)
    assert padded.labels.tolist() == made.labels.tolist()
    assert padded.tokens[0].tolist() == [*b"text 0", 256]
    assert padded.offsets[0].tolist() == [[i, i + 1] for i in range(6)] + [[6, 6]]


def test_plain_files_are_texts(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("first\r\nline", newline="", encoding="utf-8")
    (tmp_path / "a.txt").write_text("é", encoding="utf-8")
    (tmp_path / "a.md").write_text("not this", encoding="utf-8")
    made = plain.load(tmp_path, split="train", name="own")
    assert made.texts == ("é", "first\r\nline") and made.ids.tolist() == [0, 1]
    assert plain.load(tmp_path, split="train", pattern="*.md").texts == ("not this",)
    with pytest.raises(FileNotFoundError, match=r"there is no file \*.rst"):
        plain.load(tmp_path, split="train", pattern="*.rst")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="c.txt is not UTF-8"):
        plain.load(tmp_path, split="train")


def test_texts_of_tensorflow_datasets(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Reviews(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["bad", "good"]),
                "stars": np.int64,
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {
                "train": ((i, {"text": f"é {i}", "label": i % 2, "stars": i}) for i in range(6))
            }

        def _generate_examples(self):
            raise NotImplementedError

    builder = Reviews(data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    made = plain.from_tfds("reviews", "train", data_dir=tmp_path, label="label")
    assert sorted(made.texts) == [f"é {i}" for i in range(6)] and made.version == "1.0.0"
    assert all(int(t[2:]) % 2 == k for t, k in zip(made.texts, made.labels, strict=True))
    assert made.class_names == ("bad", "good")
    assert plain.from_tfds("reviews", "train", data_dir=tmp_path).num_classes == 0
    with pytest.raises(ValueError, match="reviews has no split 'test'"):
        plain.from_tfds("reviews", "test", data_dir=tmp_path)
    with pytest.raises(ValueError, match="reviews has no 'body'"):
        plain.from_tfds("reviews", "train", data_dir=tmp_path, text="body")
    with pytest.raises(ValueError, match="'stars' of reviews must be a class"):
        plain.from_tfds("reviews", "train", data_dir=tmp_path, label="stars")
