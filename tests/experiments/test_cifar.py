import dataclasses
import functools
import re

import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import chosen, run, runtime, table
from flax import nnx

import jaxkd
from experiments.cifar.__main__ import main
from experiments.cifar.config import Config, assistant_between, reduced_config
from experiments.common import methods, strategy_arms
from experiments.common.protocol import (
    MethodContext,
    MethodData,
    MethodNetworks,
    ProtocolConfig,
    make_study,
    schedule,
)
from jaxkd import models
from jaxkd.data import images
from jaxkd.study._runs import Runs
from jaxkd.study.runtime import Runtime

TINY = [
    "--config.dataset=cifar10",
    "--config.mock=128",
    "--config.pair=convnet/convnet",
    "--config.seeds=1",
    "--config.teacher_epochs=2",
    "--config.protocol.epochs=2",
    "--config.protocol.batch_size=64",
]


@pytest.mark.slow
def test_methods_and_strategies_from_end_to_end_on_eight_devices_then_read(tmp_path):
    first = run("cifar", tmp_path, *TINY, "--config.method=dkd,data_free", devices=8)
    assert first.returncode == 0, first.stderr
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What the students learned" in report
    (file,) = tmp_path.glob("convnet_convnet_on_*.csv")
    rows = table(file)
    names = ["labels", "dkd", "data_free"]
    assert [row["Method"] for row in rows] == names
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("result.npz")}
    assert len(before) == len(names)

    # Another number of devices, another choice of methods: what is there is read.
    second = run("cifar", tmp_path, *TINY, "--config.method=dkd")
    assert second.returncode == 0, second.stderr
    assert {f: f.stat().st_mtime_ns for f in before} == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--config.pair=resnet32x5/resnet8x4", "there is no network 'resnet32x5' (did you mean"),
        ("--config.pair=resnet8", "pair must be teacher/student"),
        ("--config.method=magic", "method must be one of"),
        ("--config.norm=layer", "not 'layer'"),
        ("--config.protocol.evaluations=0", "evaluations must lie in [1, 20], not 0"),
        (
            "--config.protocol.schedule=step",
            "protocol.schedule must be one of cosine, steps, not 'step'; did you mean 'steps'?",
        ),
        (
            "--config.protocol.options=[]",
            "protocol.options must map recipes to their options, not '[]'",
        ),
        ("--config.seeds=0", "seeds must be at least 1, not 0"),
        (
            "--config.pair=wrn_16_1/convnet --config.method=teacher_layers",
            "no layer of the student",
        ),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_trained(tmp_path, option, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        main(chosen(Config(), [*TINY, *option.split()]), tmp_path / "w", runtime())
    assert not (tmp_path / "w").exists()


def maker(name):
    return lambda seed: jaxkd.from_nnx(models.create(name, num_classes=10, rngs=nnx.Rngs(seed)))


NETWORKS = MethodNetworks(
    make_teacher=maker("resnet14x0.5"),
    make_student=maker("resnet8x0.5"),
    make_assistant=maker("resnet8x0.5"),
)


def make_context(workdir, config, networks=NETWORKS):
    train, test = (images.load("cifar10", split, mock=64) for split in ("train", "test"))
    study = make_study(config, networks, MethodData(train, test), workdir, Runtime(), seeds=1)
    teacher = networks.make_teacher(100)
    return MethodContext(study.replace(teacher=teacher), config, networks, train, 10)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return make_context(tmp_path_factory.mktemp("m"), ProtocolConfig(epochs=10, batch_size=32))


def test_a_student_starts_from_the_teachers_layers(context):
    arm, study = strategy_arms.arm("teacher_layers", context), context.study.replace(num_views=0)
    student = arm.training(study, 3).student
    for path in ("stem.kernel", "stages.0.0.conv1.kernel", "head.kernel"):
        np.testing.assert_array_equal(student.params[path], study.teacher.params[path])
    with pytest.raises(ValueError, match="no layer of the student"):
        strategy_arms.matching_layers(maker("convnet")(0), study.teacher)


def test_phases_share_the_steps_of_a_plain_training(context):
    assert context.study.steps == 20
    for name, steps in {
        "born_again": [20] * 3,
        "assistant": [20] * 2,
        "stage_wise": [5, 15],
    }.items():
        phases = strategy_arms.arm(name, context).training(context.study, 0).phases
        assert [phase.steps for phase in phases] == steps


def test_a_progressive_teacher_needs_its_earlier_checkpoints(context):
    with pytest.raises(FileNotFoundError, match="anchor0.npz is not there"):
        strategy_arms.arm("progressive", context)


def test_the_learning_rate_falls_at_the_papers_milestones():
    config = ProtocolConfig(learning_rate=0.05, schedule="steps")
    rate = schedule(config, 240)
    rates = [float(rate(step)) for step in (0, 149, 151, 181, 211)]
    np.testing.assert_allclose(rates, [0.05, 0.05, 5e-3, 5e-4, 5e-5], rtol=1e-5)


def test_assistants_lie_between():
    assert assistant_between("resnet110", "resnet20") == "resnet44"
    assert assistant_between("resnet8", "resnet8") == ""
    assert assistant_between("resnet20x0.5", "resnet8x0.5") == "resnet14x0.5"
    assert assistant_between("resnet20x0.5", "resnet14x0.5") == ""


def test_learning_rates_are_each_networks_own(tmp_path):
    papers = ProtocolConfig(schedule="steps", learning_rate=0.01, batch_size=32)
    mobile = make_context(tmp_path, papers, dataclasses.replace(NETWORKS, teacher_rate=0.05))

    def first_step(optimizer):
        params = {"w": jnp.ones(())}
        updates, _ = optimizer.update({"w": jnp.ones(())}, optimizer.init(params), params)
        return float(updates["w"])

    ratio = first_step(mobile.teacher_optimizer()) / first_step(mobile.study.optimizer())
    assert ratio == pytest.approx(5.0)


def test_a_recipe_with_an_optimizer_has_the_schedule_of_the_protocol(tmp_path):
    papers = ProtocolConfig(schedule="steps", learning_rate=0.01, batch_size=32)
    context = make_context(tmp_path, papers)
    training = methods.arm("dot", context).training(context.study.replace(num_views=0), 0)
    assert training.step_options == {"split_gradients": True}
    params = {"w": jnp.ones(())}
    state = training.optimizer.init(params)
    half = {"w": 0.5 * jnp.ones(())}
    updates, _ = training.optimizer.update(
        params, state, params, task_updates=half, distillation_updates=half
    )
    # A cosine would start at zero.
    assert float(updates["w"]) < -5e-3


def test_views_of_an_arms_own_are_new_in_every_epoch(context, tmp_path):
    arm = strategy_arms.arm("function_matching", context)
    runs = Runs(context.study, tmp_path, "methods", functools.partial(arm.training, context.study))
    loader = runs.loader(arm.training(context.study, 0), 0)
    assert context.study.num_views == 1
    assert loader[0]["view"][0] == 0 and loader[loader.steps_per_epoch]["view"][0] == 1


def test_what_is_chosen_stays_in_the_reduced_protocol():
    config = Config(reduced=True)
    config.protocol.epochs = 3
    reduced = reduced_config(config)
    assert (reduced.protocol.epochs, reduced.protocol.examples) == (3, 2_000)
    assert reduced.pair == "resnet20x0.5/resnet8x0.5"


def test_every_strategy_is_a_method():
    assert set(strategy_arms.NAMES) <= set(methods.names())
    assert len(set(methods.names())) == len(methods.names())
