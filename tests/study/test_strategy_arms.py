import jax
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd.data import digits, split
from jaxkd.models import MLP, ConvNet
from jaxkd.study import Arm, Study, strategy_arms
from jaxkd.study._runs import Runs


def make(seed, widths=(4, 8, 16)):
    return jaxkd.from_nnx(ConvNet(1, 10, widths=widths, rngs=nnx.Rngs(seed)))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    data = split(digits.load("test"), {"train": 0.5, "validation": 0.5})
    options = {"steps": 8, "batch_size": 16, "seeds": 1}
    return Study(data, make, make(9), workdir=tmp_path_factory.mktemp("s"), **options)


OPTIONS = {
    "several_teachers": lambda: {"others": {"second": make(8)}},
    "assistant": lambda: {"make_assistant": make},
    "progressive": lambda: {"anchors": [make(7)]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", strategy_arms.NAMES)
def test_every_strategy_makes_a_step_on_a_student_that_is_deployed_as_it_was_made(study, name):
    arm = Arm(name, OPTIONS.get(name, dict)())
    training = arm.training(study, 0)
    deployed = training.deploy(training.student)
    assert deployed.architecture == study.make_student(0).architecture
    runs = Runs(study, study.workdir, name, lambda seed: training, progress=False)
    if training.phases:
        assert sum(phase.steps for phase in training.phases) >= 8
        return
    with runs.loader(training, 0) as loader:
        batch = loader[0]
    step = runs.make_step(training)
    _, metrics = jax.eval_shape(step.function, step.frozen, step.init(), batch)
    assert "loss" in metrics


def test_what_a_strategy_needs_is_named(tmp_path):
    data = split(digits.load("test"), {"train": 0.5, "validation": 0.5})
    small = lambda seed: jaxkd.from_nnx(MLP(64, (), 10, rngs=nnx.Rngs(seed)))  # noqa: E731
    study = Study(data, small, workdir=tmp_path, steps=8)
    with pytest.raises(TypeError, match="data_free needs a teacher"):
        Arm("data_free").training(study, 0)
    training = Arm("mutual").training(study, 3)
    first, second = (training.student.params[name] for name in ("first", "second"))
    assert not np.array_equal(*(jax.tree.leaves(tree)[-1] for tree in (first, second)))
    np.testing.assert_array_equal(jax.tree.leaves(first)[-1], jax.tree.leaves(small(3).params)[-1])
    with pytest.raises(ValueError, match="no layer of the student"):
        strategy_arms.matching_layers(small(0), make(0))


def test_images_made_without_data_have_the_mean_and_deviation_that_the_teacher_sees(study):
    student = Arm("data_free", {"latent": 8}).training(study, 0).student
    noise, key = jax.random.normal(jax.random.key(0), (64, 8)), jax.random.key(1)
    apply = jax.jit(lambda p, s, x: student.apply(p, s, x, train=True, key=key))
    images = apply(student.params, student.state, noise)[0]["images"]
    pixels = np.asarray(study.data["train"].inputs[:16], np.float32) / 255
    found, expected = (images.mean(), images.std()), (pixels.mean(), pixels.std())
    np.testing.assert_allclose(found, expected, rtol=1e-3)
