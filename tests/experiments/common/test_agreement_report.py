import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from experiments.common import agreement_report
from jaxkd.metrics import agreement, cka
from jaxkd.models import MLP, ConvNet
from jaxkd.study import Report
from jaxkd.study.runtime import Runtime
from jaxkd.training import Partitioning, make_mesh
from jaxkd.views import Normalize, Views

STUDY = types.SimpleNamespace(eval_views=Views((Normalize(),)), runtime=Runtime())


def convnet(seed=0, widths=(4, 6)):
    strides = (1, *(2 for _ in widths[1:]))
    model = ConvNet(1, 5, widths=widths, strides=strides, rngs=nnx.Rngs(seed))
    return jaxkd.from_nnx(model)


def predictions(num_classes, seeds=3, examples=60):
    """A teacher, a method that follows it and labels alone, which do not."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, examples)
    truth = 3.0 * np.eye(num_classes)[labels]
    teacher = truth + generator.normal(size=truth.shape)
    teacher[:6] = np.roll(truth[:6], 1, axis=-1)  # Wrong on the first six at least.

    def students(center, noise):
        return center + noise * generator.normal(size=(seeds, *truth.shape))

    logits = {"labels": students(truth, 1.5), "kd": students(teacher, 0.1)}
    return logits, teacher, labels


def test_features_are_the_layers_of_held_out_examples(images):
    found = agreement_report.features_of(convnet(), STUDY, images, 150)
    assert list(found) == ["stage1", "stage2", "embedding"]
    assert all(len(values) == 150 and values.dtype == np.float32 for values in found.values())
    assert found["stage1"].shape[1:3] == (4, 4)
    # All of them, in order: the network's own outputs.
    every = agreement_report.features_of(convnet(), STUDY, images, 1000, size=1)
    inputs = Views((Normalize(),)).render(
        {"inputs": images.inputs, "id": images.ids, "view": 0 * images.ids, "labels": images.labels}
    )
    outputs = convnet()(inputs["inputs"])
    np.testing.assert_allclose(every["embedding"], outputs["embedding"], rtol=1e-4, atol=1e-5)
    expected = outputs["stage1"].mean((1, 2), keepdims=True)
    np.testing.assert_allclose(every["stage1"], expected, rtol=1e-4, atol=1e-5)


def test_features_on_a_mesh_are_those_of_one_device(images):
    mesh = make_mesh(data=2, fsdp=2, devices=jax.devices()[:4])
    partitioning = Partitioning(mesh, min_size=0)
    study = types.SimpleNamespace(eval_views=STUDY.eval_views, runtime=Runtime(partitioning))
    one, two = (agreement_report.features_of(convnet(), s, images, 20) for s in (STUDY, study))
    assert list(one) == list(two)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-5)


def test_perceptrons_tokens_and_networks_without_layers(images):
    mlp = jaxkd.from_nnx(MLP(64, (9, 8, 7), 5, rngs=nnx.Rngs(0)))
    # The last hidden layer is the embedding.
    assert list(agreement_report.features_of(mlp, STUDY, images, 10)) == [
        "hidden1",
        "hidden2",
        "embedding",
    ]

    def plain(params, inputs):
        return inputs.reshape(len(inputs), -1) @ params

    def tokens(params, inputs):
        rows = inputs.reshape(len(inputs), 8, 8)
        return plain(params, inputs), {f"stage{i}": rows * i for i in (2, 10, 1)}

    found = agreement_report.features_of(
        jaxkd.from_function(tokens, jnp.ones((64, 5))), STUDY, images, 10
    )
    assert list(found) == ["stage1", "stage2", "stage10"] and found["stage1"].shape == (10, 8)
    bare = agreement_report.features_of(
        jaxkd.from_function(plain, jnp.ones((64, 5))), STUDY, images, 10
    )
    assert {k: v.shape for k, v in bare.items()} == {"logits": (10, 5)}
    with pytest.raises(ValueError, match="at least 1, got 0 and 4"):
        agreement_report.features_of(mlp, STUDY, images, 0)


def test_similarity_is_that_of_every_pair_of_layers(images):
    student = agreement_report.features_of(convnet(), STUDY, images, 40)
    teacher = agreement_report.features_of(convnet(1, (8, 4, 6)), STUDY, images, 40)
    matrix, rows, columns = agreement_report.similarity(student, teacher)
    assert rows == ["stage1", "stage2", "embedding"]
    assert columns == ["stage1", "stage2", "stage3", "embedding"] and matrix.shape == (3, 4)
    assert matrix[1, 2] == pytest.approx(cka(student["stage2"], teacher["stage3"]))


@pytest.mark.parametrize("num_classes", [2, 5, 40])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_section_of_any_number_of_classes_and_seeds(num_classes, seeds, tmp_path):
    logits, teacher, labels = predictions(num_classes, seeds)
    layers = np.array([[0.9, -0.001], [np.nan, 0.5]]), ["stage1", "embedding"], ["stage1", "x"]
    names = [f"class {i}" for i in range(num_classes)] if num_classes == 5 else ()
    section = agreement_report.section(
        logits, teacher, labels, names, {"labels": layers, "kd": layers}
    )
    # The confusion of up to twelve classes.
    assert len(section.figures) == (6 if num_classes <= 12 else 5) and len(section.findings) == 6
    assert "-0.00" not in section.figures[1].data.decode()
    assert "about kd, which has the highest mean" in section.text
    Report("Learned", "", [section]).write_html(tmp_path / "report.html")
    kinds = {finding.kind for finding in section.findings}
    assert kinds == {"none"} if seeds == 1 else "gain" in kinds


def test_the_table_and_the_findings_say_who_follows_the_teacher_into_its_mistakes():
    logits, teacher, labels = predictions(5)
    section = agreement_report.section(logits, teacher, labels, ())
    (table,) = section.tables
    first, plain, kd = table.rows
    assert first[0] == "teacher" and first[2] == "" and plain[0] == "labels"
    wrong = teacher.argmax(-1) != labels
    expected = np.mean([agreement(x[wrong], teacher[wrong]) for x in logits["kd"]])
    assert kd[-1].mean == pytest.approx(expected) and kd[-1].mean > 0.9 > plain[-1].mean
    assert kd[2].mean > plain[2].mean and kd[3].mean < plain[3].mean
    kinds = {finding.text.split(",")[0]: finding.kind for finding in section.findings}
    assert kinds["For agreement with the teacher"] == "gain"
    assert kinds["For the divergence from the teacher (KL)"] == "gain"
    assert kinds["For keeping clear of the teacher's mistakes"] == "loss"
    assert f"wrong on {wrong.sum()} of 60" in section.text


def test_a_teacher_without_mistakes_has_none_to_take_over():
    logits, _, labels = predictions(5)
    section = agreement_report.section(logits, 9.0 * np.eye(5)[labels], labels, ())
    assert len(section.findings) == 5 and "mistakes" not in section.findings[-1].text
    assert section.tables[0].to_markdown().splitlines()[-1].endswith("| – |")


def test_labels_alone_are_reported_without_a_rival():
    logits, teacher, labels = predictions(5)
    alone = {"labels": logits["labels"]}
    section = agreement_report.section(alone, teacher, labels, ())
    assert agreement_report.best_of(alone, labels) is None
    assert section.findings == [] and len(section.figures) == 3


def test_the_best_is_the_most_accurate_beside_labels():
    logits, teacher, labels = predictions(5)
    logits["worse"] = -logits["kd"]
    assert agreement_report.best_of(logits, labels) == "kd"
    dead = np.full((1, 1), np.nan), ["embedding"], ["embedding"]
    section = agreement_report.section(logits, teacher, labels, (), {"kd": dead})
    assert len(section.figures) == 4  # A matrix without a number is not drawn.


def test_what_does_not_fit_is_refused():
    logits, teacher, labels = predictions(5)
    with pytest.raises(ValueError, match="no result"):
        agreement_report.section({}, teacher, labels, ())
    with pytest.raises(ValueError, match=r"logits are \[60, 4\], others .*'kd': \[60, 5\]"):
        agreement_report.section(logits, teacher[:, :4], labels, ())
