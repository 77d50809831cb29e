"""A student that learns from texts which it generates, and a teacher that generates the data."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import make_train_step, recipes
from jaxkd.data import raw_batch
from jaxkd.generation import from_decoder, generate
from jaxkd.models import Decoder
from jaxkd.recipes import language
from jaxkd.strategies import generate_targets, on_policy
from jaxkd.training import Partitioning, fit, make_mesh
from jaxkd.views import Views

VOCABULARY, PROMPT, LENGTH, BATCH = 5, 2, 6, 8
STOP = 4
SGD = optax.sgd(0.5)
PROMPTS = np.array([[1, 2], [3, 0], [2, 2], [0, 1], [3, 3]], np.int32)
PROMPT_LENGTHS = np.array([2, 1, 2, 2, 1])


def apply(params, inputs):
    """Each token's logits by the token before: a Markov chain."""
    return params[inputs if inputs.ndim == 2 else inputs[..., 0]]


def markov_chain(seed=0, size=VOCABULARY):
    params = jax.random.normal(jax.random.key(seed), (size, size))
    return jaxkd.from_function(apply, params)


class Text(NamedTuple):
    tokens: jax.Array
    lengths: jax.Array


def sample(params, state, prompts, prompt_lengths, *, key, length=LENGTH, stop=STOP):
    """What `jaxkd.generation.generate` promises, in the plainest way."""
    count, places = len(prompts), jnp.arange(length)
    keys = jax.random.split(key, count) if key.ndim == 0 else key
    tokens = jnp.pad(prompts, ((0, 0), (0, length - prompts.shape[1])))
    tokens = jnp.where(places < prompt_lengths[:, None], tokens, 0)

    def one(place, carry):
        tokens, lengths, going = carry
        chosen = jax.vmap(lambda k, x: jax.random.categorical(jax.random.fold_in(k, place), x))(
            keys, params[tokens[:, place - 1]]
        )
        here = going & (place >= prompt_lengths)
        tokens = tokens.at[:, place].set(jnp.where(here, chosen, tokens[:, place]))
        return tokens, lengths + here, going & ~(here & (chosen == stop))

    start = (tokens, prompt_lengths, jnp.ones(count, bool))
    tokens, lengths, _ = jax.lax.fori_loop(1, length, one, start)
    return Text(tokens, lengths)


def data(seed=0, documents=True, count=BATCH):
    """Prompts of one or two tokens, and responses of some length."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, VOCABULARY, (count, LENGTH)).astype(np.int32)
    prompts = generator.integers(1, PROMPT + 1, count).astype(np.int32)
    ends = generator.integers(PROMPT + 1, LENGTH + 1, count)
    places = np.arange(LENGTH)
    inside = places < ends[:, None]
    where = (places + 1 >= prompts[:, None]) & (places + 1 < ends[:, None])
    labels = np.where(where, np.roll(tokens, -1, axis=1), -1).astype(np.int32)
    tokens = np.where(inside, tokens, 0)
    inputs = np.stack([tokens, inside.astype(np.int32)], axis=-1) if documents else tokens
    return {"inputs": inputs, "labels": labels, "where": where, "prompt_lengths": prompts}


def make(objective, batch_transform, student=None, **options):
    student = student or markov_chain()
    step = make_train_step(
        student, objective, SGD, teacher=markov_chain(9), batch_transform=batch_transform, **options
    )
    return step, step.init(seed=3)


def trained(objective, batch_transform, steps=4, **options):
    step, state = make(objective, batch_transform, **options)
    metrics = []
    for index in range(steps):
        state, now = step(state, data(index))
        metrics.append(jax.device_get(now))
    return jax.device_get(state.params), metrics


def transformed(batch, seed=0, step=0, **options):
    batch_transform = on_policy(sample, prompt_length=PROMPT, **options)
    params = markov_chain().params
    call = jax.jit(
        lambda batch: batch_transform(params, None, batch, step=step, key=jax.random.key(seed))
    )
    return jax.device_get(call(batch))


@pytest.mark.parametrize("documents", [True, False])
def test_the_batch_is_what_the_student_generated(documents):
    batch = data(documents=documents)
    made = transformed(batch)
    assert made["by_student"].all()
    tokens = made["inputs"][..., 0] if documents else made["inputs"]
    given = batch["inputs"][..., 0] if documents else batch["inputs"]
    for row, prompt in enumerate(batch["prompt_lengths"]):
        np.testing.assert_array_equal(tokens[row, :prompt], given[row, :prompt])
        stops = np.flatnonzero(tokens[row, prompt:] == STOP)
        end = prompt + stops[0] + 1 if len(stops) else LENGTH
        counted = np.arange(prompt - 1, end - 1)
        np.testing.assert_array_equal(np.flatnonzero(made["where"][row]), counted)
        np.testing.assert_array_equal(made["labels"][row, counted], tokens[row, counted + 1])
        assert np.all(np.delete(made["labels"][row], counted) == -1)
        if documents:
            np.testing.assert_array_equal(made["inputs"][row, :, 1], np.arange(LENGTH) < end)
    for name in ("inputs", "labels", "where"):
        assert (made[name].shape, made[name].dtype) == (batch[name].shape, batch[name].dtype)


def test_without_prompt_lengths_the_first_document_gives_the_prompt():
    batch = data()
    del batch["prompt_lengths"]
    documents = batch["inputs"][:4, :, 1]
    documents[0] = [1, 2, 2, 2, 0, 0]  # ends within the prompt, as
    documents[1] = [1, 1, 0, 0, 0, 0]  # this one with it
    documents[2] = 0
    documents[3] = [1, 1, 1, 2, 2, 2]
    made = transformed(batch)
    assert not made["where"][:3].any() and (made["labels"][:3] == -1).all()
    assert set(made["where"][3:].argmax(axis=1)) == {PROMPT - 1}
    assert made["where"][3:].any(axis=1).all()


def test_prompts_alone_are_continued_but_not_beyond_a_finished_document():
    batch = data()
    batch["prompt_lengths"][:] = 2
    batch["inputs"][..., 1] = [1, 1, 0, 0, 0, 0]
    batch["inputs"][0, :, 1] = [1, 2, 2, 2, 0, 0]
    made = transformed(batch)
    assert made["where"].any(axis=1).tolist() == [False] + [True] * (BATCH - 1)


def test_rows_of_padding_stay_padding():
    batch = data() | {"where": np.arange(BATCH) < 5}
    made = transformed(batch)
    np.testing.assert_array_equal(made["where"].any(axis=1), np.arange(BATCH) < 5)
    data_alone = transformed(batch, share=0.0)
    expected = (np.arange(BATCH) < 5)[:, None] & np.ones((BATCH, LENGTH), bool)
    np.testing.assert_array_equal(data_alone["where"], expected)


def test_a_share_of_nothing_is_training_on_the_data_bit_for_bit():
    objective = language.gkd()
    plain, metrics = trained(objective, None)
    mixed, others = trained(objective, on_policy(sample, prompt_length=PROMPT, share=0.0))
    chex.assert_trees_all_equal(mixed, plain)
    chex.assert_trees_all_equal(others, metrics)
    # Likewise where the choice is made within the program and always falls for the data.
    never, _ = trained(objective, on_policy(sample, prompt_length=PROMPT, share=lambda step: 0.0))
    chex.assert_trees_all_equal(never, plain)
    own, _ = trained(objective, on_policy(sample, prompt_length=PROMPT))
    assert np.max(np.abs(own["student"] - plain["student"])) > 1e-3


@pytest.mark.parametrize("per", ["step", "row"])
def test_the_share_is_that_of_steps_or_rows(per):
    batch_transform = on_policy(sample, prompt_length=PROMPT, share=0.3, per=per)
    batch, params = data(), markov_chain().params

    @jax.jit
    @jax.vmap
    def call(key):
        return batch_transform(params, None, batch, step=0, key=key)

    made = jax.device_get(call(jax.random.split(jax.random.key(0), 400)))
    by_student = made["by_student"]
    count = by_student.size if per == "row" else len(by_student)
    assert abs(by_student.mean() - 0.3) < 4 * np.sqrt(0.21 / count)
    in_one_step = by_student.any(axis=1) & ~by_student.all(axis=1)
    assert in_one_step.any() == (per == "row")
    expected_rows = np.broadcast_to(batch["inputs"], made["inputs"].shape)[~by_student]
    np.testing.assert_array_equal(made["inputs"][~by_student], expected_rows)
    assert (made["inputs"][by_student] != np.broadcast_to(
        batch["inputs"], made["inputs"].shape)[by_student]).any()  # fmt: skip


def test_the_share_may_follow_a_schedule():
    schedule = optax.join_schedules([optax.constant_schedule(x) for x in (0.0, 1.0)], [10])
    assert not transformed(data(), share=schedule, step=9)["by_student"].any()
    assert transformed(data(), share=schedule, step=10)["by_student"].all()


def test_both_texts_beside_each_other():
    batch = data()
    made, own = transformed(batch, beside=True), transformed(batch)
    np.testing.assert_array_equal(made["by_student"], np.arange(2 * BATCH) % 2 == 1)
    for name in ("inputs", "labels", "where"):
        np.testing.assert_array_equal(made[name][0::2], batch[name])
        np.testing.assert_array_equal(made[name][1::2], own[name])
    np.testing.assert_array_equal(made["prompt_lengths"], np.repeat(batch["prompt_lengths"], 2))


class Data:
    def __getitem__(self, step):
        return data(step)


@pytest.mark.exhaustive
def test_interrupted_and_resumed_it_generates_the_same(tmp_path):
    """With a share between: choice, texts and updates all follow from the state."""
    batch_transform = on_policy(sample, prompt_length=PROMPT, share=0.5, per="row")

    def run(name, steps):
        step, state = make(language.minillm(), batch_transform)
        options = {"log_every": 1, "tensorboard": False, "progress": None}
        return fit(step, state, Data(), steps=steps, workdir=tmp_path / name, **options)

    whole = run("whole", 6)
    run("cut", 3)
    resumed = run("cut", 6)
    chex.assert_trees_all_equal(resumed.state.params, whole.state.params)
    assert int(resumed.state.step) == int(whole.state.step) == 6
    assert [row["loss"] for row in resumed.train] == [row["loss"] for row in whole.train]
    assert np.max(np.abs(whole.state.params["student"] - markov_chain().params)) > 1e-2


def test_the_sampled_gradient_is_the_exact_one_in_the_mean():
    """Within four standard errors, of 20,000 texts of two tokens behind one."""
    student, teacher, count = markov_chain(0, 3).params, markov_chain(9, 3).params, 20_000
    generator = functools.partial(sample, length=3, stop=-1)
    batch_transform = on_policy(generator, prompt_length=1)
    objective = language.on_policy_reverse_kl()
    blank = {
        "inputs": jnp.zeros((count, 3), jnp.int32),
        "labels": jnp.full((count, 3), -1),
        "prompt_lengths": jnp.ones(count, jnp.int32),
    }

    @jax.jit
    def gradients(student):
        batch = batch_transform(student, None, blank, step=0, key=jax.random.key(1))

        def of_text(student, inputs, labels, where):
            outputs = [{"logits": apply(params, inputs[None])} for params in (student, teacher)]
            one = {"labels": labels[None], "where": where[None]}
            return objective(*outputs, one)[0]

        rows = batch["inputs"], batch["labels"], batch["where"]
        return jax.vmap(jax.grad(of_text), (None, 0, 0, 0))(student, *rows)

    def exact(student):
        log_q, log_p = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
        divergences = jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)
        reached = jax.lax.stop_gradient(jnp.exp(log_q[0]))
        return (divergences[0] + reached @ divergences) / 2

    each = np.asarray(gradients(student), np.float64)
    error = each.std(axis=0) / np.sqrt(count)
    difference = np.abs(each.mean(axis=0) - jax.grad(exact)(student))
    assert np.all(difference < 4 * error + 1e-6)
    assert np.all(error < 0.1 * np.max(np.abs(jax.grad(exact)(student))))


@few("recipe", [language.minillm, language.gkd])
def test_a_student_comes_closer_to_its_teacher_on_its_own_texts(recipe):
    objective = recipe()
    batch_transform = on_policy(sample, prompt_length=PROMPT)
    adam, student, teacher = optax.adam(0.1), markov_chain(), markov_chain(9).params
    step = make_train_step(
        student, objective, adam, teacher=markov_chain(9), batch_transform=batch_transform
    )
    state = step.init()

    def distance(params):
        divergence = jaxkd.losses.reverse_kl_divergence(params["student"], teacher)
        return float(jnp.mean(divergence[:STOP]))  # Nothing is generated behind a stop token.

    before = distance(state.params)
    for index in range(60):
        state, _ = step(state, data(index % 7, count=64))
    assert distance(state.params) < 0.5 * before


@pytest.mark.exhaustive
def test_micro_batches_and_meshes_learn_the_same():
    batch_transform = on_policy(sample, prompt_length=PROMPT, beside=True)
    objective = language.distillm2()
    whole, metrics = trained(objective, batch_transform)
    parts, others = trained(objective, batch_transform, micro_batches=4)
    chex.assert_trees_all_close(parts, whole, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(others, metrics, rtol=1e-5, atol=1e-6)
    spread, _ = trained(objective, batch_transform, partitioning=Partitioning(make_mesh(data=8)))
    chex.assert_trees_all_close(spread, whole, rtol=1e-5, atol=1e-6)


def test_a_decoder_generates_with_its_cache_inside_the_step():
    decoder = from_decoder(Decoder(VOCABULARY, 8, 1, 2, rngs=nnx.Rngs(0)))
    teacher = jaxkd.from_nnx(Decoder(VOCABULARY, 8, 1, 2, rngs=nnx.Rngs(1)))
    generator = functools.partial(
        generate, decoder, max_new_tokens=LENGTH - PROMPT, stop_tokens=(STOP,)
    )
    batch_transform = on_policy(generator, prompt_length=PROMPT)
    step = make_train_step(
        decoder.network, language.gkd(), SGD, teacher=teacher, batch_transform=batch_transform
    )
    state = step.init()
    state, metrics = step(state, data())
    assert metrics["gkd"] > 0 and int(state.step) == 1

    network = decoder.network
    texts = generate_targets(generator, network, PROMPTS, PROMPT_LENGTHS, batch_size=5)
    batch = batch_of(texts)
    for row, prompt in enumerate(PROMPT_LENGTHS):
        np.testing.assert_array_equal(texts.tokens[row, :prompt], PROMPTS[row, :prompt])
        assert batch["where"][row].sum() == texts.lengths[row] - prompt
    ends = texts.tokens[np.arange(5), texts.lengths - 1]
    assert np.all((ends == STOP) | (texts.lengths >= PROMPT_LENGTHS + LENGTH - PROMPT))


def test_a_cache_has_no_outputs_for_generated_texts():
    step, state = make(language.gkd(), on_policy(sample, prompt_length=PROMPT))
    batch = data() | {"teacher": np.zeros((BATCH, LENGTH, VOCABULARY), np.float32)}
    student = markov_chain()
    cached = make_train_step(
        student, language.gkd(), SGD, batch_transform=on_policy(sample, prompt_length=PROMPT)
    )
    with pytest.raises(
        ValueError, match="cached outputs for the data, and batch_transform= puts other"
    ):
        cached(cached.init(), batch)
    with pytest.raises(ValueError, match="two teachers"):
        step(state, batch)


def test_what_does_not_fit_is_refused():
    batch = data()
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\], not 1.5"):
        on_policy(sample, prompt_length=PROMPT, share=1.5)
    with pytest.raises(ValueError, match="step, row, not 'epoch'"):
        on_policy(sample, prompt_length=PROMPT, per="epoch")
    with pytest.raises(ValueError, match="at least 1, not 0"):
        on_policy(sample, prompt_length=0)
    with pytest.raises(ValueError, match="leave share at 1"):
        on_policy(sample, prompt_length=PROMPT, share=0.5, beside=True)
    with pytest.raises(ValueError, match=r"needs the fields \['labels'\]; the batch has"):
        transformed({"inputs": batch["inputs"]})
    with pytest.raises(ValueError, match=r"labels \[batch, length\].*not \(8, 6, 2\), \(8,\)"):
        transformed(batch | {"labels": batch["labels"][:, 0]})
    with pytest.raises(ValueError, match="leaves nothing to generate in rows of 2"):
        cut = {name: batch[name][:, :2] for name in ("inputs", "labels")}
        transformed(cut)
    short = on_policy(functools.partial(sample, length=4), prompt_length=PROMPT)
    with pytest.raises(ValueError, match=r"\(8, 4\), the batch's have shape \(8, 6\)"):
        short(markov_chain().params, None, batch, step=0, key=jax.random.key(0))


def test_a_teachers_texts_belong_to_their_ids():
    teacher = markov_chain(9)
    ids = np.array([30, 10, 20, 50, 40])
    texts = generate_targets(sample, teacher, PROMPTS, PROMPT_LENGTHS, ids=ids, batch_size=2)
    order = np.array([3, 1, 4, 0, 2])
    others = generate_targets(
        sample, teacher, PROMPTS[order], PROMPT_LENGTHS[order], ids=ids[order], batch_size=4
    )
    np.testing.assert_array_equal(texts.tokens[order], others.tokens)
    np.testing.assert_array_equal(texts.lengths[order], others.lengths)
    again = generate_targets(sample, teacher, PROMPTS, PROMPT_LENGTHS, ids=ids, seed=1)
    assert np.any(again.tokens != texts.tokens)
    assert len(texts) == 5 and texts.tokens.shape == (5, LENGTH)
    # As rows they stand in the order of their ids, whatever the order of the prompts.
    mine, theirs = batch_of(texts), batch_of(others)
    np.testing.assert_array_equal(mine["id"], np.sort(ids))
    np.testing.assert_array_equal(mine["inputs"], theirs["inputs"])
    np.testing.assert_array_equal(mine["inputs"][..., 0], texts.tokens[np.argsort(ids)])


def batch_of(texts):
    """All generated texts, as rows of a data set."""
    rows = texts.sequences(name="generated", split="train", vocab_size=VOCABULARY, tokenizer="none")
    return raw_batch(rows, Views(), rows.ids, np.zeros(len(rows), np.int32))


def test_a_student_learns_what_its_teacher_generated():
    """Sequence-level distillation: cross entropy with the teacher's texts."""
    count = 400
    prompts = np.random.default_rng(0).integers(0, STOP, (count, 1)).astype(np.int32)
    teacher = markov_chain(9)
    texts = generate_targets(sample, teacher, prompts, np.ones(count, int), batch_size=200)
    batch = batch_of(texts)
    np.testing.assert_array_equal(batch["where"].sum(axis=1), texts.lengths - 1)
    np.testing.assert_array_equal(batch["inputs"][..., 1].sum(axis=1), texts.lengths)
    rows, places = np.nonzero(batch["where"])
    np.testing.assert_array_equal(batch["labels"][rows, places], texts.tokens[rows, places + 1])
    step = make_train_step(markov_chain(), recipes.labels(), optax.adam(0.1))
    state = step.init()
    for _ in range(80):
        state, _ = step(state, batch)
    divergence = jaxkd.losses.kl_divergence(state.params["student"], teacher.params)
    assert float(jnp.max(divergence[:STOP])) < 0.1


def test_prompts_that_do_not_fit_are_refused():
    teacher = markov_chain(9)
    with pytest.raises(ValueError, match=r"\(5, 2\) and \(4,\)"):
        generate_targets(sample, teacher, PROMPTS, PROMPT_LENGTHS[:4])
    with pytest.raises(ValueError, match=r"\[1, 2\], got 0 to 2"):
        generate_targets(sample, teacher, PROMPTS, PROMPT_LENGTHS * np.arange(5).clip(0, 1))
    with pytest.raises(ValueError, match="id must be unique; 1 of 4 do not fit: 3"):
        generate_targets(sample, teacher, PROMPTS, PROMPT_LENGTHS, ids=np.array([0, 3, 3, 1, 2]))
    with pytest.raises(ValueError, match=r"one for each of 5 prompts, got \(4,\)"):
        generate_targets(sample, teacher, PROMPTS, PROMPT_LENGTHS, ids=np.arange(4))
    with pytest.raises(TypeError, match="prompts must be integers, got dtype float64"):
        generate_targets(sample, teacher, PROMPTS / 1.0, PROMPT_LENGTHS)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        generate_targets(sample, teacher, PROMPTS, PROMPT_LENGTHS, batch_size=0)
