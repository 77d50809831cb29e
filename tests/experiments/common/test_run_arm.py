import numpy as np
import pytest
from flax import nnx

import jaxkd
from experiments.common.study import Arm, Study, run_arm
from jaxkd import metrics, strategies
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
    logits = result.values["logits"]
    assert set(result.values) == {"logits"} and logits.shape == (2, len(data), 10)
    accuracies = [metrics.accuracy(each, data.labels) for each in logits]
    np.testing.assert_allclose(result.curve[:, -1], accuracies, atol=1e-6)
    assert result.curve_steps.tolist() == [3]
