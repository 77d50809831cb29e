"""DOT, an optimizer rather than a loss."""

import jax.numpy as jnp
import optax

from jaxkd.training import dot


def _dot(inputs, outputs, options):
    momenta = options["momentum_task"], options["momentum_kd"]
    optimizer = dot(
        options["lr"],
        momentum=(momenta[0] + momenta[1]) / 2,
        delta=(momenta[1] - momenta[0]) / 2,
        dampening=options["dampening"],
        weight_decay=options["weight_decay"],
    )
    none = {"task": options["task_none"], "kd": options["kd_none"]}
    names = sorted(name for name in inputs if name.startswith("p") and name[1:].isdigit())
    params = {name: inputs[name] for name in names}
    state, seen = optimizer.init(params), {}
    for step in range(options["steps"]):
        task, distillation = (
            {
                name: None
                if int(name[1:]) in none[kind]
                else inputs[f"{kind}_grad_{name}_step{step}"]
                for name in names
            }
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
