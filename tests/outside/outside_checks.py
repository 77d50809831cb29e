"""What holds of every outside model, once an adapter has made a network of it."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxkd
from jaxkd import Objective, Term, cache, targets
from jaxkd.data import Dataset


def lines_of(make):
    """Returns how many lines a function has that makes a network, without its first one."""
    return sum(bool(line.strip()) for line in inspect.getsource(make).splitlines()[1:])


def squared(student, teacher):
    """Compares outputs of any shape, one number an example."""
    return jnp.mean((student - teacher) ** 2, axis=tuple(range(1, student.ndim)))


def check_cached_as_online(network, inputs, path):
    """Holds the outputs that a cache decodes to those that the network computes."""
    data = Dataset.from_arrays(inputs, name="outside", split="train")
    online = jax.jit(network)(inputs)
    codec = dict.fromkeys(online, targets.Dense())
    stored = cache.build(path, network, data, codec=codec, batch_size=2, progress=False)
    decoded = stored.read(data.ids, view=0).decode()
    assert set(decoded) == set(online)
    for name, value in online.items():
        np.testing.assert_allclose(decoded[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def moved_by_a_step(network, inputs, output):
    """Trains for one step towards other outputs.

    Returns:
      The paths of the parameters that have moved, of those that have not, and of the state that has
      moved.
    """
    objective = Objective(squared=Term(squared, student=output, teacher=output))
    step = jaxkd.make_train_step(network, objective, optax.sgd(0.1))
    wanted = jax.eval_shape(network, inputs)[output]
    teacher = {output: 1 + np.arange(np.prod(wanted.shape), dtype="f4").reshape(wanted.shape)}
    state, metrics = step(step.init(), {"inputs": inputs, "teacher": teacher})
    assert np.isfinite(metrics["loss"])

    def paths(before, after, moved):
        leaves = jax.tree_util.tree_leaves_with_path(before)
        return {
            jax.tree_util.keystr(path, simple=True, separator=".")
            for (path, old), new in zip(leaves, jax.tree.leaves(after), strict=True)
            if bool((old != new).any()) is moved
        }

    params, kept = state.params["student"], state.model_state["student"]
    return (
        paths(network.params, params, True),
        paths(network.params, params, False),
        paths(network.state, kept, True),
    )
