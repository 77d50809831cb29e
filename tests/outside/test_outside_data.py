"""Inputs and labels as others have them: dictionaries, maps, several sets, one sigmoid, values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from outside_checks import check_cached_as_online

import jaxkd
from jaxkd import Objective, Term, cache, losses, metrics, recipes
from jaxkd.data import Dataset, Loader, eval_batches
from jaxkd.training import evaluate, fit, make_eval_step
from jaxkd.views import RandomFlip, Views

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 4, 4, 3)).astype(np.uint8)
DISTRIBUTION = RNG.dirichlet(np.ones(3), 8).astype(np.float32)
CLASSES = RNG.integers(0, 3, 8)
TOKENS = RNG.integers(0, 7, (8, 5)).astype(np.int32)
NAMES = {"name": "outside", "split": "train"}


def weights(*shape):
    return jnp.asarray(0.1 * RNG.normal(size=shape), jnp.float32)


def flat(images):
    return images.reshape(len(images), -1) / 255


def linear(outputs=3, width=48):
    """A network of flat inputs, a function as others write one by hand."""
    return jaxkd.from_function(lambda w, images: flat(images) @ w, weights(width, outputs))


def per_pixel():
    return jaxkd.from_function(lambda w, images: images / 255 @ w, weights(3, 3))


@dataclasses.dataclass(frozen=True)
class Task:
    """Data, what is learned from them, and the names of the metrics that are reported."""

    data: Dataset
    network: jaxkd.Network
    objective: Objective
    reported: set[str]
    metrics: dict | None = None
    views: Views = Views()  # noqa: RUF009  # frozen


@dataclasses.dataclass(frozen=True)
class CrossEntropyOfDistributions:
    """A metric of one's own."""

    def __call__(self, outputs, batch):
        values = losses.cross_entropy(outputs["logits"], batch["labels"])
        counts = batch["where"] & batch["labeled"]
        return jnp.sum(jnp.where(counts, values, 0)), jnp.sum(counts)

    def compute(self, sums):
        return sums[0] / sums[1]


def multi_hot_labels():
    tags = RNG.integers(-1, 2, (8, 3))  # -1: nobody has looked
    data = Dataset.from_arrays(IMAGES, tags, num_classes=3, **NAMES)

    def loss(student, labels):
        return optax.sigmoid_binary_cross_entropy(student, labels)

    names = {"binary_accuracy", "binary_cross_entropy"}
    return Task(data, linear(), Objective(tags=Term(loss)), names)


def label_maps():
    maps = RNG.integers(0, 3, (8, 4, 4))
    maps[:, 0] = 255
    data = Dataset.from_arrays(IMAGES, maps, num_classes=3, ignore_label=255, **NAMES)
    views = Views((RandomFlip(),), maps=("labels",))
    names = {"accuracy", "cross_entropy", "miou"}
    chosen = {"miou": metrics.MeanIoU(), "accuracy": metrics.Accuracy()}
    chosen["cross_entropy"] = metrics.CrossEntropy()
    return Task(data, per_pixel(), recipes.labels(), names, chosen, views)


def several_label_sets():
    labels = {"color": CLASSES, "shape": CLASSES % 2}
    data = Dataset.from_arrays(IMAGES, labels, num_classes={"color": 3, "shape": 2}, **NAMES)
    network = jaxkd.from_function(
        lambda w, images: {name: flat(images) @ head for name, head in w.items()},
        {"color": weights(48, 3), "shape": weights(48, 2)},
    )
    terms = {
        name: Term(losses.cross_entropy, student=name, fields={"labels": f"labels.{name}"})
        for name in labels
    }
    chosen = {name: metrics.Accuracy(output=name, labels=f"labels.{name}") for name in labels}
    return Task(data, network, Objective(**terms), {"color", "shape"}, chosen)


def several_inputs():
    inputs = {"image": IMAGES, "meta": {"age": RNG.normal(size=8).astype(np.float32)}}
    data = Dataset.from_arrays(inputs, CLASSES, num_classes=3, **NAMES)

    def model(w, inputs):
        return flat(inputs["image"]) @ w["image"] + inputs["meta"]["age"][:, None] * w["age"]

    params = {"image": weights(48, 3), "age": weights(1, 3)}
    names = {"accuracy", "cross_entropy"}
    return Task(data, jaxkd.from_function(model, params), recipes.labels(), names)


def values_with_gaps():
    ages = RNG.normal(size=8).astype(np.float32)
    ages[::3] = np.nan
    data = Dataset.from_arrays(IMAGES, ages, **NAMES)

    names = {"mean_squared_error", "mean_absolute_error"}
    return Task(data, linear(1), Objective(age=Term(losses.squared_error)), names)


def boxes_of_fixed_number():
    labels = {"box": RNG.uniform(size=(8, 2, 4)), "kind": CLASSES}
    data = Dataset.from_arrays(IMAGES, labels, num_classes={"kind": 3}, **NAMES)

    def box_loss(student, box):
        return jnp.abs(student.reshape(box.shape) - box).mean((1, 2))

    kind = Term(losses.cross_entropy, student="kind", fields={"labels": "labels.kind"})
    box = Term(box_loss, student="box", fields={"box": "labels.box"})
    network = jaxkd.from_function(
        lambda w, images: {"kind": flat(images) @ w["kind"], "box": flat(images) @ w["box"]},
        {"kind": weights(48, 3), "box": weights(48, 8)},
    )
    chosen = {"kind": metrics.Accuracy(output="kind", labels="labels.kind")}
    return Task(data, network, Objective(kind=kind, box=box), {"kind"}, chosen)


def one_sigmoid():
    data = Dataset.from_arrays(IMAGES, (CLASSES % 2)[:, None], num_classes=1, **NAMES)

    names = {"binary_accuracy", "binary_cross_entropy"}
    objective = Objective(spam=Term(losses.binary_cross_entropy))
    return Task(data, linear(1), objective, names)


def distributions():
    data = Dataset.from_arrays(IMAGES, DISTRIBUTION, num_classes=3, **NAMES)
    return Task(data, linear(), recipes.labels(), {"own"}, {"own": CrossEntropyOfDistributions()})


def tokens_without_label():
    """In a Hugging Face batch -100 does not count, and a mask is one of the inputs."""
    labels = np.where(TOKENS > 5, -100, TOKENS)
    inputs = {"input_ids": TOKENS, "attention_mask": np.ones_like(TOKENS)}
    data = Dataset.from_arrays(inputs, labels, num_classes=7, ignore_label=-100, **NAMES)
    network = jaxkd.from_function(
        lambda w, batch: w["embedding"][batch["input_ids"]] @ w["head"],
        {"embedding": weights(7, 4), "head": weights(4, 7)},
    )
    return Task(data, network, recipes.labels(), {"accuracy", "cross_entropy"})


FIELDS = {
    multi_hot_labels: {"inputs": (4, 4, 4, 3), "labels": (4, 3)},
    label_maps: {"inputs": (4, 4, 4, 3), "labels": (4, 4, 4)},
    several_label_sets: {"inputs": (4, 4, 4, 3), "labels": {"color": (4,), "shape": (4,)}},
    several_inputs: {"inputs": {"image": (4, 4, 4, 3), "meta": {"age": (4,)}}, "labels": (4,)},
    values_with_gaps: {"inputs": (4, 4, 4, 3), "labels": (4,), "labeled": (4,)},
    boxes_of_fixed_number: {
        "inputs": (4, 4, 4, 3),
        "labels": {"box": (4, 2, 4), "kind": (4,)},
        "labeled": {"box": (4,)},
    },
    one_sigmoid: {"inputs": (4, 4, 4, 3), "labels": (4, 1)},
    distributions: {"inputs": (4, 4, 4, 3), "labels": (4, 3), "labeled": (4,)},
    tokens_without_label: {
        "inputs": {"input_ids": (4, 5), "attention_mask": (4, 5)},
        "labels": (4, 5),
    },
}
each = pytest.mark.parametrize("make", FIELDS, ids=lambda make: make.__name__)


@each
def test_a_batch_has_the_fields_as_they_were_given(make):
    task, wanted = make(), FIELDS[make]
    batch = Loader(task.data, task.views, 4)[0]
    assert jax.tree.map(np.shape, {name: batch[name] for name in wanted}) == wanted
    labels = jax.tree.leaves(batch["labels"])
    assert all(leaf.dtype in (np.int32, np.float32) for leaf in labels)
    assert all((leaf >= -1).all() for leaf in labels if leaf.dtype == np.int32)


@pytest.mark.slow
@each
def test_it_trains_and_is_evaluated_by_what_its_labels_are(make, tmp_path):
    task = make()
    step = jaxkd.make_train_step(task.network, task.objective, optax.sgd(0.05), views=task.views)
    loader = Loader(task.data, task.views, 4)
    before = task.network.params
    result = fit(step, step.init(), loader, steps=40, log_every=20, progress=None)
    first, last = (row["loss"] for row in result.train)
    assert np.isfinite([first, last]).all() and last < first
    trained = task.network.replace(params=result.state.params["student"], state={})
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), before, trained.params)))
    evaluation = make_eval_step(task.network, task.metrics)
    values = evaluate(evaluation, trained.params, {}, eval_batches(task.data, 3))
    assert set(values) == task.reported and np.isfinite(list(values.values())).all()
    check_cached_as_online(task.network, task.data.inputs, tmp_path / "cache")


def test_one_sigmoid_is_no_softmax_of_one_class():
    with pytest.raises(ValueError, match="have one class, whose softmax is 1"):
        losses.kd(jnp.ones((2, 1)), -jnp.ones((2, 1)))


def test_label_sets_are_chosen_by_name():
    batch = {"inputs": IMAGES, "labels": {"color": CLASSES, "shape": CLASSES}}
    step = jaxkd.make_train_step(linear(), recipes.labels(), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"fields=\{'labels': 'labels.color'\}"):
        step(step.init(), batch)


@pytest.mark.slow
def test_pixels_learn_from_a_teacher_without_any_label():
    data = Dataset.from_arrays(IMAGES, num_classes=3, **NAMES)
    objective, student = recipes.kd(alpha=1.0), per_pixel()
    step = jaxkd.make_train_step(student, objective, optax.sgd(0.1), teacher=per_pixel())
    result = fit(step, step.init(), Loader(data, Views(), 4), steps=2, log_every=1, progress=None)
    assert result.train[1]["kd"] != result.train[0]["kd"]


def test_a_cache_may_be_at_a_relative_path(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    data = Dataset.from_arrays(IMAGES, num_classes=3, **NAMES)
    stored = cache.build("../cache", linear(), data, batch_size=8, progress=False)
    assert (tmp_path / "cache").is_dir() and len(stored.ids) == 8
