"""DOT against the authors' loop over parameters, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxkd.training import dot

STEPS, RATE = 4, 0.3
# Which gradients each parameter has: of the task, of the distillation.
HAS = {"both": (True, True), "task": (True, False), "distillation": (False, True)}


def _arrays(seed):
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=3) for name in HAS}


def _gradients():
    """For each step the gradients of the task and of the distillation, None where there is none."""
    return [
        [
            {n: g if HAS[n][kind] else None for n, g in _arrays(1 + 2 * step + kind).items()}
            for kind in (0, 1)
        ]
        for step in range(STEPS)
    ]


def _expected(task_momentum, momentum_kd, dampening, weight_decay):
    """The authors' loop: a buffer begins as its first gradient, and a momentum of 0 has none."""
    parameters, buffers, history = _arrays(0), {}, []
    for task, distillation in _gradients():
        for name, g in task.items():
            if g is None:
                continue
            g = g + weight_decay * parameters[name]
            if task_momentum != 0:
                momentum = task_momentum if HAS[name][1] else (task_momentum + momentum_kd) / 2
                if ("task", name) in buffers:
                    g = momentum * buffers["task", name] + (1 - dampening) * g
                buffers["task", name] = g
            parameters[name] = parameters[name] - RATE * g
        for name, h in distillation.items():
            if h is None:
                continue
            momentum = momentum_kd if HAS[name][0] else (task_momentum + momentum_kd) / 2
            if ("kd", name) in buffers:
                if not HAS[name][0]:
                    h = h + weight_decay * parameters[name]
                h = momentum * buffers["kd", name] + (1 - dampening) * h
            buffers["kd", name] = h
            parameters[name] = parameters[name] - RATE * h
        history.append(dict(parameters))
    return history, buffers


@pytest.mark.parametrize("dampening", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("momenta", [(0.7, 0.9), (0.9, 0.6), (0.0, 0.8), (0.8, 0.0)], ids=str)
def test_dampening_is_that_of_the_authors(momenta, dampening):
    first, second = momenta
    middle, half = (first + second) / 2, (second - first) / 2
    optimizer = dot(RATE, momentum=middle, delta=half, dampening=dampening, weight_decay=0.05)
    history, buffers = _expected(first, second, dampening, 0.05)

    @jax.jit
    def step(params, state, task, distillation):
        updates, state = optimizer.update(
            params, state, params, task_updates=task, distillation_updates=distillation
        )
        return optax.apply_updates(params, updates), state

    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, _arrays(0))
        state = optimizer.init(params)
        for gradients, expected in zip(_gradients(), history, strict=True):
            params, state = step(params, state, *gradients)
            for name in HAS:
                np.testing.assert_allclose(params[name], expected[name], rtol=1e-12, atol=1e-12)
        in_state = {"task": state.task, "kd": state.distillation}
        for (kind, name), buffer in buffers.items():
            np.testing.assert_allclose(in_state[kind][name], buffer, rtol=1e-12, atol=1e-12)


def test_without_a_difference_it_is_dampened_sgd_of_the_sum():
    """The first step of a constant gradient counts in full, each later one its undamped share."""
    optimizer = dot(1.0, momentum=0.5, delta=0.0, dampening=0.75)
    params = {"w": jnp.array(0.0)}
    state, half = optimizer.init(params), {"w": jnp.array(0.5)}
    taken = []
    for _ in range(3):
        updates, state = optimizer.update(
            params, state, params, task_updates=half, distillation_updates=half
        )
        taken.append(float(updates["w"]))
    assert taken == [-1.0, -0.75, -0.625]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dampening_keeps_the_types_of_parameters_and_buffers(dtype):
    optimizer = dot(0.1, dampening=0.5, weight_decay=0.1)
    params = {"w": jnp.ones(2, dtype)}
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(
            params, state, params, task_updates=params, distillation_updates=params
        )
        assert updates["w"].dtype == state.task["w"].dtype == state.distillation["w"].dtype == dtype


@pytest.mark.parametrize("dampening", [-0.1, 1.1, float("nan")])
def test_a_dampening_that_is_no_share_is_refused(dampening):
    with pytest.raises(ValueError, match=rf"dampening must lie in \[0, 1\], got {dampening}"):
        dot(0.1, dampening=dampening)
