import jax
import jax.numpy as jnp
import numpy as np
import optax
from codec_calls import encode

from jaxkd import losses, make_train_step, recipes
from jaxkd.networks import from_function
from jaxkd.targets import Dense, EncodedOutputs, Sampled, TopK, TopP

CODECS = {"logits": TopK(2, (1.0, 4.0)), "stage3.pooled": Dense("int8")}
SHAPES = {"logits": (6,), "stage3.pooled": (2, 3)}


def outputs(batch=4):
    generator = np.random.default_rng(0)
    return {
        name: jnp.asarray(generator.normal(size=(batch, *shape)), jnp.float32)
        for name, shape in SHAPES.items()
    }


def record():
    values = outputs()
    arrays = {name: encode(codec, values[name], {}) for name, codec in CODECS.items()}
    return EncodedOutputs(arrays, CODECS, SHAPES)


def test_decodes_every_output_as_its_codec_does():
    decoded = record().decode()
    assert isinstance(decoded["logits"], losses.SparseLogits)
    assert decoded["logits"].num_classes == 6
    np.testing.assert_allclose(decoded["stage3.pooled"], outputs()["stage3.pooled"], atol=0.02)


def test_flat_names_are_taken_apart_at_the_last_dot():
    nested = record()
    flat = {f"{o}.{n}": a for o, named in nested.arrays.items() for n, a in named.items()}
    assert "stage3.pooled.scale" in flat
    again = EncodedOutputs.from_flat(flat, CODECS, SHAPES)
    jax.tree.map(np.testing.assert_array_equal, again, nested)
    assert jax.tree.structure(again) == jax.tree.structure(nested)


def test_is_a_pytree_that_compiles_once():
    traces = []

    @jax.jit
    def compiled(r):
        traces.append(r)
        return r.decode()["logits"].indices

    for _ in range(2):
        half = jax.tree.map(lambda x: x[:2], record())
        assert half.codecs == CODECS
        assert compiled(half).shape == (2, 2)
    assert len(traces) == 1
    jax.tree.map(lambda x: np.concatenate([x, x]), jax.device_get(record())).decode()


def test_every_kind_of_record_teaches():
    """Through the train step, from the cache's arrays to a smaller loss."""
    teacher, inputs = outputs(), jnp.eye(4)
    student = from_function(lambda params, x: x @ params, jnp.zeros((4, 6)))
    keys = jax.random.split(jax.random.key(0), 4)
    for codec in (TopP(0.9, 4), Sampled(5)):
        wants = {"keys": keys} if codec.needs else {}
        arrays = {"logits": encode(codec, teacher["logits"], wants)}
        batch = {
            "inputs": inputs,
            "teacher": EncodedOutputs(arrays, {"logits": codec}, {"logits": (6,)}),
        }
        objective = recipes.kd(alpha=1.0, temperature=1.0)
        optimizer = optax.sgd(1.0)
        step = make_train_step(student, objective, optimizer)
        state = step.init()
        seen = []
        for _ in range(10):
            state, metrics = step(state, batch)
            seen.append(float(metrics["kd"]))
        assert seen[-1] < seen[0] - 0.05, codec
