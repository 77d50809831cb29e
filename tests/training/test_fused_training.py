"""Students whose loss is fused with their head, trained without logits."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

from jaxkd import Objective, Term, from_function, losses, make_train_step
from jaxkd.networks import without_logits
from jaxkd.training import Partitioning, fit, make_mesh

TOKENS, WIDTH, CLASSES = (8, 6), 4, 16
PAIR = ("hidden", "head")


def network(seed=0):
    generator = np.random.default_rng(seed)
    embedding, head = (
        jnp.asarray(generator.normal(size=shape), jnp.float32)
        for shape in ((CLASSES, WIDTH), (WIDTH, CLASSES))
    )

    def decoder(params, tokens):
        hidden = jnp.tanh(params["embedding"][tokens])
        return hidden @ params["head"], {"hidden": hidden, "head": params["head"]}

    return from_function(decoder, {"embedding": embedding, "head": head})


def batch(seed=0, labeled=None):
    generator = np.random.default_rng(seed)
    made = {
        "inputs": generator.integers(0, CLASSES, TOKENS).astype(np.int32),
        "labels": generator.integers(-1, CLASSES, TOKENS).astype(np.int32),
        "where": generator.random(TOKENS) < 0.7,
    }
    made["labels"][0, 0], made["where"][0, 0] = -1, True
    if labeled is None:
        return made
    return {**made, "labels": np.abs(made["labels"]), "labeled": labeled}


def fused_objective(teacher=PAIR):
    kd, label = (
        losses.fused_linear(loss, chunk_size=8) for loss in (losses.kd, losses.cross_entropy)
    )
    return Objective(
        kd=Term(kd, 0.7, optax.linear_schedule(4.0, 2.0, 3), PAIR, teacher),
        label=Term(label, 0.3, student=PAIR),
    )


def naive_objective():
    return Objective(
        kd=Term(losses.kd, 0.7, optax.linear_schedule(4.0, 2.0, 3)),
        label=Term(losses.cross_entropy, 0.3),
    )


def trained(student, objective, *, steps=2, **options):
    step = make_train_step(student, objective, optax.sgd(0.1), teacher=network(9), **options)
    state = step.init()
    for index in range(steps):
        state, metrics = step(state, batch(index))
    return state, metrics


def test_the_step_is_that_of_all_logits():
    state, metrics = trained(without_logits(network()), fused_objective())
    expected, expected_metrics = trained(network(), naive_objective())
    chex.assert_trees_all_close(state.params, expected.params, rtol=1e-4, atol=1e-6)
    assert set(expected_metrics) - set(metrics) == {"accuracy"}
    chex.assert_trees_all_close(
        metrics, {name: expected_metrics[name] for name in metrics}, rtol=1e-5
    )


@few("explicit", [True, False], ids=["explicit", "auto"])
def test_on_a_mesh_with_the_classes_spread(explicit):
    partitioning = Partitioning(make_mesh(fsdp=2, model=2, explicit=explicit), min_size=0)
    state, metrics = trained(
        without_logits(network()), fused_objective(), partitioning=partitioning
    )
    assert state.params["student"]["head"].sharding.spec == jax.P("fsdp", "model")
    expected, expected_metrics = trained(without_logits(network()), fused_objective())
    chex.assert_trees_all_close(
        jax.device_get((state.params, metrics)),
        (expected.params, expected_metrics),
        rtol=1e-4,
        atol=1e-5,
    )


def test_no_logits_are_computed():
    student, objective = without_logits(network()), fused_objective()
    step = make_train_step(student, objective, optax.sgd(0.1), teacher=network(9))
    state = step.init()
    text = step.lower(state, batch()).compile().as_text()
    assert f"[8,6,{CLASSES}]" not in text and f"[48,{CLASSES}]" not in text
    assert f"[8,{CLASSES}]" in text


def values(objective, student, teacher, given):
    return jax.jit(lambda *arrays: objective(*arrays)[1])(student, teacher, given)


def test_what_counts():
    """Padding never; tokens that are not labeled for the teacher alone."""
    student, teacher = network()(batch()["inputs"]), network(9)(batch()["inputs"])
    labeled = np.arange(TOKENS[0]) % 2 == 0
    for given in (batch(), batch(labeled=labeled)):
        found = values(fused_objective(), student, teacher, given)
        expected = values(naive_objective(), student, teacher, given)
        chex.assert_trees_all_close(found, expected, rtol=1e-5)
        assert 0 < found["label"][1] < found["kd"][1] == given["where"].sum()
    both = Objective(both=Term(losses.fused_kd(alpha=0.5), student=PAIR, teacher=PAIR))
    found = values(both, student, teacher, batch(labeled=labeled))
    assert found["both"][1] == batch()["where"].sum()
    soft = {**batch(), "labels": jax.nn.softmax(teacher["logits"])}
    label = Objective(label=fused_objective().terms["label"])
    found = values(label, student, None, {**soft, "labeled": labeled})
    assert found["label"][1] == (soft["where"] & labeled[:, None]).sum()


def test_a_teacher_of_a_cache_in_bfloat16():
    student, inputs = network()(batch()["inputs"]), batch()["inputs"]
    outputs = {"logits": network(9)(inputs)["logits"].astype(jnp.bfloat16)}
    found = values(fused_objective("logits"), student, outputs, batch())
    expected = values(naive_objective(), student, outputs, batch())
    chex.assert_trees_all_close(found, expected, rtol=1e-5)


def test_training_starts_without_a_look_at_logits(images):
    class Batches:
        dataset = images

        def __getitem__(self, index):
            return batch(index)

    student, objective = without_logits(network()), fused_objective()
    step = make_train_step(student, objective, optax.sgd(0.1), teacher=network(9))
    state = step.init()
    fitted = fit(step, state, Batches(), steps=2, log_every=1, progress=None)
    assert [sorted(row) for row in fitted.train] == [["kd", "label", "loss", "step"]] * 2


def test_micro_batches_refuse_a_head():
    with pytest.raises(ValueError, match="output 'head' .4, 16. has no axis of examples"):
        trained(without_logits(network()), fused_objective(), micro_batches=2)


def test_a_tuple_must_be_a_sum_and_a_count():
    student = network()(batch()["inputs"])

    def unfit(student, labels, *, where=None):
        return student[0], student[1], labels

    def deaf(student, labels):
        return losses.masked_sum_and_count(student[0])

    for loss, message in ((unfit, "a tuple is .sum, count."), (deaf, "a sum and a count of its")):
        with pytest.raises(ValueError, match=message):
            Objective(term=Term(loss, student=PAIR))(student, None, batch())


def test_the_same_variables_evaluate_with_logits():
    plain, bare = network(), without_logits(network())
    chex.assert_trees_all_equal(plain.params, bare.params)
    assert plain.fingerprint() == bare.fingerprint()
    outputs = plain(batch()["inputs"])
    total = functools.partial(losses.fused_linear(losses.cross_entropy), labels=batch()["labels"])
    assert np.isfinite(total((outputs["hidden"], outputs["head"]))[0])
    assert sorted(bare(batch()["inputs"])) == ["head", "hidden"]
