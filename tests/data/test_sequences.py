"""Rows of tokens as a data set: checks, batches with what counts, fingerprints, selections."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxkd
from jaxkd.data import GrainSource, Loader, Sequences, eval_batches, pack, split_labels
from jaxkd.losses import masked_mean
from jaxkd.training import evaluate, make_eval_step
from jaxkd.views import Mixup, Views

NAMED = {"name": "rows", "split": "train", "vocab_size": 20, "tokenizer": "by hand"}


def rows(**changes):
    """Three rows of four, the last one with a single token."""
    documents = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    return Sequences.from_packed(pack(documents, 4), **NAMED | changes)


def test_reading_gives_tokens_and_documents():
    found = rows()
    assert found.shape == (4, 2) and found.num_classes == found.vocab_size == 20
    inputs = found.read([2, 0])
    assert inputs.dtype == np.int32
    assert inputs.tolist() == [
        [[13, 1], [0, 0], [0, 0], [0, 0]],
        [[5, 1], [6, 1], [7, 1], [8, 2]],
    ]
    assert found.token_mask([2])[0].tolist() == [True, False, False, False]
    assert found.labels.tolist() == [[6, 7, -1, 9], [-1, 11, 12, 13], [-1, -1, -1, -1]]
    with pytest.raises(ValueError, match="read-only"):
        found.tokens[0, 0] = 1


def test_next_tokens_are_found_if_not_given():
    packed = pack([[5, 6, 7], [8, 9]], 6)
    made = Sequences.from_arrays(packed.tokens, packed.documents, **NAMED)
    np.testing.assert_array_equal(made.labels, packed.labels)
    whole = Sequences.from_arrays([[1, 2, 3]], **NAMED)
    assert whole.labels.tolist() == [[2, 3, -1]] and whole.documents.tolist() == [[1, 1, 1]]


def test_rows_are_sorted_by_id_and_found_by_it():
    made = Sequences.from_arrays([[1, 2], [3, 4]], ids=[9, 4], offsets=[[[0, 1]] * 2] * 2, **NAMED)
    assert made.ids.tolist() == [4, 9] and made.tokens.tolist() == [[3, 4], [1, 2]]
    assert made.read([9])[0, :, 0].tolist() == [1, 2]
    part = made.select([9])
    assert part.offsets.shape == (1, 2, 2) and part.fingerprint == made.fingerprint
    with pytest.raises(KeyError, match="1 of 1 ids are not in rows train"):
        made.read([5])


def test_a_fingerprint_names_what_a_teacher_sees():
    made = rows()
    assert made.fingerprint == rows(name="other", split="test").fingerprint
    packed = pack([[5, 6, 7], [8, 9], [10, 11, 12, 13]], 4)
    same = Sequences.from_packed(packed, labels=[0, 1, 0], num_classes=2, **NAMED)
    assert same.fingerprint == made.fingerprint
    others = [
        Sequences.from_arrays(packed.tokens, np.maximum(packed.documents, 1), **NAMED),
        Sequences.from_arrays(packed.tokens % 9, packed.documents, **NAMED),
        Sequences.from_arrays(packed.tokens, packed.documents, ids=[0, 1, 5], **NAMED),
        Sequences.from_arrays(
            packed.tokens, packed.documents, offsets=np.zeros((3, 4, 2), int), **NAMED
        ),
    ]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_batches_say_which_tokens_count():
    made = rows()
    batch = Loader(made, Views(), 3)[0]
    assert batch["inputs"].shape == (3, 4, 2) and batch["labels"].shape == (3, 4)
    np.testing.assert_array_equal(batch["where"], batch["labels"] >= 0)
    element = GrainSource(made)[1]
    assert element["where"].tolist() == [False, True, True, True]


def test_the_last_batch_is_filled_up_with_what_does_not_count():
    made = rows()
    first, last = eval_batches(made, 2)
    np.testing.assert_array_equal(first["where"], made.labels[:2] >= 0)
    assert last["id"].tolist() == [2, 0]
    assert not last["where"].any()  # a row of one token, and padding that has labels
    assert (last["labels"][1] >= 0).any()
    classes = rows(labels=[1, 0, 1], num_classes=2)
    assert [b["where"].tolist() for b in eval_batches(classes, 2)] == [[True, True], [True, False]]


def test_evaluation_is_over_tokens_whatever_the_batch():
    made = rows()
    table = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    network = jaxkd.from_function(lambda params, inputs: params[inputs[..., 0]], jnp.asarray(table))
    step = make_eval_step(network)
    found = [
        evaluate(step, network.params, network.state, eval_batches(made, size))
        for size in (1, 2, 3)
    ]
    counted = made.labels >= 0
    logits = table[made.tokens]
    log_z = np.log(np.exp(logits).sum(-1))
    own = np.take_along_axis(logits, np.maximum(made.labels, 0)[..., None], -1)[..., 0]
    wanted = (log_z - own)[counted].mean()
    for result in found:
        assert result["cross_entropy"] == pytest.approx(wanted, rel=1e-5)
    assert counted.sum() == 6


def test_padding_never_enters_the_mean_of_a_divergence():
    made = rows()
    batch = Loader(made, Views(), 3)[0]
    student = jnp.zeros((3, 4, 20))
    teacher = jnp.where(
        jnp.asarray(made.token_mask(batch["id"]))[..., None], 0.0, 50.0 * jnp.eye(20)[3]
    )
    objective = jaxkd.Objective(kd=jaxkd.Term(jaxkd.losses.kl_divergence))
    total, metrics, _ = objective({"logits": student}, {"logits": teacher}, batch)
    assert float(total) == 0 and float(metrics["kd"][1]) == 6
    plain = jaxkd.losses.kl_divergence(student, teacher)
    assert float(masked_mean(plain, None)) > 0.5


def test_classes_of_rows():
    made = rows(labels=[1, 0, 1], num_classes=2, class_names=("ham", "spam"))
    assert repr(made).endswith("3 labeled, 2 classes, 25.0% padding)")
    assert not made.of_tokens and "where" not in Loader(made, Views(), 2)[0]
    few = made.with_labels(split_labels(made, 1, seed=0))
    assert sorted(few.labels.tolist()) == [-1, 0, 1] and few.fingerprint == made.fingerprint


def test_labels_that_are_tokens_are_not_taken_away():
    with pytest.raises(ValueError, match="its own next tokens.*select"):
        rows().with_labels([0])
    with pytest.raises(ValueError, match="rows has a label for each token"):
        split_labels(rows(), 1, seed=0)
    with pytest.raises(ValueError, match="Mixup.*tokens cannot be mixed"):
        Loader(rows(), Views((Mixup(20),)), 2)[0]


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (([1, 2],), {}, r"tokens must be \[n, length\], got the shape \(2,\)"),
        (([[1, 20]],), {}, r"Every token must be in \[0, 20\); 1 of 2 do not fit: 20"),
        (([[1, 2]], [[1]]), {}, r"documents must have the shape \(1, 2\)"),
        (([[1, 2]], [[1, 3]]), {}, "numbered 1, 2, ... in order"),
        (([[1, 2]], [[2, 2]]), {}, "numbered 1, 2, ... in order"),
        (([[1, 2, 3]], [[1, 0, 1]]), {}, "padding must be at the end of a row, row 0"),
        (([[1, 2]], None, [[1, 20]]), {}, "1 of 2 do not fit: 20"),
        (([[1, 2]], [[1, 0]], [[1, 2]]), {}, "Every label of padding must be -1"),
        (([[1, 2]], None, [0]), {}, "labels of whole rows need num_classes"),
        (([[1, 2]], None, [5]), {"num_classes": 2}, "label 5 of example id 0"),
        (([[1, 2]], None, [[1, 2]]), {"num_classes": 2}, "20 of them, not of 2 classes"),
        (([[1, 2]],), {"tokenizer": ""}, "tokenizer is empty"),
        (([[1, 2]],), {"offsets": [[[0, 1]]]}, r"offsets must have the shape \(1, 2, 2\)"),
        (([[1, 2]],), {"offsets": [[[2, 1], [0, 1]]]}, "begin before it ends"),
        (([[1, 2]] * 2,), {"ids": [3, 3]}, "Every id must be unique"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        Sequences.from_arrays(*arguments, **NAMED | changes)
