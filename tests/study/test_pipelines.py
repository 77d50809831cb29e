"""Arms of several stages: trained, pruned, masked, factorized and quantized."""

import dataclasses
import json
import re

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from studies import assert_same, linear, make_data, make_study, make_teacher, run_killed

import jaxkd
from jaxkd import compression, metrics, recipes
from jaxkd.data import Loader, digits, split
from jaxkd.models import MLP, ConvNet
from jaxkd.study import Arm, Pipeline, Stage, Study, pipeline
from jaxkd.study._pipeline_runs import runs_of
from jaxkd.study._saved_results import read_results
from jaxkd.training import fit

ALL = pipeline("kd", "prune", "qat")


def make_network(seed):
    return jaxkd.from_nnx(MLP(4, (8,), 4, rngs=nnx.Rngs(seed)))


def study_of(workdir, *arms, student=make_network, **options):
    return make_study(workdir, student=student, arms=[*arms], seeds=1, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = study_of(tmp_path_factory.mktemp("pipelines"), ALL, "kd")
    return study, study.run(progress=False)


def test_a_student_passes_through_the_stages(finished):
    study, results = finished
    result, student = results[ALL.name], results.network(ALL.name)
    assert student.params["layers.0.kernel"].shape == (4, 6)
    assert student.params["head.kernel"].dtype == np.int8
    labels = study.data["validation"].labels
    accuracy = metrics.accuracy(result.logits["validation"][0], labels)
    assert result.validation["accuracy"][0] == pytest.approx(accuracy)
    # Two fifths and a fifth of four steps come on top.
    assert result.steps == 4 + 2 + 1 and list(result.curve_steps) == [4, 6, 7]
    np.testing.assert_array_equal(result.curve[:, 0], results["kd"].curve[:, -1])


def test_pipelines_go_on_from_the_students_of_other_arms(finished):
    study, results = finished
    (beginning,) = (study.workdir / "stages").iterdir()
    assert beginning.name.startswith("kd___prune_")
    assert len(list(study.workdir.rglob("seed0/network.npz"))) == 3
    before = {file: file.stat().st_mtime_ns for file in study.workdir.rglob("seed0/*.npz")}
    again = study_of(study.workdir, ALL, "kd").run(progress=False)
    assert_same(again, results)
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_results_are_read_without_the_study(finished):
    study, results = finished
    again = read_results(study.workdir)
    assert again[ALL.name].arm.document() == ALL.document()
    assert again[ALL.name].arm.stages == ALL.stages
    assert again.report().to_html() == results.report().to_html()


def test_a_folder_is_bound_to_the_options_of_its_stages(finished):
    study, _ = finished
    other = pipeline("kd", Stage("prune", fraction=0.5), "qat", name=ALL.name)
    with pytest.raises(ValueError, match=r"before.fraction: 0.25 there, 0.5 now"):
        study_of(study.workdir, other, "kd").run(progress=False)


def test_what_the_deployed_students_cost_is_in_the_results(finished, tmp_path):
    study, results = finished
    small, plain = results[ALL.name].costs, results["kd"].costs
    params = results.network(ALL.name).params
    kernels = sum(leaf.size for name, leaf in params.items() if name.endswith("kernel"))
    assert small["parameters"][0] == sum(leaf.size for leaf in params.values())
    assert small["bytes"][0] == kernels + 4 * (small["parameters"][0] - kernels)
    assert plain["bytes"][0] == 4 * plain["parameters"][0] == 4 * (4 * 8 + 8 + 8 * 4 + 4)
    # Six of eight neurons, whose products are those of the network before it was quantized.
    assert small["flops"][0] / plain["flops"][0] == pytest.approx(6 / 8, abs=0.02)
    columns = results.table().to_markdown().splitlines()[0]
    assert "Bytes of the weights (kB)" in columns and "Forward pass (kFLOPs)" in columns
    assert "not zero" not in columns
    (finding,) = results.report().sections[0].findings[-1:]
    assert finding.text.endswith(
        f"{ALL.name} has 0.1 kB instead of 0.3 kB and 0.1 kFLOPs instead "
        "of 0.1 kFLOPs for a forward pass."
    )
    sparse = dataclasses.replace(results["kd"], costs={**plain, "nonzero": plain["parameters"] / 2})
    masked = dataclasses.replace(results, arms={"kd": results["kd"], "sparse": sparse})
    assert "Parameters not zero" in masked.table().to_markdown()
    alike = dataclasses.replace(results, arms={"kd": results["kd"], "same": results["kd"]})
    assert "Bytes" not in alike.table().to_markdown()
    document = json.loads((study.workdir / "results.json").read_text(encoding="utf-8"))
    assert document["arms"]["kd"]["costs"]["bytes"] == [plain["bytes"][0]]
    # An earlier version kept no costs.
    older = dataclasses.replace(results["kd"], costs={})
    mixed = dataclasses.replace(
        results, arms={**results.arms, "kd": older}, workdir=tmp_path, labels={}
    )
    mixed.save()
    assert not read_results(tmp_path)["kd"].costs and "Bytes" not in mixed.table().to_markdown()


@pytest.mark.slow
def test_a_stage_is_what_its_functions_do_by_hand(finished, tmp_path):
    study, results = finished
    student = results.network("kd")
    data, views = study.data["train"], study.views
    inputs = data.inputs[:16]
    shrunk = jaxkd.networks.edit_module(
        student, lambda module: compression.shrink(module, inputs, keep=0.75)[0]
    )
    step = jaxkd.make_train_step(
        shrunk,
        recipes.kd(),
        optax.adamw(study.schedule(2, study.learning_rate / 3), weight_decay=1e-4),
        teacher=make_teacher(),
    )
    with Loader(data, views, 16, seed=0, num_views=1) as loader:
        state = fit(step, step.init(0), loader, steps=2, progress=None).state
    pruned = study_of(tmp_path, pipeline(Arm("kd", online=True), "prune")).run(progress=False)
    by_hand = study.evaluator("test").logits(state.network(shrunk))
    (result,) = pruned.arms.values()
    np.testing.assert_allclose(result.logits["test"][0], by_hand, atol=1e-5)


@pytest.mark.slow
def test_killed_between_stages_and_inside_of_them_it_ends_in_the_same_numbers(
    finished, tmp_path, monkeypatch
):
    study, results = finished
    arms = [ALL, pipeline("kd", "sparsify", "quantize")]
    whole = study_of(tmp_path / "whole", *arms).run(progress=False)
    killed = run_killed(
        monkeypatch, study_of(tmp_path / "killed", *arms), at=(2, 5, 6, 8, 9, 12, 15)
    )
    assert_same(killed, whole)
    np.testing.assert_array_equal(killed[ALL.name].logits["test"], results[ALL.name].logits["test"])


@pytest.mark.slow
def test_masked_weights_stay_zero_through_the_stages_behind(tmp_path):
    arms = [
        pipeline("labels", "sparsify"),
        pipeline("labels", "sparsify", "qat"),
        pipeline("labels", "sparsify", "train"),
        pipeline("labels", "sparsify", Stage("sparsify", fraction=0.9)),
    ]
    study = study_of(tmp_path, *arms, steps=40, teacher=None)
    results = study.run(progress=False)
    zeros = {}
    for name in results.arms:
        kernels = {n: v for n, v in results.network(name).params.items() if n.endswith("kernel")}
        zeros[name] = {n: np.asarray(v, np.float32) == 0 for n, v in kernels.items()}
    first, *others = zeros.values()
    assert sum(each.sum() for each in first.values()) >= round(0.8 * 64)
    for other in others:
        assert all(other[path][first[path]].all() for path in first)
    assert sum(each.sum() for each in others[-1].values()) >= round(0.9 * 64)


@pytest.mark.slow
def test_every_stage_takes_a_network_with_batch_normalization_and_many_batches(tmp_path):
    data = split(digits.load("test"), {"train": 0.5, "validation": 0.5})

    def make(seed):
        return jaxkd.from_nnx(ConvNet(1, 10, widths=(8, 16, 16), rngs=nnx.Rngs(seed)))

    arms = [
        pipeline("at", "prune", Stage("low_rank", method="labels"), "sparsify", "quantize"),
        pipeline("self_average", Stage("prune", method="kd"), "qat"),
        pipeline(Arm("label smoothing"), Stage("quantize", weights="int4", activations=None)),
    ]
    study = Study(data, make, make(9), arms=arms, seeds=2, steps=6, batch_size=16, workdir=tmp_path)
    results = study.run(progress=False)
    factored, quantized, narrow = (results.network(name, 1).params for name in results.arms)
    assert {str(leaf.dtype) for n, leaf in factored.items() if n.endswith("kernel")} == {"int8"}
    assert any(".layers.1." in path for path in factored)
    assert not any("norm" in path.lower() for path in quantized)
    assert {str(leaf.dtype) for n, leaf in narrow.items() if n.endswith("kernel")} == {"int4"}
    assert not any(path.startswith("head.layers") for path in factored)


def test_documents_of_pipelines_go_around():
    given = pipeline(
        Arm("kd", {"alpha": 1.0}, steps=7),
        Stage("prune", fraction=0.5, protect=("head",), method=Arm("labels"), steps=3),
        "kd",
        Stage("low_rank", learning_rate=1e-4),
        name="mine",
    )
    document = json.loads(json.dumps(given.document()))
    again = Pipeline.from_document(document["options"], given.name)
    assert json.loads(json.dumps(again.document())) == document
    assert again.name == "mine" and again.first == given.first and again.is_distilled
    assert not pipeline("labels", "prune").is_distilled
    assert pipeline(given, "qat").stages[:-1] == given.stages


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pipeline("kd"), ValueError, "write pipeline('kd', \"prune\"), or Arm(…)"),
        (lambda: pipeline("kd", "prun"), ValueError, "besides: train, prune, sparsify"),
        (lambda: pipeline("kd", 3), TypeError, "a stage is a name, a Stage or an Arm, not 3"),
        (lambda: pipeline("kd", "qat", "prune"), ValueError, "write 'prune' before 'qat'"),
        (lambda: pipeline("kd", "quantize", "kd"), ValueError, "nothing can follow 'quantize'"),
        (lambda: pipeline("kd", "low_rank", "prune"), ValueError, "write 'prune', 'low_rank'"),
        (lambda: pipeline("kd", "sparsify", "low_rank"), ValueError, "would fill the zeros"),
        (lambda: pipeline("kd", "low_rank", "low_rank"), ValueError, "would factorize factors"),
        (
            lambda: pipeline("kd", "sparsify", Stage("sparsify", fraction=0.5)),
            ValueError,
            "'sparsify' of 0.5 after 0.8 would free weights",
        ),
        (lambda: pipeline("mutual", "prune"), ValueError, "Stage('prune', method=\"kd\")"),
        (lambda: Stage("prune", fraction=25), ValueError, "a share above 0 and below 1, not 25"),
        (lambda: Stage("prune", rank=0.5), ValueError, "unknown option 'rank' of 'prune'"),
        (lambda: Stage("prunes"), ValueError, "no stage 'prunes'; did you mean 'prune'?"),
        (lambda: Stage("quantize", steps=3), ValueError, 'write Stage("qat", …)'),
        (lambda: Stage("qat", steps=0), ValueError, "steps of 'qat' must be positive, not 0"),
    ],
)
def test_what_is_no_pipeline_is_refused_with_the_line_to_write(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


def test_what_cannot_pass_a_stage_is_refused_before_anything_is_trained(tmp_path):
    prune = pipeline("labels", "prune")
    with pytest.raises(ValueError, match="write steps= or epochs= in place of seconds="):
        study_of(tmp_path / "a", prune, seconds=1.0).run(progress=False)
    whole = pipeline("labels", Stage("low_rank", without=["layer.0"]))
    with pytest.raises(ValueError, match=r"'layer.0'\] match the complete name of no layer; those"):
        study_of(tmp_path / "e", whole).run(progress=False)
    weights = jax.numpy.eye(4)
    function = lambda seed: jaxkd.from_function(lambda w, x: x @ w, weights)  # noqa: E731
    with pytest.raises(ValueError, match=r"it is no network of from_nnx.*: write jaxkd.from_nnx"):
        study_of(tmp_path / "b", prune, student=function).run(progress=False)
    phases = lambda study, seed: Arm("born_again").training(study, seed)  # noqa: E731
    study = study_of(tmp_path / "c", pipeline(Arm(phases), "prune"))
    with pytest.raises(ValueError, match="would be trained in phases"):
        study.run(progress=False)
    wider = jaxkd.from_nnx(MLP(4, (9,), 4, rngs=nnx.Rngs(0)))
    other = lambda study, seed: study.training(seed, recipes.labels(), student=wider)  # noqa: E731
    with pytest.raises(ValueError, match="MLP was trained with other variables"):
        study_of(tmp_path / "d", pipeline(Arm(other, name="wide"), "prune")).run(progress=False)
    assert not list(tmp_path.rglob("network.npz"))
    with pytest.raises(ValueError, match="are those of its arms and stages: write"):
        jaxkd.distill(make_network, None, make_data(), method=prune, options={"alpha": 1.0})


def test_a_pipeline_goes_on_from_no_arm_that_is_only_called_alike(tmp_path):
    first, second = (jaxkd.from_function(linear, k * jax.numpy.eye(4)) for k in (1.0, 2.0))
    one, other = (
        Arm("several_teachers", {"others": {"x": x}}, name="one") for x in (first, second)
    )
    prune = Stage("prune", method="kd")
    study = study_of(tmp_path, one, pipeline(other, prune, name="other"), pipeline(one, prune))
    runs = runs_of(study, progress=False)
    assert runs["one · prune (method=kd)"]._before is runs["one"]
    assert runs["other"]._before.folder.parent.name == "stages"
    assert runs["other"]._before.training(0).teacher is not runs["one"].training(0).teacher


@pytest.mark.slow
def test_an_arm_that_joins_later_is_the_beginning_that_is_trained_already(tmp_path):
    prune = pipeline("kd", "prune")
    first = study_of(tmp_path, prune).run(progress=False)
    (file,) = (tmp_path / "stages").rglob("network.npz")
    trained = file.read_bytes(), file.stat().st_mtime_ns
    both = study_of(tmp_path, "kd", prune).run(progress=False)
    file = tmp_path / "kd/seed0/network.npz"
    assert (file.read_bytes(), file.stat().st_mtime_ns) == trained
    np.testing.assert_array_equal(*(r[prune.name].logits["test"] for r in (first, both)))
    assert both["kd"].logits["test"].shape == (1, 39, 4)


def importance(group):
    return np.arange(group.size)


def test_options_of_any_kind_are_plain_data_in_a_file():
    stage = Stage("prune", multiple_of=np.int64(2), importance=importance, steps=np.int64(3))
    document = json.loads(json.dumps(pipeline("kd", stage).document()))
    (kept,) = document["options"]["stages"]
    assert Stage("prune", fraction=np.float32(0.5)).options["fraction"] == 0.5
    assert (kept["multiple_of"], kept["steps"], kept["importance"]) == (2, 3, "importance")


def test_the_training_of_a_stage_can_be_made_alone(tmp_path):
    study = study_of(tmp_path, ALL, data=make_data(80))
    training = ALL.training(study, 0)
    assert training.steps == 1 and training.student.params["head.kernel"].shape == (6, 4)
