"""Which outputs of a teacher a study reads from a cache, and which caches its arms share."""

import dataclasses

import jax
import numpy as np
import pytest
from studies import make_data, make_study, make_teacher

from jaxkd import cache, from_function, recipes
from jaxkd.study import Arm, _teacher_caches
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
    # One pass of one student, which the build would make, too.
    assert is_online(steps=1, batch_size=81) and not is_online(steps=1, batch_size=81, seeds=2)
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
