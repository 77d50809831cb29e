import csv
import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import flags
from experiment_runs import runtime
from flax import nnx

import jaxkd
from experiments.imagenet.__main__ import main
from experiments.imagenet.config import Config, complete
from experiments.imagenet.protocols import PROTOCOLS, MixupOrCutmix
from experiments.imagenet.run import sampled_rows, top_k_accuracies
from jaxkd import models, weights
from jaxkd.data import imagenet

# Ten classes and a network of three convolutions: what takes the time is compiling.
TINY = Config(
    dataset="cifar10",
    test_split="test",
    mock=64,
    image_size=32,
    pair="convnet/convnet",
    batch_size=16,
    steps=3,
    checkpoint_every=1,
)


@pytest.fixture(autouse=True)
def parsed_flags():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def rows(file):
    return list(csv.DictReader(file.open()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A work directory in which the torchvision protocol has run, with a teacher trained there."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    workdir = tmp_path_factory.mktemp("imagenet") / "w"
    main(dataclasses.replace(TINY, baseline=True), workdir, runtime())
    return workdir


def test_a_teacher_labels_alone_and_a_student_on_eight_devices(finished):
    assert jax.device_count() == 8
    accuracy = rows(finished / "accuracy.csv")
    assert [row["Network"] for row in accuracy] == ["teacher", "labels", "kd"]
    assert all(float(row["Top-5 mean"]) >= float(row["Top-1 mean"]) >= 0 for row in accuracy)
    assert [row["step"] for row in rows(finished / "kd/seed0/train.csv")] == ["1", "2", "3"]
    assert set(rows(finished / "kd/seed0/train.csv")[0]) >= {"loss", "label", "kd", "accuracy"}
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "convnet teaches convnet by the protocol torchvision: 3 steps of 16 among 64" in page
    assert "What the students learned</h2>" in page


def test_finished_runs_are_read_and_a_cut_one_ends_in_the_same_student(finished, tmp_path):
    workdir = tmp_path / "w"
    shutil.copytree(finished, workdir)
    with np.load(workdir / "kd/seed0/result.npz") as stored:
        before = dict(stored)
    # As if killed after the second step, with everything else done.
    (workdir / "kd/seed0/result.npz").unlink()
    shutil.rmtree(workdir / "kd/seed0/checkpoints/3")
    assert (workdir / "kd/seed0/checkpoints/2").is_dir()
    results = {f: f.stat().st_mtime_ns for f in workdir.glob("*/**/result.npz")}
    assert len(results) == 2
    main(dataclasses.replace(TINY, baseline=True, prefetch=0), workdir, runtime())
    assert {f: f.stat().st_mtime_ns for f in results} == results
    with np.load(workdir / "kd/seed0/result.npz") as stored:
        np.testing.assert_array_equal(stored["logits"], before["logits"])
        assert stored["top5"] == before["top5"]
    with pytest.raises(ValueError, match="belongs to another configuration.*image_size"):
        main(dataclasses.replace(TINY, image_size=40), workdir, runtime())


@pytest.mark.slow
def test_function_matching_learns_from_a_cache_of_replayed_views(tmp_path):
    model = models.create("convnet", num_classes=10, image_size=32, rngs=nnx.Rngs(5))
    weights.save(jaxkd.from_nnx(model), tmp_path / "teacher.npz")
    config = dataclasses.replace(
        TINY,
        protocol="function_matching",
        teacher_weights=str(tmp_path / "teacher.npz"),
        teacher_naming="",
        cache=True,
        num_views=2,
    )
    workdir = tmp_path / "w"
    main(config, workdir, runtime())
    assert (workdir / "cache").is_dir() and not (workdir / "teacher/train.csv").exists()
    for row in rows(workdir / "kd/seed0/train.csv"):
        # Mixed examples have no one label, and the teacher alone is learned.
        assert set(row) == {"step", "kd", "loss"} and 0 < float(row["kd"]) < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair": "resnet34/resnet19"}, r"no network 'resnet19' \(did you mean .*resnet18"),
        ({"pair": "resnet34"}, "pair must be teacher/student, not 'resnet34'"),
        ({"protocol": "timm"}, "protocol must be one of torchvision, function_matching, deit"),
        ({"method": "dkdd"}, "method must be one of .*dkd.*, not 'dkdd'"),
        ({"method": "dot", "protocol": "deit"}, "dot is an optimizer with momentum, deit has"),
        ({"pixels": "unit"}, "pixels must be one of imagenet, symmetric, not 'unit'"),
        ({"steps": -1}, "steps must be at least 0, not -1"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"cache": True}, "cache=True needs num_views"),
        ({"options": "{kd}"}, "options must be JSON"),
        ({"options": '{"kd": 1}'}, "options must map recipes to their options"),
        ({"teacher_weights": "no.npz"}, "teacher_weights='no.npz': there is no such file"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        complete(dataclasses.replace(TINY, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair": "convnet/deit_tiny_distilled_patch16", "image_size": 40}, "40"),
        ({"pair": "convnet/cnn", "image_size": 3}, r"leave nothing of an image of \(3, 3\)"),
        ({"protocol": "deit"}, "needs the student's output 'class_logits'"),
        ({"cache": True, "num_views": 1, "method": "fitnet"}, "fitnet compares the teacher's"),
        ({"options": '{"kd": {"alpha": 2.0}}'}, "alpha must lie in"),
        ({"protocol": "function_matching", "method": "dkd"}, "dkd does not fit the protocol"),
        ({"protocol": "function_matching", "method": "crd"}, "crd remembers examples by id"),
    ],
)
def test_what_does_not_fit_is_found_before_data_are_read(options, message, tmp_path, monkeypatch):
    read = []
    load = imagenet.load
    monkeypatch.setattr(
        imagenet,
        "load",
        lambda *a, mock, **k: read.append(mock) or load(*a, mock=mock, **k),
    )
    with pytest.raises(ValueError, match=message):
        main(dataclasses.replace(TINY, **options), tmp_path / "w", runtime())
    assert read == [1] and not (tmp_path / "w").exists()


def test_inception_of_torchvision_wants_its_own_pixels(tmp_path):
    (tmp_path / "w.npz").touch()
    options = {"pair": "inception_v3/resnet18", "teacher_weights": str(tmp_path / "w.npz")}
    with pytest.raises(ValueError, match="set pixels=symmetric"):
        complete(dataclasses.replace(TINY, teacher_naming="torchvision", **options))
    complete(dataclasses.replace(TINY, pixels="symmetric", **options))


def test_weights_of_another_network_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", **{"fc.weight": np.zeros((10, 3))})
    config = dataclasses.replace(
        TINY, teacher_weights=str(tmp_path / "other.npz"), teacher_naming=""
    )
    with pytest.raises(ValueError, match="do not fit ConvNet"):
        main(config, tmp_path / "w", runtime())
    assert not (tmp_path / "w").exists()


def test_without_data_the_message_says_how_to_get_them(tmp_path):
    config = dataclasses.replace(TINY, mock=0, data_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="cifar10 is not prepared in"):
        main(config, tmp_path / "w", runtime())
    assert not (tmp_path / "w").exists()


def updates(name, steps, factor=1.0):
    """The kernel's update at each step under a constant gradient, the bias's last without one."""
    optimizer = PROTOCOLS[name].optimizer(steps, factor)
    params = {"student": {"head.kernel": jnp.zeros((1, 1)), "head.bias": jnp.ones(1)}}
    state, sizes = optimizer.init(params), []
    gradients = {"student": {"head.kernel": jnp.ones((1, 1)), "head.bias": jnp.zeros(1)}}
    update = jax.jit(optimizer.update)
    for _ in range(steps):
        change, state = update(gradients, state, params)
        sizes.append(-float(change["student"]["head.kernel"][0, 0]))
        bias = float(change["student"]["head.bias"][0])
    return np.array(sizes), bias


def test_schedules_go_through_all_of_a_training():
    steps = 100
    sgd, decayed = updates("torchvision", steps, factor=2.0)
    # Toward the end of each interval momentum has converged to ten times the rate.
    np.testing.assert_allclose(sgd[[29, 59, 89]], [1.91, 0.2, 0.02], rtol=0.02)
    assert decayed < 0  # the bias as well
    adam, untouched = updates("function_matching", steps)
    assert untouched == 0
    # A momentum in bfloat16 stops some hundredths short of a constant gradient.
    np.testing.assert_allclose(adam[[0, 5, 10, 55]], [0, 0.015, 0.03, 0.015], rtol=0.05)
    adamw, untouched = updates("deit", 300)
    assert adamw.argmax() == 5 and untouched == 0
    np.testing.assert_allclose(adamw[[0, 5, 299]], [1e-6, 1e-3, 1e-5], rtol=0.02)


def test_matching_decays_kernels_apart_from_the_learning_rate():
    optimizer = PROTOCOLS["function_matching"].optimizer(10, 1.0)
    params = {"a.kernel": jnp.ones(1), "a.bias": jnp.ones(1)}
    state = optimizer.init(params)
    for _ in range(2):  # the second is at the peak
        change, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
    params = optax.apply_updates(params, change)
    np.testing.assert_allclose(params["a.kernel"], 1 - 3e-4, rtol=1e-6)
    assert params["a.bias"] == 1


def test_mixup_or_cutmix_is_one_of_the_two():
    image, partner = jnp.zeros((8, 8, 1)), jnp.ones((8, 8, 1))
    mix = jax.jit(jax.vmap(lambda key: MixupOrCutmix(10)(key, image, partner)))
    images, shares = mix(jax.random.split(jax.random.key(0), 400))
    # What is left of the image has the weight that its label gets.
    np.testing.assert_allclose(1 - images.mean((1, 2, 3)), shares, atol=1e-6)
    pasted = np.isin(np.asarray(images), (0.0, 1.0)).all((1, 2, 3))
    assert 150 < pasted.sum() < 250


def test_top_k_accuracies_count_ties_against_the_network_and_leave_unlabeled_examples_out():
    logits = np.array([[9, 5, 4, 3, 2, 1], [1, 9, 2, 3, 4, 5], [0.0] * 6, [0.0] * 6])
    assert top_k_accuracies(logits, np.array([4, 0, 0, -1])) == (0, 1 / 3)
    assert sampled_rows(25_000).shape == (10_000,)
