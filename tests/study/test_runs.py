import jax
import jax.numpy as jnp
import numpy as np
import pytest
from studies import linear, make_study

from jaxkd import from_function, recipes
from jaxkd.study._runs import Runs


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int4])
def test_students_of_types_that_numpy_does_not_know_are_read_again(tmp_path, monkeypatch, dtype):
    study = make_study(tmp_path)
    student = from_function(lambda w, x: linear(w["w"], x), {"w": jnp.zeros((4, 4), dtype)})
    ones = jax.tree.map(jnp.ones_like, student.params)
    trained = student.replace(params=ones, state=student.state)
    make = lambda seed: study.training(seed, recipes.labels(), student=student)  # noqa: E731
    runs = Runs(study, tmp_path / "arm", "arm", make)
    monkeypatch.setattr(runs, "measured", lambda network, part: {})
    runs.keep(0, trained, (np.array([1]), np.array([0.5])), 0.0)
    (found,) = jax.tree.leaves(runs.network(0).params)
    assert found.dtype == dtype and (found.astype(jnp.float32) == 1).all()
