"""DOT, an optimizer rather than a loss."""

import jax.numpy as jnp
import optax

from jaxkd.training import dot


def _dot(
    inputs,
    outputs,
    lr,
    momentum_task,
    momentum_kd,
    weight_decay,
    dampening,
    task_none,
    kd_none,
    steps,
):
    assert dampening == 0
    optimizer = dot(
        lr,
        momentum=(momentum_task + momentum_kd) / 2,
        delta=(momentum_kd - momentum_task) / 2,
        weight_decay=weight_decay,
    )
    names = sorted(name for name in inputs if name.startswith("p") and name[1:].isdigit())
    params = {name: inputs[name] for name in names}
    state, seen = optimizer.init(params), {}
    for step in range(steps):
        task, distillation = (
            {name: inputs.get(f"{kind}_grad_{name}_step{step}") for name in names}
            for kind in ("task", "kd")
        )
        updates, state = optimizer.update(
            params, state, params, task_updates=task, distillation_updates=distillation
        )
        params = optax.apply_updates(params, updates)
        seen |= {f"out_{name}_step{step}": params[name] for name in names}
    seen |= {f"out_momentum_{name}": state.task[name] for name in names}
    seen |= {f"out_momentum_kd_{name}": state.distillation[name] for name in names}
    value = sum(jnp.sum(params[name]) for name in names)
    return value, {name: array for name, array in seen.items() if name in outputs}


CALLS = {"dot": _dot}
