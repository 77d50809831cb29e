"""Teachers that see otherwise than their student, and students that are trained in part."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from outside_checks import check_cached_as_online, moved_by_a_step

import jaxkd
from jaxkd import Objective, Term, cache, losses, networks, recipes, targets, teachers
from jaxkd.data import Dataset
from jaxkd.views import Normalize, Views

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 4, 4, 3)).astype(np.uint8)
DATA = Dataset.from_arrays(IMAGES, [0, 1, 0, 1], name="outside", split="train", num_classes=2)
WEIGHTS = RNG.normal(size=(48, 4)).astype(np.float32)
NAMES = ["truck", "cat", "dog", "plane"]


def linear(params, images):
    return images.reshape(len(images), -1) @ params


def network(shape=(48, 4)):
    return jaxkd.from_function(linear, jnp.asarray(RNG.normal(size=shape), jnp.float32))


def another_order_and_a_part():
    return networks.select_classes(network(), ["cat", "truck"], class_names=NAMES)


def merged_classes():
    groups = {"animal": ["cat", "dog"], "vehicle": ["truck", "plane"]}
    return networks.select_classes(network(), groups, class_names=NAMES)


def another_normalization():
    return networks.with_inputs(network(), lambda images: (images / 255 - 0.45) / 0.22)


def another_size():
    return networks.with_inputs(
        network((192, 4)), lambda x: jax.image.resize(x / 255.0, (len(x), 8, 8, 3), "nearest")
    )


def one_of_several_inputs():
    return networks.with_inputs(network(), lambda inputs: inputs["image"])


def only_an_embedding():
    return jaxkd.from_function(linear, jnp.asarray(WEIGHTS), outputs={"embedding": ""})


TEACHERS = {
    another_order_and_a_part: {"logits": (4, 2)},
    merged_classes: {"logits": (4, 2)},
    another_normalization: {"logits": (4, 4)},
    another_size: {"logits": (4, 4)},
    one_of_several_inputs: {"logits": (4, 4)},
    only_an_embedding: {"embedding": (4, 4)},
}
each = pytest.mark.parametrize("make", TEACHERS, ids=lambda make: make.__name__)


def inputs_of(make):
    images = IMAGES.astype(np.float32)
    return {"image": images, "mask": images[..., 0]} if make is one_of_several_inputs else images


@each
def test_outputs_of_a_teacher_that_sees_otherwise(make):
    shapes = jax.eval_shape(make(), inputs_of(make))
    assert {name: leaf.shape for name, leaf in shapes.items()} == TEACHERS[make]
    assert make().architecture != network().architecture


@pytest.mark.slow
@each
def test_it_is_cached_as_it_is_online(make, tmp_path):
    check_cached_as_online(make(), inputs_of(make), tmp_path / "cache")


class Scores(NamedTuple):
    logits: np.ndarray
    hidden: np.ndarray


def numpy_function(images):
    assert isinstance(images, np.ndarray)
    return images.reshape(len(images), -1) @ WEIGHTS


def numpy_named_tuple(images):
    return Scores(numpy_function(images), images.mean((1, 2)))


@pytest.mark.parametrize(
    "function", [numpy_function, pytest.param(numpy_named_tuple, marks=pytest.mark.slow)]
)
def test_a_function_of_numpy_is_cached_in_one_line(function, tmp_path):
    views = Views((Normalize(),))
    stored = cache.build(tmp_path / "c", function, DATA, views, name="numpy", progress=False)
    decoded = stored.read(DATA.ids, view=0).decode()
    wanted = function(np.asarray(views.render(raw(DATA))["inputs"]))
    wanted = wanted if isinstance(wanted, np.ndarray) else wanted.logits
    np.testing.assert_allclose(decoded["logits"], wanted, rtol=1e-5, atol=1e-5)


def raw(data):
    return {"id": data.ids, "view": np.zeros(len(data), np.int32), "inputs": data.inputs}


def test_a_server_that_takes_one_size_of_batch_and_channels_first():
    def served(images):
        assert images.shape == (3, 3, 4, 4)
        return {"scores": images.reshape(3, -1)[:, :4]}

    teacher = teachers.from_callable(
        served,
        name="server",
        inputs=lambda images: images.transpose(0, 3, 1, 2),
        outputs={"logits": "scores"},
        batch_size=3,
    )
    np.testing.assert_array_equal(
        teacher(IMAGES / 1.0)["logits"], IMAGES[..., 0].reshape(4, -1)[:, :4]
    )


class Adapted(nnx.Module):
    """A backbone, an adapter of low rank beside it, and a head."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.body = nnx.LoRALinear(48, 6, lora_rank=2, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.head = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, images):
        return self.head(self.norm(self.body(images.reshape(len(images), -1))))


LORA = {"body.lora.lora_a", "body.lora.lora_b"}
PARTS = {
    "adapters of low rank": (nnx.LoRAParam, LORA),
    "a frozen backbone": ("head", {"head.kernel", "head.bias"}),
    "all but a part": (lambda path, _: not path.startswith("body"), {"norm.scale", "head.kernel"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("trainable", "wanted"), PARTS.values(), ids=PARTS)
def test_what_is_frozen_stays_to_the_bit(trainable, wanted):
    part = jaxkd.from_nnx(Adapted(), trainable=trainable)
    moved, still, statistics = moved_by_a_step(part, IMAGES.astype(np.float32), "logits")
    # The first factor of an adapter gets no gradient while the second one is zero.
    assert wanted - {"body.lora.lora_a"} <= moved and moved | still == set(part.params)
    assert statistics == {"norm.mean", "norm.var"}


@pytest.mark.slow
def test_an_embedding_is_learned_in_another_width(tmp_path):
    teacher = only_an_embedding()
    options = {"batch_size": 4, "progress": False}
    with pytest.raises(ValueError, match=r"codec=\{'embedding': Dense\(\)\}"):
        cache.build(tmp_path / "c", teacher, DATA, **options)
    codec = {"embedding": targets.Dense()}
    stored = cache.build(tmp_path / "c", teacher, DATA, codec=codec, **options)
    student = jaxkd.from_function(
        lambda w, images: {"hidden": linear(w, images) / 255}, jnp.asarray(0.1 * WEIGHTS[:, :2])
    )
    connector = nnx.Linear(2, 4, rngs=nnx.Rngs(0))
    pair = {"student": "hidden", "teacher": "embedding"}
    term = Term(losses.feature_mse, **pair, connector=connector)
    step = jaxkd.make_train_step(student, Objective(embedding=term), optax.sgd(1e-4))
    teacher_outputs = stored.read(DATA.ids, view=0)
    state, metrics = step(step.init(), {"inputs": IMAGES, "teacher": teacher_outputs})
    assert np.isfinite(metrics["loss"]) and "accuracy" not in metrics
    assert (state.params["student"] != student.params).any()


def test_a_teacher_without_logits_is_named_where_they_are_needed():
    step = jaxkd.make_train_step(
        network(), recipes.kd(alpha=1.0), optax.sgd(0.1), teacher=only_an_embedding()
    )
    with pytest.raises(ValueError, match=r"(?s)logits.*\['embedding'\]"):
        step(step.init(), {"inputs": IMAGES.astype(np.float32)})
