"""Which outputs of a teacher a study reads from a cache, and which caches its arms share."""

import dataclasses

import jax
import numpy as np
import pytest
from studies import make_data, make_study, make_teacher

from jaxkd import cache, from_function, recipes
from jaxkd.study import Arm, _teacher_caches
from jaxkd.study._arm_runs import ArmRuns
from jaxkd.targets import Dense
from jaxkd.teachers import from_callable


def test_students_of_other_labels_read_the_same_cache(tmp_path):
    data = make_data()
    own = dataclasses.replace(data["train"])
    wrong = dataclasses.replace(own, labels=(own.labels + 1) % 4)
    study = make_study(tmp_path, {**data, "train": own, "wrong": wrong})
    for name, examples in (("train", own), ("wrong", wrong)):
        read = Arm("kd", data=name).training(study.replace(), 0).cache
        with study.runtime.loader(examples, study.views, 16, cache=read) as loader:
            assert "teacher" in loader[0]
    assert len(list((tmp_path / "caches").iterdir())) == 1


def test_a_method_may_bring_a_cache_of_its_own(tmp_path):
    study = make_study(tmp_path / "study")
    own = cache.build(tmp_path / "own", make_teacher(), study.data["train"], study.views)
    training = study.training(0, recipes.kd(), cache=own)
    assert training.cache is own and not (tmp_path / "study").exists()


def wide(weights, inputs):
    return {"logits": inputs @ weights, "embedding": inputs @ weights @ weights}


def wide_student(seed):
    return from_function(wide, 0.1 * jax.random.normal(jax.random.key(seed), (4, 4)))


def wide_study(workdir, **options):
    teacher = from_function(wide, 5.0 * np.eye(4, dtype=np.float32))
    arms = [Arm("pkt", name="cached"), Arm("pkt", name="online", online=True)]
    options = {"arms": arms, "seeds": 1, "steps": 8, **options}
    return make_study(workdir, student=wide_student, teacher=teacher, **options)


def test_features_of_the_teacher_come_from_a_cache_and_train_the_same_student(tmp_path):
    study = wide_study(tmp_path)
    cached, online = (arm.training(study, 0) for arm in study.arms)
    assert cached.teacher is None and online.cache is None
    record = cached.cache.read(cached.examples.ids[:1], view=0).decode()
    assert {name: value.shape for name, value in record.items()} == {"embedding": (1, 4)}
    results = study.run(test=False, progress=False)
    one, other = (results[name].logits["validation"] for name in ("cached", "online"))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_features_are_cached_only_where_it_pays(tmp_path, monkeypatch):
    arm = Arm("pkt")

    def is_online(**options):
        return arm.training(wide_study(tmp_path, **options), 0).cache is None

    assert not is_online()
    assert is_online(num_views=0)
    # One pass of a student, which the build would make, too; seeds may be added later.
    assert is_online(steps=1, batch_size=81) and is_online(steps=1, batch_size=81, seeds=9)
    assert not is_online(steps=2, batch_size=81)
    assert not is_online(codec={"embedding": Dense("float16")}, steps=1, batch_size=81)
    monkeypatch.setattr(_teacher_caches, "_LEAST_GAIN", 3.0)
    assert is_online()
    monkeypatch.setattr(_teacher_caches, "_LEAST_GAIN", 1.1)
    monkeypatch.setattr(_teacher_caches, "_MOST_BYTES", 81 * 16 - 1)
    assert is_online()
    monkeypatch.setattr(_teacher_caches, "_MOST_BYTES", 81 * 16)
    assert not is_online()


@pytest.mark.slow
def test_features_of_a_teacher_outside_of_jax_are_cached(tmp_path):
    teacher = from_callable(
        lambda x: {"logits": 5.0 * np.asarray(x), "embedding": np.asarray(x)}, name="scale"
    )
    study = wide_study(tmp_path, arms=["pkt"]).replace(teacher=teacher)
    training = study.arms[0].training(study, 0)
    record = training.cache.read(training.examples.ids[:1], view=0).decode()
    np.testing.assert_allclose(record["embedding"], training.examples.inputs[:1], rtol=1e-6)


@pytest.mark.parametrize("codec", [None, Dense("float16"), {"embedding": Dense("float16")}])
def test_every_method_finds_its_outputs_whatever_output_has_a_codec(tmp_path, codec):
    study = wide_study(tmp_path, arms=["kd", "pkt"], codec=codec)
    kd, pkt = (arm.training(study, 0).cache for arm in study.arms)
    assert set(kd.read(kd.ids[:1], view=0).decode()) == {"logits"}
    assert set(pkt.read(pkt.ids[:1], view=0).decode()) == {"embedding"}
    assert study.run(test=False, progress=False)["kd"].validation["accuracy"].shape == (1,)


def test_seeds_that_are_added_train_as_the_first_ones_did(tmp_path):
    # One pass: the teacher is online, however many students there are.
    study = wide_study(tmp_path, arms=["pkt"], steps=1, batch_size=81)
    first = study.run(test=False, progress=False)
    more = study.replace(seeds=2).run(test=False, progress=False)
    assert more.values("pkt")[0] == first.values("pkt")[0]


def test_a_part_counts_the_build_over_the_whole_of_it(tmp_path):
    data = make_data()
    parts = {**data, "few": data["train"].select(data["train"].ids[:20])}
    study = wide_study(tmp_path, data=parts, batch_size=20)

    def is_online(steps):
        return Arm("pkt", data="few").training(study.replace(steps=steps), 0).cache is None

    # 4 steps see 80 examples, which are 4 passes, and the cache of all has 81.
    assert is_online(4) and not is_online(5)


def test_a_budget_of_time_decides_on_the_cache_once(tmp_path):
    study = wide_study(tmp_path, arms=["pkt"], seconds=1e-9)
    runs = ArmRuns(study, study.arms[0], progress=False)
    # A step, where 1,000 were rehearsed from the cache.
    assert runs.steps == 1 and runs.training(0).cache is not None


def test_new_views_of_a_teacher_outside_of_jax_are_refused_with_the_line_to_write(tmp_path):
    teacher = from_callable(lambda x: 5.0 * np.asarray(x), name="scale")
    message = r"'scale' are read from a cache, .*num_views=0 .*write Study\(…, num_views=10\)"
    study = make_study(tmp_path, teacher=teacher, num_views=0)
    with pytest.raises(ValueError, match=message):
        Arm("kd").training(study, 0)
    with pytest.raises(ValueError, match="are read from a cache"):
        Arm("kd", online=False).training(make_study(tmp_path, num_views=0), 0)
