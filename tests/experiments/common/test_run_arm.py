import dataclasses

import numpy as np
import pytest
from flax import nnx

import jaxkd
from experiments.common.study import Arm, Study, adamw, run_arm
from jaxkd import recipes, strategies
from jaxkd.data import digits
from jaxkd.models import MLP
from jaxkd.views import Normalize, Views


def make_student(seed):
    return jaxkd.from_nnx(MLP(64, (), 10, rngs=nnx.Rngs(seed)))


@pytest.mark.slow
def test_the_runs_of_an_arm_give_what_its_students_say(tmp_path):
    data = digits.load("test")
    study = Study(
        workdir=tmp_path,
        make_student=make_student,
        test=data,
        views=Views((Normalize(),)),
        test_views=Views((Normalize(),)),
        batch_size=64,
        learning_rate=0.01,
        seeds=(0, 1),
        evaluations=1,
        probe=lambda network: {"size": np.array(len(network.params))},
    )
    arm = Arm(
        "mutual",
        data,
        strategies.mutual(("first", "second")),
        3,
        extend=lambda fresh, seed: strategies.joint_network(
            {"first": fresh, "second": make_student(9 + seed)}
        ),
        deploy=lambda network: strategies.member_networks(network)["first"],
    )
    result = run_arm(study, arm, "some regime")
    assert (tmp_path / "some_regime/mutual/seed1/result.npz").exists()
    assert set(result.values) == {"logits"} and result.logits.shape == (2, len(data), 10)
    np.testing.assert_allclose(result.curve[:, -1], result.accuracies(data.labels), atol=1e-6)
    assert result.curve_steps.tolist() == [3] and int(result.probed["size"]) == 2

    phase = strategies.Phase("only", recipes.labels(), 3, adamw(0.01, 3))
    training = dataclasses.replace(
        Arm("labels", data, recipes.labels(), 3).training(study, 0), phases=[phase]
    )
    phases = Arm("phases", data, recipes.labels(), 3, make_training=lambda seed: training)
    again = run_arm(study, phases, "some regime")
    assert again.curve_steps.tolist() == [3] and again.logits.shape == result.logits.shape
