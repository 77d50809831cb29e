import json

import pytest
from calls import asked, status
from objects_and_teachers import write_teacher

from benchmarks.front_door_parts.objects import write_images
from jaxkd._command_line import distill, tune
from jaxkd.study import Study

COMMANDS = ["distill", "tune", "report", "cache", "export"]


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "pets", 60)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_options_and_their_defaults(command, capsys):
    assert status(command, "--help") == 0
    out = capsys.readouterr().out
    assert f"usage: jaxkd {command}" in out
    if command in ("distill", "tune"):
        assert "(default: 0.001)" in out and "(default: 3)" in out and "(default: )" not in out


def test_the_version_and_all_commands(capsys):
    assert status("--version") == 0 and status("--help") == 0
    out = capsys.readouterr().out
    assert out.startswith("jaxkd ") and all(f"\n{name}: " in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distil"], "there is no command distil (did you mean distill?)"),
        ([], "name a command: distill, tune, report, cache, export"),
        (["--verson"], "there is no option --verson (did you mean --version?)"),
        (["cache", "--hlep"], "there is no option --hlep (did you mean --help?)"),
        (["distill", "--seeds", "1,a"], "argument --seeds: 'a' is no integer"),
        (["distill", "--epochs", "few"], "argument --epochs: 'few' is no number"),
        (["distill", "--epohcs=3"], "there is no option --epohcs (did you mean --epochs"),
        (["tune", "--temprature", "3"], "there is no option --temprature (did you mean --temper"),
        (["distill", "--format", "onnx,tflit"], "there is no 'tflit' (did you mean tflite"),
        (["distill", "--data=x"], "required: --teacher, --student, --out"),
        (["distill", "--steps", "3", "--epochs", "2"], "not allowed with argument"),
        (["tune", "--tuning-steps", "3", "--tuning-epochs", "2"], "not allowed with argument"),
        (["cache", "inf", "x"], "there is no 'inf' (did you mean info?)"),
        (["report", "a", "b"], "there is nothing that b could mean here"),
    ],
)
def test_a_wrong_option_is_one_line_that_says_which_was_meant(arguments, message, capsys):
    assert status(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and "--help" in err


def test_lists_have_commas_or_spaces_and_names_hyphens_or_underscores():
    needed = ["--data=a", "--teacher=b", "--student=c", "--out=d"]
    for words in (["--seeds=1,2", "3"], ["--seeds", "1", "2", "3"], ["--seeds", "1,2,3"]):
        assert distill.make_parser().parse_args([*needed, *words]).seeds == [1, 2, 3]
    assert distill.make_parser().parse_args([*needed, "--batch_size", "8"]).batch_size == 8
    grid = tune.make_parser().parse_args([*needed, "--alpha", "0.5,", "1"])
    assert grid.alpha == [0.5, 1.0] and grid.method == ["kd"]


def test_a_folder_becomes_a_student_and_a_report(pets, tmp_path, capsys):
    arguments = asked(pets, tmp_path, "--method=labels", "--no-compare", "--seeds=1", "--steps=1")
    assert status("distill", *arguments) == 0
    assert {"report.html", "report.md", "report.json"} < {f.name for f in tmp_path.iterdir()}
    assert (tmp_path / "student" / "weights.safetensors").exists()
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (share,) = document["arms"]["labels"]["scores"]["test"]["accuracy"]
    card = json.loads((tmp_path / "student" / "card.json").read_text(encoding="utf-8"))["stated"]
    assert (card["method"], card["accuracy"]) == ("labels, 1 step, seed 0", {"test": share})
    capsys.readouterr()
    assert status("distill", *arguments, "--steps=2") == 1
    assert "belongs to another configuration (steps: 1 there, 2 now)" in capsys.readouterr().err
    # The exported student is not taken for that of another method.
    assert status("distill", *arguments, "--method=label smoothing") == 1
    message = "holds another student (labels, 1 step, seed 0), and this one is not written (label s"
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_is_made_again_from_files(pets, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    out, teacher = tmp_path / "out", write_teacher(tmp_path / "teacher.onnx")
    steps = ["--steps=3", "--seeds=2", "--format=stablehlo"]
    arguments = asked(pets, out, *steps, teacher=teacher)
    assert status("distill", *arguments) == 0
    report = (out / "report.json").read_bytes()
    page, text = (out / "report.html").read_bytes(), (out / "report.md").read_bytes()
    assert {file.name for file in (out / "student").iterdir()} == {
        "README.md", "card.json", "model.stablehlo", "run.py", "weights.safetensors",
    }  # fmt: skip
    for name in ("report.html", "report.md", "report.json"):
        (out / name).unlink()
    assert status("report", out) == 0
    assert (out / "report.json").read_bytes() == report
    assert (out / "report.md").read_bytes() == text
    assert len((out / "report.html").read_bytes()) == pytest.approx(len(page), rel=0.01)
    assert status("distill", *arguments) == 0  # everything is there
    assert (out / "report.json").read_bytes() == report
    assert status("distill", *arguments, "--format=safetensors,onnx") == 1
    assert "was exported without onnx" in capsys.readouterr().err


@pytest.mark.slow
def test_a_teacher_that_is_not_there_is_trained_first(pets, tmp_path):
    arguments = asked(pets, tmp_path, "--steps=2", "--seeds=1", "--no-compare", teacher="train:mlp")
    assert status("distill", *arguments) == 0
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(document["arms"]) == ["kd"] and document["teacher"]["test"]
    assert (tmp_path / "teacher" / "results.json").exists()


@pytest.mark.parametrize("budget", [{}, {"epochs": 2.5}, {"steps": 7}])
def test_settings_are_tried_for_a_shorter_time(budget, pets, tmp_path, monkeypatch, capsys):
    given = {}

    def stopped(study, method, **options):
        given.update(options)
        raise ValueError("enough is known")

    monkeypatch.setattr(Study, "tune", stopped)
    words = [f"--tuning-{name}={value}" for name, value in budget.items()]
    assert status("tune", *asked(pets, tmp_path, "--steps=9", *words)) == 1
    assert capsys.readouterr().err == "error: enough is known\n"
    assert {name: given[name] for name in ("steps", "epochs") if given[name]} == budget


@pytest.mark.slow
def test_tune_tries_a_grid(pets, tmp_path):
    pytest.importorskip("onnxruntime")
    grid = ["--steps=2", "--seeds=1", "--tuning-seeds=1", "--temperature=1,2", "--alpha", "0.5"]
    grid += ["--tuning-steps=1"]
    teacher = write_teacher(tmp_path / "teacher.onnx")
    assert status("tune", *asked(pets, tmp_path / "out", *grid, teacher=teacher)) == 0
    report = (tmp_path / "out" / "report.json").read_bytes()
    tried, confirmed = (json.loads(report)[name]["arms"] for name in ("tried", "confirmed"))
    assert len(tried) == 2
    assert {each["steps"] for each in tried.values()} == {1}
    assert {each["steps"] for each in confirmed.values()} == {2}
    assert status("report", tmp_path / "out") == 0
    assert (tmp_path / "out" / "report.json").read_bytes() == report
