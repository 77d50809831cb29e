import dataclasses

import numpy as np
import pytest
from studies import make_data, make_study, make_teacher
from test_class_figures import studied
from test_conclusion import BASE, arm_result, results

from jaxkd.data import Dataset, Texts, Tokenizer
from jaxkd.study import Arm, Picture, Report, Stage, pipeline
from jaxkd.study._differing import BOTH_RIGHT, BOTH_WRONG, STUDENT_RIGHT, TEACHER_RIGHT, differing
from jaxkd.study._differing_section import TITLE, differing_section
from jaxkd.study._run_study import _has_own_teacher
from jaxkd.study._saved_results import read_results
from jaxkd.study._shown_inputs import read_inputs, save_inputs, shown_inputs
from jaxkd.study.evaluator import EVAL_BATCH
from jaxkd.teachers import from_callable

# Rows: both right, teacher alone, student alone, both wrong alike, both wrong apart, no label.
LABELS = np.array([0, 0, 1, 2, 2, -1])
TEACHER = 4.0 * np.eye(3)[[0, 0, 0, 0, 0, 1]]
STUDENT = 2.0 * np.eye(3)[[0, 1, 1, 0, 1, 0]]


def taught(labels=LABELS, teacher=TEACHER, student=STUDENT, **shown):
    found = studied(labels, np.stack([student] * 3))
    known = {} if teacher is None else {"test": teacher}
    return dataclasses.replace(found, teacher_logits=known, class_names=("a", "b", "c"), **shown)


def test_the_four_cases_and_who_predicts_what():
    found = differing(taught(), "kd")
    assert found.counts == {BOTH_RIGHT: 1, TEACHER_RIGHT: 1, STUDENT_RIGHT: 1, BOTH_WRONG: 2}
    assert found.differ == 3
    cases = [(each.position, each.case) for each in found.examples]
    assert cases == [(1, TEACHER_RIGHT), (2, STUDENT_RIGHT), (4, BOTH_WRONG)]
    first = found.examples[0]
    assert (first.label, first.teacher[0], first.student[0]) == (0, 0, 1)
    e = np.exp
    np.testing.assert_allclose(
        [first.teacher[1], first.student[1]], [e(4) / (e(4) + 2), e(2) / (e(2) + 2)]
    )


@pytest.mark.parametrize(("teacher_right", "student_right", "shown"), [
    (20, 20, [6, 6]), (20, 2, [10, 2]), (3, 20, [3, 9]), (2, 1, [2, 1]),
])  # fmt: skip
def test_places_are_shared_and_the_most_confident_mistakes_come_first(
    teacher_right, student_right, shown
):
    count = teacher_right + student_right
    rows = np.arange(count)
    student_is_right = rows >= teacher_right
    eye = np.eye(3)
    teacher = (1.0 + rows)[:, None] * eye[student_is_right.astype(int)]
    student = (1.0 + rows)[:, None] * eye[1 - student_is_right.astype(int)]
    found = differing(taught(np.zeros(count, int), teacher, student), "kd")
    # Right are those of class 0.
    cases = [each.case for each in found.examples]
    assert [cases.count(case) for case in (TEACHER_RIGHT, STUDENT_RIGHT)] == shown
    of_teacher = [each.position for each in found.examples if each.case == TEACHER_RIGHT]
    assert of_teacher == sorted(of_teacher, reverse=True)
    assert of_teacher[0] == teacher_right - 1


def test_where_nothing_can_be_said_there_is_no_section():
    assert differing_section(taught(teacher=None), "kd") is None
    assert differing_section(taught(LABELS.astype(float)), "kd") is None
    assert differing_section(taught(teacher=TEACHER[:, :2]), "kd") is None
    assert differing_section(taught(teacher=np.full_like(TEACHER, np.nan)), "kd") is None
    assert differing_section(results(kd=arm_result("kd", BASE)), "kd") is None
    arms = {n: dataclasses.replace(x, has_own_teacher=True) for n, x in taught().arms.items()}
    assert differing_section(dataclasses.replace(taught(), arms=arms), "kd") is None


def test_images_are_pictures_and_others_a_table():
    image = np.zeros((4, 4, 1), np.uint8)
    section = differing_section(taught(shown_inputs={1: image, 2: image}), "kd")
    assert [picture.title for picture in section.pictures] == [TEACHER_RIGHT, STUDENT_RIGHT]
    assert section.pictures[0].lines == ["Label: a", "Teacher: a, 96%", "Student: b, 79%"]
    page = Report("R", "", [section]).to_html()
    assert page.count("<img ") == 2 and "Teacher: a, 96\u00a0%" in page
    texts = differing_section(taught(shown_inputs={1: "one < two"}), "kd")
    assert not texts.pictures
    assert texts.tables[1].rows == [["2", TEACHER_RIGHT, "a", "a, 96%", "b, 79%", "one < two"]]
    assert section.text.startswith("On 3 of the 5 labeled test examples")
    with pytest.raises(ValueError, match=r"must be uint8 .* got float64\[2\]"):
        Picture(np.zeros(2), "no picture")


def test_what_is_shown_of_an_input(tmp_path):
    def shown(inputs, positions=(0,)):
        known = {"name": "x", "split": "all", "ids": [10, 20], "num_classes": 2}
        return shown_inputs(Dataset.from_arrays(inputs, [0, 1], **known), positions)

    gray = np.arange(2 * 9, dtype=np.uint8).reshape(2, 3, 3, 1)
    np.testing.assert_array_equal(shown(gray, [1])[1], gray[1])
    np.testing.assert_array_equal(shown(gray[..., 0], [1])[1], gray[1])
    np.testing.assert_array_equal(shown({"age": np.ones(2), "image": gray})[0], gray[0])
    scaled = shown(gray.astype(np.float32) - 5)[0]
    assert (scaled.min(), scaled.max(), scaled.dtype) == (0, 255, np.uint8)
    assert shown(np.full((2, 320, 100, 3), 7, np.uint8))[0].shape == (160, 50, 3)
    assert shown(-np.ones((2, 9), np.float32) / 3)[0] == "−0.3333, " * 7 + "−0.3333, …"
    assert shown({"a": np.arange(2), "b": np.ones((2, 2))}, [1])[1] == "a: 1; b: 1, 1"
    assert shown(np.array([[True], [False]]))[0] == "1"
    texts = Texts.from_texts(["né\n so", "x" * 400], [0, 1], name="t", split="all", num_classes=2)
    rows = texts.padded(Tokenizer.bytes(), 410, labels="class")
    written = shown_inputs(rows, [0, 1])
    assert written == {0: "né so", 1: "x" * 300 + " …"}
    words = shown_inputs(rows, [0, 1], lambda inputs: [f"{len(x)} tokens" for x in inputs])
    assert words == {0: "410 tokens", 1: "410 tokens"}
    with pytest.raises(TypeError, match=r"show must return texts or images.* int32\[410, 2\]"):
        shown_inputs(rows, [0], lambda inputs: inputs)
    other = dataclasses.replace(rows, tokenizer="another")
    assert shown_inputs(other, [0])[0].startswith("tokens 110, 195, 169")

    file = tmp_path / "shown.npz"
    save_inputs(file, written)
    assert read_inputs(file) == written
    save_inputs(file, shown(gray))
    np.testing.assert_array_equal(read_inputs(file)[0], gray[0])
    several = {3: gray[0], 1: np.ones((2, 5, 3), np.uint8), 2: "a text"}
    save_inputs(file, several)
    read = read_inputs(file)
    assert list(read) == [3, 1, 2] and read[2] == "a text"
    for position in (1, 3):
        np.testing.assert_array_equal(read[position], several[position])
    save_inputs(file, {})
    assert read_inputs(file) == {} and not file.exists()


def test_what_shows_nothing_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(TypeError, match="show must return texts or images"):
        make_study(tmp_path, show=lambda inputs: inputs).run(progress=False)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_study_keeps_the_outputs_of_its_teacher_and_knows_whose_they_are(tmp_path):
    weights = 5.0 * np.eye(4, dtype=np.float32)
    calls = []

    def call(x):
        calls.append(len(x) == EVAL_BATCH)
        return {"logits": x @ weights}

    teacher = from_callable(call, name="first")
    options = {"arms": ["labels"], "seeds": 1, "steps": 1}
    study = make_study(tmp_path, teacher=teacher, **options)
    first = study.run(test=False, progress=False)
    assert first.teacher.keys() == read_results(tmp_path).teacher_logits.keys() == {"validation"}
    first = study.run(progress=False)
    made = sum(calls)
    again = study.run(progress=False)
    assert sum(calls) == made, "the third run reads them"
    part = make_data()["test"]
    np.testing.assert_allclose(first.teacher_logits["test"], part.inputs @ weights)
    assert again.teacher == first.teacher and first.teacher["test"]["accuracy"] == 1.0
    weights[:] = -weights
    with pytest.warns(UserWarning, match="no more than chance"):
        other = study.replace(teacher=from_callable(call, name="second")).run(progress=False)
    np.testing.assert_allclose(other.teacher_logits["test"], part.inputs @ weights)
    assert other.teacher["test"]["accuracy"] < 0.2
    titles = [section.title for section in other.report().sections]
    assert TITLE in titles and other.shown_inputs
    # Of the same name, and yet another one: as its outputs show.
    weights[:] = -weights
    changed = study.replace(teacher=from_callable(call, name="second")).run(progress=False)
    assert changed.teacher == first.teacher
    # What is no longer a part of the results is not read, though its file is there.
    study.run(test=False, progress=False)
    assert (tmp_path / "teacher_test.npz").exists()
    assert read_results(tmp_path).teacher_logits.keys() == {"validation"}


def test_an_arm_with_a_teacher_of_its_own_is_not_compared_with_the_one_of_the_study(tmp_path):
    inside = Stage("train", method=Arm("kd", teacher=make_teacher()))
    arms = [Arm("kd", teacher=make_teacher()), Arm("labels")]
    study = make_study(tmp_path, arms=arms, seeds=1, steps=1)
    assert _has_own_teacher(study, pipeline("labels", inside))
    assert not _has_own_teacher(study, pipeline("kd", "prune"))
    for found in (study.run(progress=False), read_results(tmp_path)):
        assert differing(found, "kd") is None and differing(found, "labels") is not None
