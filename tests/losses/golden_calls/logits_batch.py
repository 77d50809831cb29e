"""Losses on logits that couple the batch, that look at regions, that transport, that learn T."""

import functools

import jax
import jax.numpy as jnp

from golden_calls import Differs
from jaxkd import losses


def _dist(inputs, outputs, options):
    beta, gamma, tau = (options[name] for name in ("beta", "gamma", "tau"))

    def loss(**weights):
        return losses.dist(inputs["logits_s"], inputs["logits_t"], temperature=tau, **weights)

    parts = {
        "out_inter": loss(beta=1.0, gamma=0.0) / tau**2,
        "out_intra": loss(beta=0.0, gamma=1.0) / tau**2,
    }
    return loss(beta=beta, gamma=gamma), parts


def _coupled(loss):
    def call(inputs, outputs, options):
        return loss(inputs["logits_s"], inputs["logits_t"], **options.rest())

    return call


def _mlkd(inputs, outputs, options):
    temperature, kd_weight, ce_weight = (
        options[name] for name in ("temperature", "kd_weight", "ce_weight")
    )
    student, teacher = (
        (inputs[f"logits_{side}_weak"], inputs[f"logits_{side}_strong"]) for side in "st"
    )
    label = sum(losses.masked_mean(losses.cross_entropy(view, inputs["label"])) for view in student)
    distance = losses.mlkd_two_views(student, teacher, temperature=temperature)
    return kd_weight * distance, {"out_loss_ce": ce_weight * label}


def _regions(loss):
    """A loss on the regions of `[batch, classes, regions]`, averaged."""

    def call(inputs, outputs, options):
        options.describes("N", inputs["logits_s"], -1)
        temperature = options["temperature"]
        student, teacher = (jnp.moveaxis(inputs[name], 1, -1) for name in ("logits_s", "logits_t"))
        of_region = functools.partial(loss, **options.rest())
        values = losses.sdd(
            student, teacher, inputs["label"], loss=of_region, temperature=temperature
        )
        return losses.masked_mean(values)

    return call


def _nkd_with_the_label_among_the_others(student, teacher, labels, *, gamma, temperature):
    target = losses.nkd(student, teacher, labels, gamma=0.0, temperature=temperature)
    soft = jax.nn.softmax(teacher / temperature)
    others = losses.cross_entropy(student / temperature, soft)
    return target + gamma * temperature**2 * others


_SINKHORN = {"sinkhorn_lambda": "regularization", "sinkhorn_iter": "iterations"}


def _wkd(inputs, outputs, options):
    return losses.masked_mean(
        losses.sinkhorn_distance(
            inputs["logits_s"],
            inputs["logits_t"],
            cost=inputs["cost_matrix"],
            **options.rest(**_SINKHORN),
        )
    )


def _wkd_apart(inputs, outputs, options):
    gamma = options["gamma"]
    arguments = options.rest(**_SINKHORN)

    def loss(gamma):
        return losses.masked_mean(
            losses.wkd_logit(
                inputs["logits_s"],
                inputs["logits_t"],
                inputs["label"],
                cost=inputs["cost_matrix"],
                gamma=gamma,
                **arguments,
            )
        )

    return loss(gamma), {"out_target": loss(0.0)}


def _ctkd(inputs, outputs, options):
    lambda_, t_start, t_end = (options[name] for name in ("lambda_", "t_start", "t_end"))

    def loss(theta, scale):
        reversed_theta = losses.reverse_gradient(theta, scale)
        temperature = t_start + t_end * jax.nn.sigmoid(reversed_theta)
        values = losses.kd(inputs["logits_s"], inputs["logits_t"], temperature=temperature[0])
        return losses.masked_mean(values), temperature

    value, temperature = loss(inputs["global_T"], lambda_)
    toward_the_student, _ = jax.grad(loss, has_aux=True)(inputs["global_T"], 1.0)
    return value, {
        "out_temperature": temperature,
        "out_true_grad_global_T": toward_the_student,
    }


def _ctkd_schedule(inputs, outputs, options):
    schedule = losses.curriculum_schedule(
        options["num_loops"], start=options["max_value"], end=options["min_value"]
    )
    values = schedule(inputs["epochs"])
    return jnp.sum(values), {"out_cosine": values}


CALLS = {
    "dist": _dist,
    "mlkd_bc": _coupled(losses.mlkd_batch),
    "mlkd_cc": _coupled(losses.mlkd_class),
    "mlkd_total": _mlkd,
    "sdd_kd": _regions(losses.kd),
    "sdd_dkd": _regions(losses.dkd),
    "sdd_nkd": Differs(
        why="the label's class is left among those beside it",
        correct=_regions(losses.nkd),
        reference=_regions(_nkd_with_the_label_among_the_others),
    ),
    "wkd_logit": _wkd,
    "wkd_logit_sep": _wkd_apart,
    "ctkd": _ctkd,
    "ctkd_schedule": _ctkd_schedule,
}
