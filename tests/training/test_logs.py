"""CSV files whose lines were spoiled, lost or changed between two parts of a run."""

import optax
import pytest

from jaxkd import make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.training import fit, logs
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))


def run(student, data, workdir, steps):
    step = make_train_step(student, recipes.labels(), optax.sgd(0.1), views=VIEWS)
    return fit(
        step,
        step.init(),
        Loader(data, VIEWS, 32),
        steps=steps,
        log_every=1,
        workdir=workdir,
        evaluate=lambda state: {"at": int(state.step), "unknown": float("nan")},
        eval_every=2,
        tensorboard=False,
        progress=None,
    )


SPOILED = {
    "second header": lambda lines: [*lines[:2], lines[0], *lines[1:]],
    "missing line": lambda lines: [*lines[:2], *lines[3:]],
    "missing header": lambda lines: lines[1:],
    "cut": lambda lines: lines[:3],
    "changed": lambda lines: [*lines[:2], lines[2].replace("2,", "2,1"), *lines[3:]],
    "twice": lambda lines: [*lines, *lines[1:]],
    "deleted": lambda lines: [],
    "no numbers": lambda lines: [*lines[:2], "3,x\n"],
}


def test_rows_that_are_spoiled_or_missing_are_restored_with_a_warning(images, mlp, tmp_path):
    run(mlp(), images, tmp_path / "whole", 5)
    texts = {name: (tmp_path / "whole" / name).read_bytes() for name in ("train.csv", "eval.csv")}
    run(mlp(), images, tmp_path / "cut", 4)
    file = tmp_path / "cut/train.csv"
    lines = file.read_bytes().decode().splitlines(keepends=True)
    for name, spoil in SPOILED.items():
        file.write_bytes("".join(spoil(lines)).encode())
        with pytest.warns(UserWarning, match="train.csv.*rows are restored from the checkpoint"):
            run(mlp(), images, tmp_path / "cut", 4)
        assert file.read_bytes().decode().splitlines(keepends=True) == lines, name
    run(mlp(), images, tmp_path / "cut", 5)
    for name, text in texts.items():
        assert (tmp_path / "cut" / name).read_bytes() == text


def test_metrics_may_come_and_go_when_a_run_is_resumed(images, mlp, tmp_path):
    step = make_train_step(mlp(), recipes.labels(), optax.sgd(0.1), views=VIEWS)

    def train(steps, *names):
        return fit(
            step, step.init(), Loader(images, VIEWS, 32), steps=steps, log_every=1, eval_every=1,
            workdir=tmp_path, evaluate=lambda state: dict.fromkeys(names, 0.5),
            tensorboard=False, progress=None,
        )  # fmt: skip

    train(1, "a", "b")
    with pytest.warns(
        UserWarning, match=r"\['c'\] are nan in the rows before step 2, \['a'\] from"
    ):
        train(3, "c", "b")
    # In another order they are the same.
    train(4, "b", "c", "a")
    assert (tmp_path / "eval.csv").read_text(encoding="utf-8").split() == [
        "step,a,b,c", "1,0.5,0.5,nan", "2,nan,0.5,0.5", "3,nan,0.5,0.5", "4,0.5,0.5,0.5"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,loss\n1,2.0\nstep,loss\n2,1.0\n", r"line 3 of .*train.csv is no row of .*'step'"),
        ("step,loss\n1,2.0\n2\n", "line 3 of .* is no row"),
        ("step,loss\n1,2.0\n2,1.0\n2,1.0\n", "line 4 of .* is of step 2 after one of step 2"),
        ("1,2.0\n2,1.0\n", "line 2 of .* is no row of"),
    ],
)
def test_logs_without_a_checkpoint_name_the_line(tmp_path, text, message):
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        logs.CSV(tmp_path, resume_step=9).rows("train")
    assert (tmp_path / "train.csv").read_text(encoding="utf-8") == text
