"""The tasks: their data, what is measured of them, the protocol on a tiny one, and the page."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.tasks_parts import (
    clothing,
    digits,
    embeddings,
    protocol,
    report,
    scenes,
    spam,
    task,
)
from benchmarks.tasks_parts.task import ArmResult, Measure, Task, TaskResult
from experiments.common.mock_texts import mock_texts, mock_tokenizer
from experiments.common.sentence_encoders import mock_teacher
from jaxkd import Objective, Term, Views, from_function, losses, recipes
from jaxkd.data import Dataset
from jaxkd.metrics import Accuracy

IMAGES = np.random.default_rng(0).integers(60, 256, (12, 28, 28, 1)).astype(np.uint8)
CLOTHING = Dataset.from_arrays(
    IMAGES, np.arange(12) % 10, name="clothing", split="train", num_classes=10
)
ARMS = (task.FEW, task.TAUGHT, task.CONTROL, task.ALL, task.ALL_TAUGHT)


def linear(params, inputs):
    return inputs @ params


def tiny_task(**changes) -> Task:
    """Three classes that a linear map tells apart; teachers start from the right one."""
    inputs = np.tile(np.eye(3, dtype=np.float32), (4, 1))
    data = Dataset.from_arrays(inputs, np.arange(12) % 3, name="tiny", split="train", num_classes=3)
    tiny = Task(
        name="Tiny",
        description="Which of three",
        train=data,
        validation=data,
        test=data,
        few=data.ids[:3],
        make_teacher=lambda seed: from_function(linear, 5 * jnp.eye(3)),
        make_student=lambda seed: from_function(linear, jnp.full((3, 3), 0.01 * seed)),
        labels=recipes.labels(),
        distilled=lambda alpha: Objective(kd=Term(losses.kd, alpha)),
        measures={"accuracy": Measure(Accuracy())},
        steps=2,
        teacher_steps=1,
        rates=(-0.1, 0.1),
        decays=(0.0,),
        alphas=(0.5,),
        views=Views(),
        test_views=Views(),
        batch_size=12,
    )
    return dataclasses.replace(tiny, **changes)


def test_a_task_is_run_and_its_setting_is_chosen_on_validation_examples(tmp_path):
    result = protocol.run(tiny_task(), (0, 1), tmp_path)
    assert list(result.arms) == list(ARMS)
    for arm in result.arms.values():
        # The other learning rate goes uphill.
        assert arm.setting["rate"] == 0.1
        assert arm.values == {"accuracy": [1.0, 1.0]}
    assert result.teacher == {"accuracy": 1.0} and result.parameters == (9, 9)


def test_scenes_have_items_whose_classes_and_pixels_are_known():
    made = scenes.compose(CLOTHING, 20, seed=0)
    assert (scenes.compose(CLOTHING, 20, seed=0).maps == made.maps).all()
    for image, classes, pixels in zip(made.images, made.classes, made.maps, strict=True):
        inside = pixels > scenes.BACKGROUND
        assert set(pixels[inside] - 1) == set(np.flatnonzero(classes))
        assert (image[inside] > 0).all() and (image[pixels == scenes.BACKGROUND] == 0).all()
        assert 1 <= classes.sum() <= 3


def test_images_are_turned_by_what_their_labels_say():
    bar = np.zeros((40, 28, 28, 1), np.uint8)
    bar[:, 4:24, 12:16] = 255  # upright
    source = Dataset.from_arrays(bar, name="bars", split="train")
    images, shares = scenes.turned(source, seed=0)
    rows, columns = np.meshgrid(*(np.arange(28) - 13.5,) * 2, indexing="ij")
    weights = images[..., 0] / images.sum((1, 2, 3))[:, None, None]
    moments = [np.sum(weights * part, (1, 2)) for part in (rows**2 - columns**2, rows * columns)]
    angles = np.degrees(0.5 * np.arctan2(2 * moments[1], moments[0]))
    np.testing.assert_allclose(angles, scenes.LARGEST_ANGLE * shares, atol=1.0)


def test_similarities_of_embeddings_of_any_width_are_compared():
    teacher = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    where = np.arange(12) < 10
    batch = {"inputs": {"embedding": jnp.asarray(teacher)}, "where": jnp.asarray(where)}
    rotated = jnp.asarray(3 * np.pad(teacher, ((0, 0), (0, 2)))[:, ::-1])
    correlation, found = embeddings.SimilarityCorrelation(), embeddings.NearestFound()
    same = {"embedding": rotated}
    assert correlation.compute(correlation(same, batch)) == pytest.approx(1, abs=1e-4)
    assert found.compute(found(same, batch)) == 1
    other = {"embedding": rotated.at[:, :5].set(0)}
    units = [np.asarray(x)[where] for x in (other["embedding"], teacher)]
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in units]
    upper = np.triu_indices(10, 1)
    expected = np.corrcoef(*((x @ x.T)[upper] for x in units))[0, 1]
    assert correlation.compute(correlation(other, batch)) == pytest.approx(expected, abs=1e-4)


def test_the_page_says_what_a_teacher_brings(tmp_path):
    values = dict(
        zip(ARMS, ([0.5, 0.6], [0.7, 0.82], [0.4, 0.7], [0.9, 0.9], [0.9, 0.8]), strict=True)
    )
    arms = {arm: ArmResult({"rate": 0.1}, {"accuracy": numbers}) for arm, numbers in values.items()}
    result = TaskResult.of(
        tiny_task(),
        arms=arms,
        teacher={"accuracy": 0.95},
        control={"accuracy": 0.6},
        parameters=(9, 9),
    )
    result.write(tmp_path / "tiny.json")
    result = TaskResult.read(tmp_path / "tiny.json")
    text = report.page([result], None, "Made so.")
    few = "| Tiny | accuracy | 55.00 ± 7.07 | 76.00 ± 8.49 | +21.00 (+8.29 to +33.71) | helps |"
    assert few in text and "Made so." in text
    assert "\N{MINUS SIGN}5.00 (\N{MINUS SIGN}68.53 to +58.53) | not shown |" in text
    assert "few labels and a teacher 76.00 ± 8.49" in report.picture([result]).alt


@pytest.mark.slow
def test_two_heads_learn_from_two_label_sets(tmp_path):
    heads = dataclasses.replace(digits.two_heads(), rates=(1e-2,), decays=(1e-3,), alphas=(0.9,))
    assert isinstance(heads.train.labels, dict) and len(heads.few) == 30
    result = protocol.run(heads, (0,), tmp_path)
    digit = {arm: result.arms[arm].values["accuracy of digit"][0] for arm in ARMS}
    assert digit[task.TAUGHT] > digit[task.FEW] + 0.05
    assert digit[task.ALL] > 0.9 and result.teacher["accuracy of parity"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multi_label", "regression", "segmentation"])
def test_tasks_of_clothing_run_through(tmp_path, name):
    generator = np.random.default_rng(0)
    images = Dataset.from_arrays(
        generator.integers(0, 256, (400, 28, 28, 1)).astype(np.uint8),
        generator.integers(0, 10, 400),
        name="clothing",
        split="train",
        num_classes=10,
    )
    source = clothing.Clothing(images, images.with_split("test"))
    made = getattr(clothing, name)(source, scale=0.01)
    made = dataclasses.replace(made, rates=made.rates[:1], decays=(1e-3,), alphas=(0.5,))
    result = protocol.run(made, (0,), tmp_path)
    assert list(result.arms) == list(ARMS) and result.counts["train"] in (80, 20)


@pytest.mark.slow
def test_a_decision_about_texts_runs_through(tmp_path):
    encoder = mock_teacher(mock_tokenizer())
    train, test = (mock_texts(400, split, num_classes=2) for split in ("train", "test"))
    made = dataclasses.replace(spam.binary(train, test, encoder, scale=0.2), rates=(1e-2,))
    result = protocol.run(made, (0,), tmp_path)
    assert result.counts == {"train": 150, "validation": 50, "test": 200, "few": 40}


@pytest.mark.slow
def test_embeddings_of_texts_run_through(tmp_path):
    encoder = mock_teacher(mock_tokenizer())
    sentences = (mock_texts(400, split) for split in ("train", "test"))
    pairs = embeddings.half_width(*sentences, encoder, scale=0.02)
    result = embeddings.run(pairs, (0,), tmp_path)
    assert list(result.arms) == [embeddings.CONTRAST, embeddings.PROJECTED, embeddings.REDUCED]
    assert 0 < result.teacher["nearest found among ten"] <= 1
    table = report.page([], result, "Made so.")
    assert f"| {embeddings.REDUCED} |" in table
