"""Caches of teachers outside of JAX: every entrance takes them, and knows them by what they do."""

import jax
import numpy as np
import optax
import pytest
from conftest import random_images
from flax import nnx

import jaxkd
from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.cache.__main__ import main
from jaxkd.data import Dataset, Loader
from jaxkd.targets import Dense, TopK
from jaxkd.teachers import from_callable
from jaxkd.views import Normalize, RandomCrop, Views

IMAGES = random_images()
VIEWS = Views((RandomCrop(2), Normalize()))
WEIGHTS = np.random.default_rng(0).normal(size=(64, 5))


def linear(inputs, scale=1.0):
    flat = inputs.reshape(len(inputs), -1)
    return {"logits": scale * flat @ WEIGHTS, "embedding": flat[:, :3]}


def build(path, teacher=linear, dataset=IMAGES, **options):
    options = {"name": "linear", "batch_size": 64, "block_size": 256, "progress": False} | options
    return caches.build(path, teacher, dataset, VIEWS, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign")
    codec = {"logits": Dense("float32"), "embedding": Dense("float16")}
    return build(path, codec=codec, num_views=2)


def test_a_function_of_numpy_arrays_fills_a_cache_with_what_it_returns(built):
    loader = Loader(IMAGES, VIEWS, 8, cache=built)
    batch = loader[3]
    # What the student sees is what the teacher saw.
    inputs = np.asarray(VIEWS.render(batch)["inputs"])
    decoded = batch["teacher"].decode()
    np.testing.assert_allclose(decoded["logits"], linear(inputs)["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(decoded["embedding"], linear(inputs)["embedding"], atol=2e-3)
    assert built.contract["teacher.name"] == "linear"
    assert built.contract["teacher.framework"] == "numpy"


def test_every_entrance_takes_the_same_teacher_and_refuses_another(built, tmp_path, capsys):
    own = {"dataset": IMAGES, "views": VIEWS}
    teacher = from_callable(linear, name="linear")
    caches.open(built.path, teacher=linear, name="linear", **own)
    caches.open(built.path, teacher=teacher, **own).check(teacher=teacher)
    caches.open(built.path, teacher=teacher.fingerprint(), **own)
    assert (
        caches.spot_check(built, linear, IMAGES, VIEWS, records=9).max_difference["logits"] < 1e-4
    )
    other = from_callable(lambda x: linear(x, 1.1), name="linear")
    with pytest.raises(CacheError, match="teacher.outputs: .*logits of example"):
        caches.open(built.path, teacher=other, **own)
    with pytest.raises(CacheError, match="teacher.outputs"):
        build(built.path, other, name=None, codec=built.codecs, num_views=2)
    with pytest.raises(CacheError, match="teacher.outputs"):
        caches.extend(built.path, other, IMAGES, VIEWS, num_views=3)
    with pytest.raises(CacheError, match='teacher.name: the cache has "linear", this run has "v2"'):
        caches.open(built.path, teacher=linear, name="v2", **own)
    narrow = from_callable(lambda x: {**linear(x), "logits": x[:, :2, 0, 0]}, name="linear")
    with pytest.raises(CacheError, match=r"the teacher linear .* shape \(\d+, 5\), not \(\d+, 2\)"):
        caches.open(built.path, teacher=narrow, **own)
    assert main(["verify", built.path, "--teacher=test_foreign:given"]) == 0
    assert "most probable classes differ" in capsys.readouterr().out
    assert main(["verify", built.path, "--teacher=test_foreign:given_other"]) == 1


def given():
    return {"teacher": linear, "name": "linear", "dataset": IMAGES, "views": VIEWS}


def given_other():
    return given() | {"teacher": lambda x: linear(x, -1)}


def test_a_build_goes_on_extends_fills_and_merges(built, tmp_path):
    half = IMAGES.select(IMAGES.ids[::2])
    rest = IMAGES.select(IMAGES.ids[1::2])
    calls = []

    def failing(inputs):
        calls.append(len(inputs))
        if len(calls) == 15:
            raise ConnectionError("the server is gone")
        return linear(inputs)

    with pytest.raises(ConnectionError, match="gone") as caught:
        build(tmp_path / "a", failing, half, batch_size=16, block_size=16)
    assert "The teacher linear was called with" in caught.value.__notes__[0]
    before = len(calls)
    one = build(tmp_path / "a", failing, half, batch_size=16, block_size=16)
    # For the shapes, for the comparison, and the three of seven batches that were left.
    assert sum(calls[before:]) == 2 + 64 + 3 * 16
    two = build(tmp_path / "b", linear, rest)
    merged = caches.merge(tmp_path / "merged", [one.path, two.path])
    ids = IMAGES.ids[5:25]
    expected = built.read(ids, 0).decode()["logits"]
    np.testing.assert_allclose(merged.read(ids, 0).decode()["logits"], expected, atol=1e-4)
    more = caches.extend(one.path, linear, half, VIEWS, name="linear", num_views=2, progress=False)
    expected = built.read(half.ids, 1).decode()["logits"]
    np.testing.assert_allclose(more.read(half.ids, 1).decode()["logits"], expected, atol=1e-4)
    own = {"teacher": linear, "name": "linear", "dataset": IMAGES, "views": VIEWS, "mode": "fill"}
    with caches.open(tmp_path / "filled", **own, codec=TopK(2)) as filling:
        top = filling.read(ids, 0).decode()["logits"].indices[:, 0]
        np.testing.assert_array_equal(top, built.read(ids, 0).decode()["logits"].argmax(1))
        assert filling.num_computed == 20


def test_a_teacher_is_tried_before_a_cache_is_there(tmp_path):
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="the teacher linear differs between two calls"):
        build(tmp_path / "c", lambda x: generator.normal(size=(len(x), 5)))
    with pytest.raises(ValueError, match=r"no output \['logits'\].*outputs=.*logits"):
        build(tmp_path / "c", lambda x: {"scores": x[:, 0, :, 0]})
    assert not (tmp_path / "c" / "contract.json").exists()


def test_what_changes_while_a_cache_is_built_is_refused(tmp_path):
    def narrower(inputs):
        # As a server does that is updated meanwhile.
        calls.append(1)
        return linear(inputs)["logits"][:, : 5 if len(calls) < 10 else 4]

    calls = []
    with pytest.raises(CacheError, match=r"the teacher linear .*\(64, 5\), not \(64, 4\)"):
        build(tmp_path / "shape", narrower)
    large = from_callable(lambda x: linear(x)["logits"] * [1, 1, 1, 1, 1e300], name="large")
    with pytest.raises(CacheError, match="cannot store the teacher's logits"):
        build(tmp_path / "large", large, name=None, allow={"teacher.mode"})


def test_names_and_kinds_of_teachers(tmp_path):
    with pytest.raises(TypeError, match="give it a name, name='resnet50-v2'"):
        build(tmp_path, linear, name=None)
    with pytest.raises(ValueError, match="the name of a teacher is a text"):
        build(tmp_path, linear, name="")
    with pytest.raises(ValueError, match="name='other' is for a function; .* called linear"):
        build(tmp_path, from_callable(linear, name="linear"), name="other")
    torch_like = type("Net", (), {"state_dict": 0, "forward": 0, "__call__": linear})()
    session_like = type("Session", (), {"run": 0, "get_inputs": 0})()
    for teacher, line in {
        torch_like: r"jaxkd.teachers.from_torch\(module\)",
        session_like: "jaxkd.teachers.from_onnx",
        jaxkd.models.MLP(64, (4,), 5, rngs=nnx.Rngs(0)): "jaxkd.from_nnx",
    }.items():
        with pytest.raises(TypeError, match=line):
            build(tmp_path, teacher, name=None)
    with pytest.raises(ValueError, match="leave batch_sharding out"):
        build(tmp_path, batch_sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    predicted = caches.forecast(linear, IMAGES, VIEWS, name="linear")
    assert str(predicted) == "200 records of 20 bytes: 4 kB" and predicted.gain is None


def test_a_teacher_outside_of_jax_does_not_run_within_a_step():
    teacher = from_callable(linear, name="linear")
    student = jaxkd.from_function(lambda p, x: x @ p, np.ones((4, 3), np.float32))
    with pytest.raises(TypeError, match=r"teacher linear runs outside of JAX.*cache\.build"):
        jaxkd.make_train_step(student, jaxkd.recipes.kd(), optax.sgd(0.1), teacher=teacher)


def test_dictionaries_of_inputs_and_labels(tmp_path):
    inputs = {"image": IMAGES.inputs, "offset": np.arange(200, dtype=np.float32)[:, None]}
    labels = {"a": IMAGES.labels, "b": IMAGES.labels[:, None]}
    counts = {"a": 5, "b": 5}
    data = Dataset.from_arrays(inputs, labels, name="d", split="train", num_classes=counts)

    def both(given):
        assert sorted(given) == ["image", "offset"]
        return linear(given["image"] / 255)["logits"] + given["offset"]

    cache = caches.build(tmp_path, both, data, name="both", progress=False)
    expected = both({name: array[:7] for name, array in inputs.items()})
    np.testing.assert_allclose(cache.read(data.ids[:7], 0).decode()["logits"], expected, rtol=1e-4)
