"""Recipes for text: they fit networks, and neither padding nor the cut of a batch matters."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

import jaxkd
from experiments.common import methods
from jaxkd import connectors, losses, make_train_step, recipes
from jaxkd.recipes import Pair, language
from jaxkd.recipes.language._common import uniform_layers
from jaxkd.strategies import on_policy

VOCABULARY, LENGTH, BATCH = 11, 6, 8
QUICK = {"xla_backend_optimization_level": 0}


def apply(params, inputs):
    """A small transformer without normalization, with the outputs that recipes name."""
    tokens, documents = inputs[..., 0], inputs[..., 1]
    seen = (documents[:, :, None] == documents[:, None, :]) & (documents > 0)[:, :, None]
    x = params["embeddings"][tokens]
    features = {"embeddings": x}
    for number, layer in enumerate(params["layers"], 1):
        q, k, v = (jnp.einsum("btw,whd->bhtd", x, layer[name]) for name in "qkv")
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -1e9))
        x = x + jnp.einsum("bhqk,bhkd->bqhd", weights, v).reshape(*tokens.shape, -1)
        features |= {f"layer{number}": x, f"attention{number}": scores}
    features |= {"hidden": x, "queries": q, "keys": k, "values": v}
    return x @ params["embeddings"].T, features


def network(seed, width, layers, heads):
    keys = iter(jax.random.split(jax.random.key(seed), 1 + 3 * layers))

    def normal(*shape):
        return jax.random.normal(next(keys), shape) / shape[0] ** 0.5

    made = [{name: normal(width, heads, width // heads) for name in "qkv"} for _ in range(layers)]
    params = {"embeddings": 2 * normal(VOCABULARY, width), "layers": made}
    return jaxkd.from_function(apply, params)


def data(seed=0, padding=0):
    """Packed rows of one or two documents, padded behind, and further padded."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, VOCABULARY, (BATCH, LENGTH + padding))
    cuts, ends = generator.integers(1, 4, (BATCH, 1)), generator.integers(4, LENGTH + 1, (BATCH, 1))
    places = np.arange(LENGTH + padding)
    documents = np.where(places < ends, 1 + (places >= cuts), 0)
    follows = np.append(documents[:, 1:], np.zeros((BATCH, 1), int), axis=1)
    where = (documents > 0) & (follows == documents)
    # Of padding whatever there may be.
    labels = np.where(where, np.roll(tokens, -1, axis=1), -1)
    inputs = np.stack([tokens, documents], axis=-1)
    return {
        "inputs": inputs.astype(np.int32),
        "labels": labels.astype(np.int32),
        "where": where,
        "by_student": np.arange(BATCH) % 4 < 2,
    }


@pytest.fixture(scope="module")
def pair():
    """A student of half the width and layers, with as many heads."""
    return Pair(network(0, 8, 1, 2), network(1, 16, 2, 2), data()["inputs"])


RECIPES = {
    "token_kd": lambda pair: language.token_kd(),
    "token_kd, reverse": lambda pair: language.token_kd(
        divergence=losses.reverse_kl_divergence,
        alpha=optax.linear_schedule(0.2, 0.8, 10),
        temperature=2.0,
    ),
    "distilbert": language.distilbert,
    "tinybert": functools.partial(language.tinybert, prediction_weight=1.0),
    "minilm": language.minilm,
    "minilm, causal": functools.partial(language.minilm, causal=True),
    "minilm, relation heads": functools.partial(language.minilm, relation_heads=4),
    "gkd": lambda pair: language.gkd(),
    "on_policy_reverse_kl": lambda pair: language.on_policy_reverse_kl(),
    "minillm": lambda pair: language.minillm(),
    "distillm2": lambda pair: language.distillm2(),
}


def test_every_recipe_is_here():
    declared = {name.removeprefix("language.") for name in recipes.names(language=True)}
    assert {name.split(",")[0] for name in RECIPES} == declared


def test_recipes_for_text_are_none_for_images():
    assert not [name for name in methods.names() if "language" in name]


def evaluator(pair, objective):
    """Compiled: value, metrics, and gradient to student and connectors."""
    connectors, state = objective.connectors()

    def value(params, batch):
        outputs = pair.student.apply(params[0], {}, batch["inputs"])[0]
        taught = pair.teacher(batch["inputs"])
        total, metrics, _ = objective(outputs, taught, batch, params=params[1], state=state)
        return total, metrics

    call = jax.jit(jax.value_and_grad(value, has_aux=True), compiler_options=QUICK)
    return lambda batch: jax.device_get(call((pair.student.params, connectors), batch))


def padded(batch, more=3):
    """The batch with some tokens of padding behind; what stands in it is arbitrary."""
    longer = data(1, padding=more)
    longer["by_student"] = batch["by_student"]
    for key in ("inputs", "labels", "where"):
        longer[key][:, :LENGTH] = batch[key]
    longer["inputs"][:, LENGTH:, 1], longer["labels"][:, LENGTH:] = 0, -1
    longer["where"][:, LENGTH:] = False
    return longer


# Recipes of the same parts as one before, or that tests of the strategies train, come last.
LATER = ["token_kd, reverse", "minilm", "minilm, relation heads", "gkd", "minillm", "distillm2"]


@few("name", sorted(RECIPES, key=LATER.__contains__), keep=len(RECIPES) - len(LATER))
def test_neither_padding_nor_the_cut_of_a_batch_matters(name, pair):
    evaluate, batch = evaluator(pair, RECIPES[name](pair)), data()
    (value, metrics), gradient = evaluate(batch)
    assert np.isfinite(value)
    assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(gradient)) > 1e-3
    assert all(np.max(np.abs(leaf)) > 1e-5 for leaf in jax.tree.leaves(gradient[1]))
    longer = evaluate(padded(batch))
    chex.assert_trees_all_close(longer, ((value, metrics), gradient), rtol=1e-4, atol=1e-5)
    if name != "minillm":  # Whitened over the batch: see the test of micro-batches.
        halves = [jax.tree.map(lambda x, h=half: x[h::2], batch) for half in (0, 1)]
        one, two = (evaluate(half)[0][1] for half in halves)
        added = jax.tree.map(np.add, one, two)
        chex.assert_trees_all_close(added, metrics, rtol=1e-4, atol=1e-5)


def one_step(pair, objective, batch, **options):
    """The metrics and the parameters after one step of plain descent, by 1."""
    optimizer = optax.sgd(1.0)
    step = make_train_step(pair.student, objective, optimizer, teacher=pair.teacher, **options)
    state, metrics = step(step.init(), batch)
    return jax.device_get((state.params, metrics))


@pytest.mark.parametrize("name", ["minillm", "minilm"])
def test_micro_batches_change_nothing(name, pair):
    """Of a loss whose tokens are whitened together, and of one whose connector sees the inputs."""
    whole = one_step(pair, RECIPES[name](pair), data())
    parts = one_step(pair, RECIPES[name](pair), data(), micro_batches=2)
    chex.assert_trees_all_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_distillm2_learns_each_half_from_its_own_rows(pair):
    batch = data()
    outputs = [jax.jit(side)(batch["inputs"]) for side in (pair.student, pair.teacher)]
    objective = language.distillm2(skew=0.2)
    params, state = objective.connectors()
    _, metrics, _ = objective(*outputs, batch, params=params, state=state)
    for name, loss, rows in (
        ("forward", losses.skew_kl_divergence, ~batch["by_student"]),
        ("reverse", losses.skew_reverse_kl_divergence, batch["by_student"]),
    ):
        values = loss(*(side["logits"] for side in outputs), skew=0.2)
        mask = batch["where"] & rows[:, None]
        np.testing.assert_allclose(metrics[name][0], np.sum(values, where=mask), rtol=1e-5)
        assert metrics[name][1] == mask.sum()


def test_token_kd_is_kd_for_the_forward_divergence(pair):
    batch = data()
    outputs = [jax.jit(side)(batch["inputs"]) for side in (pair.student, pair.teacher)]
    for temperature in (1.0, 3.0, optax.constant_schedule(3.0)):
        mine = language.token_kd(alpha=0.3, temperature=temperature)(*outputs, batch)[0]
        other = recipes.kd(alpha=0.3, temperature=temperature)(*outputs, batch)[0]
        np.testing.assert_allclose(mine, other, rtol=1e-5)
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], not 2"):
        language.token_kd(alpha=2)


def test_layers_are_spread_evenly_the_last_for_the_last(pair):
    assert uniform_layers(3, 3) == [(1, 1), (2, 2), (3, 3)]
    assert uniform_layers(3, 7) == [(1, 3), (2, 5), (3, 7)]
    terms = language.tinybert(pair).terms
    assert {name: (term.student, term.teacher) for name, term in terms.items()} == {
        "embeddings": ("embeddings", "embeddings"),
        "hidden1": ("layer1", "layer2"),
        "attention1": ("attention1", "attention2"),
    }
    assert language.minilm(pair).terms["attention"].teacher == "attention2"
    with pytest.raises(ValueError, match="student of 4 layers .* teacher of 2"):
        uniform_layers(4, 2)


def test_widths_that_agree_need_no_projection(pair):
    same = Pair(network(0, 16, 1, 2), pair.teacher, pair.inputs)
    assert language.distilbert(same).terms["cosine"].connector is None
    assert language.distilbert(pair).terms["cosine"].connector is not None


def test_what_does_not_fit_is_refused(pair):
    other = Pair(network(0, 8, 1, 4), pair.teacher, pair.inputs)
    with pytest.raises(ValueError, match="'attention1' has 4 heads, the teacher's 'attention2' 2"):
        language.tinybert(other)
    with pytest.raises(ValueError, match="'attention1' has 4 heads, the teacher's 'attention2' 2"):
        language.minilm(other)
    language.minilm(other, relation_heads=8)
    with pytest.raises(ValueError, match="student's queries are 8 wide, which relation_heads=16"):
        language.minilm(other, relation_heads=16)
    plain = jaxkd.from_function(lambda params, x: params[x[..., 0]], jnp.ones((VOCABULARY, 3)))
    with pytest.raises(ValueError, match="needs the student's output 'hidden'"):
        language.distilbert(Pair(plain, pair.teacher, pair.inputs))
    with pytest.raises(ValueError, match="needs by_student; the batch has"):
        batch = {name: value for name, value in data().items() if name != "by_student"}
        evaluator(pair, language.distillm2())(batch)


def test_rows_beside_each_other_meet_the_recipe(pair):
    """The batch of `on_policy(beside=True)` has what DistiLLM-2's recipe requires."""

    class Text:
        def __init__(self, tokens, lengths):
            self.tokens, self.lengths = tokens, lengths

    def generator(params, state, prompts, prompt_lengths, *, key):
        tokens = jnp.concatenate([prompts, jnp.tile(prompts[:, :1], (1, LENGTH - 2))], axis=1)
        return Text(tokens, jnp.full(len(prompts), LENGTH))

    batch_transform = on_policy(generator, prompt_length=2, beside=True)
    _, metrics = one_step(pair, language.distillm2(), data(), batch_transform=batch_transform)
    assert metrics["forward"] > 0 and metrics["reverse"] > 0


def test_encoders_learn_from_tokens_without_a_label(pair):
    """From the first and the last of a document, and from those of prompts, but from no padding."""
    batch, there = data(), data()["inputs"][..., 1] > 0
    assert there.sum() > batch["where"].sum()
    prompts = batch | {"labels": np.where(np.arange(LENGTH) < 3, -1, batch["labels"])}
    prompts["where"] = prompts["labels"] >= 0
    unlabeled = batch | {"where": np.zeros_like(there)}
    rows = batch | {"where": np.arange(BATCH) % 2 < 1}
    without = {name: value for name, value in batch.items() if name != "where"}
    tokens = batch | {"inputs": batch["inputs"][..., 0]}
    outputs = [
        jax.jit(side, compiler_options=QUICK)(batch["inputs"])
        for side in (pair.student, pair.teacher)
    ]
    for recipe in (language.distilbert, language.tinybert, language.minilm):
        objective = recipe(pair)

        @jax.jit
        def counts(batch, objective=objective):
            params, state = objective.connectors()
            found = objective(*outputs, batch, params=params, state=state)[1]
            return [count for name, (_, count) in found.items() if name != "label"]

        for each in (batch, prompts, unlabeled, without):
            assert {int(count) for count in counts(each)} == {there.sum()}
        assert {int(count) for count in counts(rows)} == {there[::2].sum()}
        # Where the outputs do not mark padding, the batch does.
        assert {int(count) for count in counts(tokens)} == {batch["where"].sum()}


def test_padding_that_nothing_leaves_out_is_refused(pair):
    pairs = connectors.TokenPairMask()
    term = jaxkd.Term(losses.attention_mse, 1.0, None, "attention1", "attention2", pairs)
    objective, batch = jaxkd.Objective(attention=term), data()
    del batch["where"]
    with pytest.raises(ValueError, match=r"'where' has the shape None.*enter the mean"):
        evaluator(pair, objective)(batch)
    rows = batch | {"where": np.ones(BATCH, bool)}
    with pytest.raises(ValueError, match=rf"'where' has the shape \({BATCH},\)"):
        evaluator(pair, objective)(rows)
