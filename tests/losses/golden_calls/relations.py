"""Relations between the examples of a batch, and contrast with memory banks."""

import jax
import jax.numpy as jnp
import numpy as np

from golden_calls import Differs
from jaxkd import losses


def _embedded(loss):
    """A loss on the pooled embeddings; the hyperparameters are the loss's own."""

    def call(inputs, outputs, options):
        return loss(inputs["emb_s"], inputs["emb_t"], **options.rest())

    return call


def _rkd(inputs, outputs, options):
    """The reference's floor under squared distances only stands for rows that are nearly equal."""
    eps, weight = options["eps"], options["distance_weight"]
    squared, angle_weight = options["squared"], options["angle_weight"]
    embeddings = inputs["emb_s"], inputs["emb_t"]
    value = losses.rkd(
        *embeddings, distance_weight=weight, angle_weight=angle_weight, squared=squared
    )
    tiny = np.finfo(np.float64).tiny
    floored, plain = (_rkd_distance(*embeddings, squared, floor) for floor in (eps, tiny))
    return value + weight * (floored - plain)


def _rkd_distance(student, teacher, squared, floor):
    """The reference's distance part, to show what the floor changes: 0 where it is not reached."""

    def relative(rows):
        other = ~np.eye(len(rows), dtype=bool)
        distances = jnp.sum(jnp.square(rows[:, None] - rows), axis=-1)
        distances = jnp.maximum(jnp.where(other, distances, 1.0), floor)
        distances = distances if squared else jnp.sqrt(distances)
        return jnp.where(other, distances, 0.0) / jnp.mean(distances, where=other)

    difference = jnp.abs(relative(student) - relative(teacher))
    return jnp.mean(jnp.where(difference < 1, difference**2 / 2, difference - 0.5))


def _mmrazor(loss):
    def call(inputs, outputs, options):
        arguments = {"normalize": options["with_l2_norm"]}
        return options["loss_weight"] * loss(inputs["emb_s"], inputs["emb_t"], **arguments)

    return call


def _sp(norm):
    def call(inputs, outputs, options):
        return losses.sp(inputs["feat_s"], inputs["feat_t"], norm=norm)

    return call


def _cc_kernel(inputs, outputs, options):
    """A reduction that is not "batchmean" is none: the norm is a single number."""
    names = options.choose(
        "kernel.type",
        {"gaussian": {"gamma": "kernel.gamma", "order": "kernel.max_p"}, "bilinear": {}},
    )
    arguments = {ours: options[theirs] for ours, theirs in names.items()}
    kernel = "gaussian" if names else "bilinear"
    value = losses.cc_kernel(inputs["emb_s"], inputs["emb_t"], kernel=kernel, **arguments)
    square = len(inputs["emb_s"]) ** 2
    return value * options.choose("reduction", {"batchmean": 1, "sum": square, "mean": square})


def _linear(x, inputs, name):
    return x @ inputs[f"{name}.linear.weight"].T + inputs[f"{name}.linear.bias"]


def _itrd_correlation(inputs, outputs, options):
    student = _linear(inputs["emb_s"], inputs, "embed")
    return losses.itrd_correlation(student, inputs["emb_t"], alpha=options["alpha_it"])


def _itrd_mutual(inputs, outputs, options):
    student = inputs["emb_s"]
    if options["uses_embed"]:
        student = _linear(student, inputs, "embed")
    return losses.itrd_mutual(student, inputs["emb_t"])


def _crd_embedding(inputs, side, step):
    embedding = _linear(inputs[f"f_{side}_{step}"], inputs, f"embed_{side}")
    embedding /= jnp.linalg.norm(embedding, axis=1, keepdims=True)
    # The reference has gradients to the embedding too, under this name.
    own = inputs[f"out_v_{side}_{step}"]
    return embedding + own - jax.lax.stop_gradient(own)


def _crd(inputs, outputs, options):
    """Two steps; the first one sets the normalizers."""
    n_data, nce_t, nce_m = (options[name] for name in ("n_data", "nce_t", "nce_m"))
    options.describes("feat_dim", inputs["memory_v1_before"], 1)
    banks = {
        "student_bank": inputs["memory_v1_before"],
        "teacher_bank": inputs["memory_v2_before"],
    }
    normalizers = None
    total, others = 0.0, {}
    for step in ("step0", "step1"):
        student, teacher = (_crd_embedding(inputs, side, step) for side in ("s", "t"))
        ids, contrast = inputs[f"idx_{step}"], inputs[f"contrast_idx_{step}"]
        options.describes("nce_k", contrast[:, 1:], 1)
        scores = {"ids": ids, "negatives": contrast[:, 1:], "temperature": nce_t}
        if normalizers is None:
            normalizers = [
                losses.crd_normalizer(embeddings, bank, **scores, num_examples=n_data)
                for embeddings, bank in (
                    (student, banks["teacher_bank"]),
                    (teacher, banks["student_bank"]),
                )
            ]
        per_example = losses.crd(
            student,
            teacher,
            **banks,
            **scores,
            student_normalizer=normalizers[0],
            teacher_normalizer=normalizers[1],
            num_examples=n_data,
            learned_teacher=True,
        )
        loss = losses.masked_mean(per_example)
        banks = {
            "student_bank": losses.update_bank(banks["student_bank"], ids, student, momentum=nce_m),
            "teacher_bank": losses.update_bank(banks["teacher_bank"], ids, teacher, momentum=nce_m),
        }
        total += loss
        others |= {
            f"out_loss_{step}": loss,
            f"out_v_s_{step}": student,
            f"out_v_t_{step}": teacher,
            f"out_memory_v1_after_{step}": banks["student_bank"],
            f"out_memory_v2_after_{step}": banks["teacher_bank"],
        }
    others |= {"out_Z_v1": jnp.exp(normalizers[0]), "out_Z_v2": jnp.exp(normalizers[1])}
    return total, others


CALLS = {
    "rkd_distance": _embedded(losses.rkd_distance),
    "rkd_angle": _embedded(losses.rkd_angle),
    "rkd": _rkd,
    "rkd_distance__mmrazor": _mmrazor(losses.rkd_distance),
    "rkd_angle__mmrazor": _mmrazor(losses.rkd_angle),
    "pkt": _embedded(losses.pkt),
    "sp": _sp("l2"),
    "sp__torchdistill": Differs(
        why="normalize(x, 1) makes the rows' L1 norms 1; the paper's are L2",
        correct=_sp("l2"),
        reference=_sp("l1"),
    ),
    "cc": _embedded(losses.cc),
    "cc__torchdistill": _cc_kernel,
    "itrd_corr": _itrd_correlation,
    "itrd_mutual": _itrd_mutual,
    "crd": _crd,
}
