"""Tokens over one axis of a mesh, classes over another."""

import functools

import chex
import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from tiers import few

from jaxkd import losses
from jaxkd.compression import collectives

TOKENS, WIDTH, CLASSES, VALID, TEMPERATURE = (8, 12), 6, 32, 29, 2.0
DATA, MODEL, CHUNK = 4, 2, 16


def targets(generator):
    """A teacher of each kind."""
    hidden = generator.normal(size=(*TOKENS, WIDTH)).astype(np.float32)
    head = generator.normal(size=(WIDTH, CLASSES)).astype(np.float32)
    logits = (hidden @ head)[..., :VALID]
    order = np.argsort(-logits, axis=-1).astype(np.int32)
    largest = np.take_along_axis(logits, order[..., :4], axis=-1)
    rest = np.take_along_axis(logits, order[..., 4:], axis=-1) / TEMPERATURE
    tail = np.log(np.exp(rest).sum(-1, keepdims=True))
    entropy = np.ones(TOKENS, np.float32)
    return {
        "dense": logits,
        "top-k": losses.SparseLogits(order[..., :4], largest, tail, (TEMPERATURE,), VALID),
        "sampled": losses.SampledClasses(order[..., :6], entropy, TEMPERATURE, VALID),
        "hidden": (hidden, head),
    }


def program(token_axes):
    loss = losses.fused_kd(
        alpha=0.7,
        temperature=TEMPERATURE,
        chunk_size=CHUNK,
        valid_classes=VALID,
        token_axes=token_axes,
    )

    def mean(student, teacher, labels, where):
        total, count = loss(student, teacher, labels, where=where)
        return total / count

    return jax.jit(jax.value_and_grad(mean))


@few(
    ("axis_type", "token_axes", "kinds"),
    [
        (AxisType.Auto, ("data", "fsdp"), ("dense", "top-k", "sampled", "hidden")),
        (AxisType.Auto, (), ("top-k",)),  # all left to the compiler
        (AxisType.Explicit, ("data", "fsdp"), ("top-k", "hidden")),
    ],
    ids=["auto", "compiler", "explicit"],
    keep=2,
)
def test_each_device_keeps_its_tokens_and_its_classes(axis_type, token_axes, kinds):
    generator = np.random.default_rng(0)
    student = (
        generator.normal(size=(*TOKENS, WIDTH)).astype(np.float32),
        generator.normal(size=(WIDTH, CLASSES)).astype(np.float32),
    )
    labels = generator.integers(-1, VALID, TOKENS).astype(np.int32)
    where = generator.random(TOKENS) < 0.8
    mesh = jax.make_mesh((DATA, MODEL), ("data", "model"), (axis_type,) * 2)
    rows, classes = (NamedSharding(mesh, spec) for spec in (P("data"), P(None, "model")))
    run = program(token_axes)
    for kind, teacher in targets(generator).items():
        if kind not in kinds:
            continue
        expected = run(student, teacher, labels, where)
        pair = functools.partial(jax.device_put, device=(rows, classes))
        given = pair(teacher) if kind == "hidden" else jax.device_put(teacher, rows)
        arguments = (pair(student), given, *jax.device_put((labels, where), rows))
        with jax.set_mesh(mesh):
            compiled = run.lower(*arguments).compile()
        value, (to_hidden, to_head) = found = compiled(*arguments)
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)
        assert to_hidden.sharding.shard_shape(to_hidden.shape)[0] == TOKENS[0] // DATA
        assert to_head.sharding.shard_shape(to_head.shape) == (WIDTH, CLASSES // MODEL)
        sent = collectives(compiled)
        # A dense teacher that is not padded moves by the few classes that fill up the head.
        assert {one.kind for one in sent} <= {"all-reduce", "collective-permute"}
        gradient = (WIDTH, CLASSES // MODEL)
        arrays = [shape for one in sent for shape in one.arrays if shape != gradient]
        # Beside that gradient: numbers of the chunk's tokens, or their hidden states.
        assert max(map(np.prod, arrays)) <= CHUNK * WIDTH
        assert sum(gradient in one.arrays for one in sent) == 1
