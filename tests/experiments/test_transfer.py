import numpy as np
import pytest
from absl import flags
from experiment_runs import run, runtime, table

from experiments.transfer import run as transfer
from experiments.transfer.config import Config, complete
from experiments.transfer.regimes import noisy
from jaxkd.data import Dataset

TINY = [
    "--config.dataset=digits",
    "--config.seeds=2",
    "--config.epochs=10",
    "--config.teacher_epochs=10",
    "--config.teacher_width=8",
    "--config.labels_per_class=1",
    "--config.left_out_classes=3",
    "--config.noise=0,0.6",
    "--config.teacher_widths=4,8",
    "--config.assistant_width=6",
]


def numbers(row: dict[str, str]) -> dict[str, float]:
    return {k.removesuffix(" mean"): float(v) for k, v in [*row.items()][1:] if v}


@pytest.mark.slow
def test_regimes_from_end_to_end_two_after_the_others(tmp_path):
    workdir = tmp_path / "w"
    first = run("transfer", workdir, *TINY, "--config.regimes=few_labels,left_out")
    assert first.returncode == 0, first.stderr
    before = {f: f.stat().st_mtime_ns for f in workdir.glob("*/*/*/result.npz")}
    assert len(before) == 2 * (3 + 4 + 2 * 2)
    assert "Line chart of Accuracy (%) by Labels a class, from 1 to" in (
        workdir / "report.html"
    ).read_text(encoding="utf-8")
    assert not (workdir / "noisy_labels.csv").exists()

    # The teacher and the students of all labels are shared.
    joined = run("transfer", workdir, *TINY, "--config.regimes=noise,capacity")
    assert joined.returncode == 0, joined.stderr
    assert {f: f.stat().st_mtime_ns for f in before} == before
    # The assistant is a student of its own, once.
    assert len(list(workdir.glob("*/*/*/result.npz"))) == len(before) + 2 * (4 + 1 + 1) + 1

    curve = table(workdir / "accuracy_over_labels.csv")
    assert [row["Labels a class"] for row in curve] == ["1", "all"]
    few = numbers(curve[0])
    assert few["Distilled, pool"] > few["Labels alone"] + 0.1
    (gain,) = map(numbers, table(workdir / "where_the_gain_comes_from.csv"))
    assert gain["Pool"] == pytest.approx(few["Distilled, pool"] - few["Labels alone"])
    assert gain["Pool"] == pytest.approx(
        gain["of which control"] + gain["of which teacher's labels"]
    )

    unseen = {
        row["Transfer set and student"]: numbers(row)
        for row in table(workdir / "classes_left_out.csv")
    }
    assert len(unseen) == 6
    for name in ("without 3", "only 7 and 8"):
        accuracy = [
            unseen[f"{name}: {arm}"]["Accuracy on unseen classes"]
            for arm in ("labels", "distilled", "bias corrected")
        ]
        assert accuracy[0] < 0.05 and accuracy[2] > 0.2 and accuracy[2] > accuracy[1]

    clean, wrong = map(numbers, table(workdir / "noisy_labels.csv"))
    arms = [f"Distilled, teacher of {labels} labels" for labels in ("clean", "the same")]
    assert clean[arms[0]] == clean[arms[1]]
    assert wrong["Labels alone"] < clean["Labels alone"] and wrong[arms[0]] > wrong["Labels alone"]

    followed = table(workdir / "teachers_of_growing_size.csv")
    assert [row["Teacher"] for row in followed] == [
        "none: labels alone",
        "CNN-4",
        "CNN-8",
        "assistant CNN-6, taught by CNN-8",
    ]
    assert 0 < int(followed[1]["Parameters"]) < int(followed[2]["Parameters"])
    largest = numbers(followed[2])
    assert largest["Agrees with its teacher"] == largest["Agrees with the largest"] > 0.5

    page = (workdir / "report.html").read_text(encoding="utf-8")
    for heading in ("Noisy labels", "A teacher too large"):
        assert f"{heading}</h2>" in page
    assert "Few labels</h2>" not in page
    assert "With 60% of the labels wrong" in " ".join(joined.stdout.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"regimes": "few_labels,noises"},
            "regimes must be some of .*, not 'few_labels,noises'; did you mean 'noise'",
        ),
        ({"seeds": -1}, "seeds must be at least 1, not -1"),
        ({"assistant_width": 0}, "assistant_width must be at least 1, not 0"),
        ({"mock": 100}, "mock=100 with dataset='digits'"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, not nan"),
        ({"noise": (0.2, 1.0)}, r"noise must lie in \[0, 1\), not 1.0"),
        ({"noise": (0.2, "all")}, "noise must be numbers separated by commas"),
        ({"teacher_widths": (4, 4)}, r"none twice, not \(4, 4\)"),
        ({"labels_per_class": (10, 2.5)}, "labels_per_class must be numbers"),
        ({"labels_per_class": (10, 1000)}, "fewer than per_class=1000"),
        ({"left_out_classes": (3, 10)}, r"left_out_classes: \[10\] are not among the 10 classes"),
        ({"only_classes": tuple(range(10))}, "leaves none of the classes out"),
        ({"batch_size": 5000}, "batch_size=5000 is more than the 1437 examples"),
        ({"temperature": 0.0}, "temperature must be a positive number, not 0.0"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], not 1.5"),
        ({"label_smoothing": 2.0}, r"label_smoothing must lie in \[0, 1\], not 2.0"),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_trained(tmp_path, options, message):
    flags.FLAGS.mark_as_parsed()
    with pytest.raises(ValueError, match=message):
        transfer.run(complete(Config(dataset="digits", **options)), tmp_path / "w", runtime())
    assert not (tmp_path / "w").exists()


def test_a_work_directory_of_another_configuration_is_refused(tmp_path):
    flags.FLAGS.mark_as_parsed()
    (tmp_path / "config.json").write_text('{"alpha": 0.5}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"alpha: 0.5 there, 0.9 now"):
        transfer.run(complete(Config(dataset="digits")), tmp_path, runtime())
    assert not (tmp_path / "teachers").exists()


def test_mock_examples_have_the_real_shape():
    train, test = transfer.load(complete(Config(mock=200)))
    assert (len(train), len(test)) == (200, 200)
    assert train.shape == (28, 28, 1) and train.num_classes == 10


def labeled(n: int = 1000, num_classes: int = 5) -> Dataset:
    return Dataset.from_arrays(
        np.arange(n)[:, None],
        np.arange(n) % num_classes,
        name="a",
        split="train",
        num_classes=num_classes,
    )


def test_noise_replaces_the_share_of_labels_by_all_other_classes_alike():
    data = labeled()
    some, more = noisy(data, 0.2), noisy(data, 0.4)
    wrong = some.labels != data.labels
    assert wrong.sum() == 200
    assert (more.labels != data.labels).sum() == 400
    np.testing.assert_array_equal(more.labels[wrong], some.labels[wrong])
    shift = np.bincount((more.labels - data.labels) % 5, minlength=5)[1:]
    assert shift.min() > 70 and shift.sum() == 400
    assert some.fingerprint == data.fingerprint
    np.testing.assert_array_equal(noisy(data, 0.2).labels, some.labels)
    np.testing.assert_array_equal(noisy(data, 0.0).labels, data.labels)
