"""Embeddings from a teacher of another width, images or rows of text."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxkd import connectors, from_function, losses, make_train_step, recipes
from jaxkd.recipes import Pair

GENERATOR = np.random.default_rng(0)
ROWS = {
    "tokens": GENERATOR.integers(0, 20, (6, 4)).astype(np.int32),
    "mask": np.arange(4) < GENERATOR.integers(1, 5, (6, 1)),
}


def bag(width, seed):
    """A mean of the tokens of a row, which ends where its mask does."""
    table = np.random.default_rng(seed).normal(size=(20, width)).astype(np.float32)

    def embed(table, rows):
        mask = rows["mask"][..., None]
        total = jnp.sum(jnp.where(mask, table[rows["tokens"]], 0), axis=1)
        return {"embedding": total / jnp.sum(mask, axis=1)}

    return from_function(embed, table)


TEACHER = bag(8, 0)
EMBEDDINGS = TEACHER.apply(TEACHER.params, TEACHER.state, ROWS)[0]["embedding"]


def value(objective, student):
    params, state = objective.connectors()
    outputs, teacher = {"embedding": student}, {"embedding": EMBEDDINGS}
    _, metrics, _ = objective(outputs, teacher, {}, params=params, state=state)
    return {name: float(total / count) for name, (total, count) in metrics.items()}


def test_half_the_width_learns_the_reduced_teacher_and_each_prefix():
    components = connectors.pca(np.asarray(EMBEDDINGS), 4, center=False)
    pair = Pair(bag(4, 1), TEACHER, ROWS)
    options = {"components": components, "reduce_teacher": True, "widths": (2, 4)}
    method = recipes.create("embedding_kd", pair, **options)
    coordinates = EMBEDDINGS @ components.components.T
    found = value(method.objective, coordinates)
    assert found["embedding_kd"] == pytest.approx(0, abs=1e-5)
    relation = sum(losses.sp(coordinates[:, :w], EMBEDDINGS) for w in (2, 4))
    assert found["relation"] == pytest.approx(float(relation), rel=1e-4)
    step = make_train_step(method.student, method.objective, optax.adam(0.05), teacher=TEACHER)
    state, metrics = jax.eval_shape(step.function, step.frozen, step.init(), {"inputs": ROWS})
    assert set(metrics) == {"loss", "embedding_kd", "relation"} and state is not None


def test_a_linear_map_starts_from_components_and_trains():
    components = connectors.pca(np.asarray(EMBEDDINGS), 4)
    pair = Pair(bag(4, 1), TEACHER, ROWS)
    objective = recipes.embedding_kd(pair, components=components, relation_weight=0.0)
    params, _ = objective.connectors()
    assert sorted(x.shape for x in jax.tree.leaves(params)) == [(4, 8), (8,)]
    coordinates = (EMBEDDINGS - components.mean) @ components.components.T
    assert value(objective, coordinates)["embedding_kd"] < 0.2
    random = recipes.embedding_kd(pair, relation_weight=0.0)
    assert value(random, coordinates)["embedding_kd"] > 0.4


def test_a_student_as_wide_as_the_teacher_needs_no_connector():
    objective = recipes.embedding_kd(Pair(bag(8, 1), TEACHER, ROWS), widths=(4, 8))
    assert objective.connectors() == ({}, {})
    assert value(objective, EMBEDDINGS)["embedding_kd"] == pytest.approx(0, abs=1e-6)


def test_widths_that_do_not_fit_are_refused():
    pair = Pair(bag(4, 1), TEACHER, ROWS)
    with pytest.raises(ValueError, match=r"width 4 .* of width 8: write reduce_teacher=True, comp"):
        recipes.embedding_kd(pair, widths=(2, 4))
    with pytest.raises(ValueError, match=r"pass components=connectors\.pca\(embeddings, 4\)"):
        recipes.embedding_kd(pair, reduce_teacher=True)
    components = connectors.pca(np.asarray(EMBEDDINGS), 3)
    with pytest.raises(ValueError, match=r"\(3, 8\) do not lead .* 8 to the student's 4: write"):
        recipes.embedding_kd(pair, components=components, reduce_teacher=True)
