import pathlib
import subprocess
import sys

import pytest

from experiments.common import flag_help
from experiments.digits import __main__ as digits
from experiments.digits.config import Config

ROOT = pathlib.Path(__file__).parents[3]
NAMES = sorted(file.parent.name for file in (ROOT / "experiments").glob("*/__main__.py"))


def parsed(*arguments):
    flag_help.check_fields(arguments, Config())
    return flag_help.parse(["digits", *arguments], Config(), [digits])


def test_help_lists_every_field_with_default_and_range(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("--help")
    assert not ended.value.code
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("Digits: the demonstration.")
    assert "--config.alpha default: 0.9; ≥ 0 and ≤ 1" in out
    assert "--config.student.width default: 32; ≥ 1" in out


def test_a_wrong_flag_is_one_line_that_says_which_was_meant(capsys):
    for wrong, near in {
        "--config.alhpa=1": "--config.alpha",
        "--alhpa=1": "--config.alpha",
    }.items():
        with pytest.raises(SystemExit) as ended:
            parsed(wrong)
        err = capsys.readouterr().err
        assert ended.value.code == 2 and err.count("\n") == 1
        assert "did you mean" in err.lower() and near in err


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_help_of_every_experiment_ends_well(name):
    command = [sys.executable, "-m", f"experiments.{name}", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stderr
    assert "--config." in run.stdout
    assert "--workdir" in run.stdout and f"(default: runs/{name})" in run.stdout
