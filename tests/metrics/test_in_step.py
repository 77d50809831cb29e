"""Metrics of evaluation steps: sums that add up, beside the values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxkd
from jaxkd import metrics
from jaxkd.training import evaluate, make_eval_step, predict

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(40, 3)).astype(np.float32)
ENTRIES = RANDOM.integers(-1, 2, (40, 3)).astype(np.int32)
VALUES = (LOGITS + RANDOM.normal(size=(40, 3)) + 1).astype(np.float32)


def in_parts(metric, logits, **batch):
    """Two batches, the second of which is padded with rows of nan."""
    sums = []
    for rows, padding in ((slice(0, 25), 0), (slice(25, 40), 10)):

        def padded(x, filler, rows=rows, padding=padding):
            return np.concatenate([x[rows], np.full((padding, *x.shape[1:]), filler, x.dtype)])

        count = len(logits[rows])
        part = {name: padded(value, 0) for name, value in batch.items()}
        part["where"] = jnp.arange(count + padding) < count
        sums.append(metric({"logits": jnp.asarray(padded(logits, 7.0))}, part))
    return metric.compute(
        tuple(np.add(a, np.asarray(b, float)) for a, b in zip(*sums, strict=True))
    )


def test_metrics_of_entries_count_what_is_known():
    known, positive = ENTRIES >= 0, ENTRIES == 1
    right = ((LOGITS > 0) == positive)[known].mean()
    assert in_parts(metrics.BinaryAccuracy(), LOGITS, labels=ENTRIES) == pytest.approx(right)
    probability = 1 / (1 + np.exp(-LOGITS.astype(float)))
    each = -np.log(np.where(positive, probability, 1 - probability))[known].mean()
    found = in_parts(metrics.BinaryCrossEntropy(), LOGITS, labels=ENTRIES)
    assert found == pytest.approx(each, rel=1e-5)
    hits = ((LOGITS > 0) & positive & known).sum(0)
    either = ((LOGITS > 0) & known).sum(0) + positive.sum(0)
    macro, micro = (2 * hits / either).mean(), 2 * hits.sum() / either.sum()
    assert in_parts(metrics.BinaryF1(), LOGITS, labels=ENTRIES) == pytest.approx(macro)
    assert in_parts(metrics.BinaryF1(average="micro"), LOGITS, labels=ENTRIES) == (
        pytest.approx(micro)
    )


def test_logits_that_are_nan_are_no_hits():
    """A network that has diverged is not right about every label that is 0."""
    logits = np.array([[np.nan, -1.0], [np.nan, np.nan]], np.float32)
    ids, entries = np.zeros(2, np.int32), np.zeros((2, 2), np.int32)
    columns, rows = np.eye(2, dtype=np.int32)[[0, 0]], np.eye(2, dtype=np.int32)[:, [0, 0]]
    expected = {
        metrics.Accuracy(): (ids, 0),
        metrics.TopKAccuracy(k=2): (ids, 0),
        metrics.MeanIoU(): (ids, 0),
        metrics.Agreement(): (ids, 0),
        metrics.Agreement(per_entry=True): (ids, 0.25),
        metrics.BinaryAccuracy(): (entries, 0.25),
        metrics.AveragePrecision(bins=2): (rows, 0.5),
        metrics.NDCG(): (columns, 0),
        metrics.MeanReciprocalRank(): (columns, 0),
    }

    @jax.jit  # one program costs less than nine
    def sums(outputs):
        return [
            metric(outputs, {"labels": jnp.asarray(labels), "teacher": outputs})
            for metric, (labels, _) in expected.items()
        ]

    found = zip(expected.items(), sums({"logits": logits}), strict=True)
    for (metric, (_, value)), parts in found:
        assert metric.compute(parts) == pytest.approx(value), metric


def test_average_precision_is_the_exact_one_within_a_bin():
    exact = []
    for column in range(3):
        known = ENTRIES[:, column] >= 0
        order = np.argsort(-LOGITS[known, column])
        hits = ENTRIES[known, column][order]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        exact.append((precision * hits).sum() / hits.sum())
    metric = metrics.AveragePrecision(bins=20_000)
    assert in_parts(metric, LOGITS, labels=ENTRIES) == pytest.approx(np.mean(exact), abs=1e-3)


def test_metrics_of_values():
    difference = LOGITS - VALUES
    mse, mae = np.square(difference).mean(), np.abs(difference).mean()
    assert in_parts(metrics.MeanSquaredError(), LOGITS, labels=VALUES) == pytest.approx(mse)
    assert in_parts(metrics.MeanAbsoluteError(), LOGITS, labels=VALUES) == pytest.approx(mae)
    r2 = np.mean(1 - np.square(difference).sum(0) / (len(VALUES) * VALUES.var(0)))
    for center in (0.0, 1.0):
        found = in_parts(metrics.R2(center=center), LOGITS, labels=VALUES)
        assert found == pytest.approx(r2, rel=1e-4)


def test_classes_of_pixels_and_intersection_over_union():
    logits = RANDOM.normal(size=(40, 2, 2, 4)).astype(np.float32)
    logits[..., 3] = -9.0  # neither predicted nor labeled: no part of the mean
    labels = RANDOM.integers(-1, 3, (40, 2, 2)).astype(np.int32)
    known, predicted = labels >= 0, logits.argmax(-1)
    ious = []
    for number in range(3):
        one, other = (predicted == number) & known, labels == number
        ious.append((one & other).sum() / (one | other).sum())
    assert in_parts(metrics.MeanIoU(), logits, labels=labels) == pytest.approx(np.mean(ious))
    right = (predicted == labels)[known].mean()
    assert in_parts(metrics.Accuracy(), logits, labels=labels) == pytest.approx(right)
    assert in_parts(metrics.TopKAccuracy(k=4), logits, labels=labels) == 1.0


def test_ranked_candidates():
    scores = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 9.0]], np.float32)
    relevance = np.array([[0, 1, 2], [1, 0, -1]], np.int32)
    outputs, batch = {"logits": scores}, {"labels": relevance}
    rank = metrics.MeanReciprocalRank()
    assert rank.compute(rank(outputs, batch)) == pytest.approx((1 / 2 + 1 / 2) / 2)
    gains = [
        (3 / np.log2(3) + 1 / np.log2(4)) / (3 + 1 / np.log2(3)),
        1 / np.log2(3),
    ]
    ndcg = metrics.NDCG()
    assert ndcg.compute(ndcg(outputs, batch)) == pytest.approx(np.mean(gains))
    first = metrics.NDCG(k=1)
    assert first.compute(first(outputs, batch)) == 0.0


def test_a_student_is_compared_with_an_online_teacher_or_a_cached_one():
    student = jaxkd.from_function(lambda params, inputs: inputs * params, jnp.ones(()))
    teacher = jaxkd.from_function(lambda params, inputs: inputs + params, jnp.full((), 0.1))
    chosen = {
        "agreement": metrics.Agreement(),
        "entries": metrics.Agreement(per_entry=True),
        "cosine": metrics.CosineSimilarity(),
        "correlation": metrics.PearsonCorrelation(),
    }
    step = make_eval_step(student, chosen, teacher=teacher)
    online = evaluate(step, student.params, student.state, [{"inputs": LOGITS}])
    cached = [{"inputs": LOGITS, "teacher": LOGITS + 0.1}]
    assert evaluate(make_eval_step(student, chosen), *student_of(student), cached) == (
        pytest.approx(online)
    )
    assert online["agreement"] == 1.0 > online["entries"]
    assert online["correlation"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"compares with the teacher.*teacher=teacher\)"):
        evaluate(make_eval_step(student, chosen), *student_of(student), [{"inputs": LOGITS}])


def student_of(network):
    return network.params, network.state


def identity():
    return jaxkd.from_function(lambda params, inputs: inputs + params, jnp.zeros(()))


@pytest.mark.parametrize(
    ("inputs", "labels", "names"),
    [
        (LOGITS, ENTRIES[:, 0], ["accuracy", "cross_entropy"]),
        (LOGITS[:, :1], ENTRIES[:, 0], ["binary_accuracy", "binary_cross_entropy"]),
        (LOGITS, ENTRIES, ["binary_accuracy", "binary_cross_entropy"]),
        (LOGITS[:, :1], VALUES[:, 0], ["mean_absolute_error", "mean_squared_error"]),
    ],
)
def test_the_metrics_by_type_and_shape_of_labels(inputs, labels, names):
    network = identity()
    step = make_eval_step(network)
    batch = {"inputs": inputs, "labels": labels}
    assert sorted(evaluate(step, *student_of(network), [batch])) == names


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (LOGITS[:, None, None], ENTRIES[:, 0], r"int32 \(40,\) fit logits .*metrics={"),
        (LOGITS, VALUES, r"float32 \(40, 3\) .* values or distributions .*metrics={"),
        (LOGITS, {"color": ENTRIES[:, 0]}, r"several sets, \['color'\].*labels.color"),
    ],
)
def test_a_metric_that_might_mean_nothing_is_refused(inputs, labels, message):
    network = identity()
    batch = {"inputs": inputs, "labels": labels}
    with pytest.raises(ValueError, match=message):
        evaluate(make_eval_step(network), *student_of(network), [batch])
    # Predictions need no metric.
    assert predict(make_eval_step(network), network, [batch]).shape == inputs.shape


def test_metrics_of_ones_own_and_of_one_of_several_label_sets():
    network = identity()
    chosen = {"color": metrics.Accuracy(labels="labels.color")}
    labels = {"color": LOGITS.argmax(-1).astype(np.int32)}
    values = evaluate(
        make_eval_step(network, chosen),
        *student_of(network),
        [{"inputs": LOGITS, "labels": labels}],
    )
    assert values == {"color": 1.0}


def test_an_output_is_predicted_by_name():
    network = jaxkd.from_function(
        lambda params, inputs: (inputs + params, {"half": inputs / 2}), jnp.zeros(())
    )
    step = make_eval_step(network)
    batch = {"inputs": LOGITS, "where": np.arange(40) < 39}
    np.testing.assert_allclose(predict(step, network, [batch], output="half"), LOGITS[:39] / 2)
    with pytest.raises(ValueError, match=r"no banana, but \['half', 'logits'\]"):
        predict(step, network, [batch], output="banana")


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        (metrics.Accuracy(), TypeError, "must map names to metrics.*write metrics="),
        ({"a": metrics.Accuracy}, TypeError, r"'a' must be callable .*Accuracy\(\), called"),
        ({"a": lambda outputs, batch: 1.0}, TypeError, "'a' must be .* of your own"),
        ({"a": "accuracy"}, TypeError, "'a' must be callable"),
        ({"logits": metrics.Accuracy()}, ValueError, "name the metric otherwise"),
    ],
)
def test_metrics_of_another_kind_are_refused_when_made(chosen, error, message):
    with pytest.raises(error, match=message):
        make_eval_step(identity(), chosen)


@pytest.mark.parametrize(
    ("metric", "labels", "message"),
    [
        (metrics.Accuracy(), ENTRIES, r"needs class ids, integers \(40,\)"),
        (metrics.BinaryAccuracy(), VALUES, "needs 0, 1 or -1"),
        (metrics.MeanSquaredError(), VALUES[:, :2], r"needs values of shape \(40, 3\)"),
        (metrics.Accuracy(output="deep"), ENTRIES[:, 0], r"'deep' of the network, which has"),
    ],
)
def test_labels_that_do_not_fit_are_named_with_both_shapes(metric, labels, message):
    with pytest.raises(ValueError, match=message):
        metric({"logits": LOGITS}, {"labels": labels})
    with pytest.raises(ValueError, match="no labeled example"):
        unknown = np.full(40, -1, np.int32)
        accuracy = metrics.Accuracy()
        accuracy.compute(accuracy({"logits": LOGITS}, {"labels": unknown}))
