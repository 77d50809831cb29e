"""Relations between the examples of a batch, and contrast with memory banks."""

import jax
import jax.numpy as jnp

from golden_calls import Differs
from jaxkd import losses


def _embedded(loss):
    """A loss on the pooled embeddings; the hyperparameters are the loss's own."""

    def call(inputs, outputs, **hyperparameters):
        return loss(inputs["emb_s"], inputs["emb_t"], **hyperparameters)

    return call


def _rkd(inputs, outputs, eps, **hyperparameters):
    """Without `eps`, the floor under squared distances, which only stands for equal rows."""
    return losses.rkd(inputs["emb_s"], inputs["emb_t"], **hyperparameters)


def _mmrazor(loss):
    def call(inputs, outputs, loss_weight, with_l2_norm):
        return loss_weight * loss(inputs["emb_s"], inputs["emb_t"], normalize=with_l2_norm)

    return call


def _sp(norm):
    def call(inputs, outputs):
        return losses.sp(inputs["feat_s"], inputs["feat_t"], norm=norm)

    return call


def _cc_kernel(inputs, outputs, kernel, reduction):
    arguments = {"kernel": kernel["type"]}
    if kernel["type"] == "gaussian":
        arguments |= {"gamma": kernel["gamma"], "order": kernel["max_p"]}
    value = losses.cc_kernel(inputs["emb_s"], inputs["emb_t"], **arguments)
    return value if reduction == "batchmean" else value * len(inputs["emb_s"]) ** 2


def _linear(x, inputs, name):
    return x @ inputs[f"{name}.linear.weight"].T + inputs[f"{name}.linear.bias"]


def _itrd_correlation(inputs, outputs, alpha_it):
    student = _linear(inputs["emb_s"], inputs, "embed")
    return losses.itrd_correlation(student, inputs["emb_t"], alpha=alpha_it)


def _itrd_mutual(inputs, outputs, uses_embed):
    student = _linear(inputs["emb_s"], inputs, "embed") if uses_embed else inputs["emb_s"]
    return losses.itrd_mutual(student, inputs["emb_t"])


def _crd_embedding(inputs, side, step):
    embedding = _linear(inputs[f"f_{side}_{step}"], inputs, f"embed_{side}")
    embedding /= jnp.linalg.norm(embedding, axis=1, keepdims=True)
    # The reference has gradients to the embedding too, under this name.
    own = inputs[f"out_v_{side}_{step}"]
    return embedding + own - jax.lax.stop_gradient(own)


def _crd(inputs, outputs, n_data, nce_k, nce_t, nce_m, feat_dim):
    """Two steps; the first one sets the normalizers."""
    banks = {
        "student_bank": inputs["memory_v1_before"],
        "teacher_bank": inputs["memory_v2_before"],
    }
    normalizers = None
    total, others = 0.0, {}
    for step in ("step0", "step1"):
        student, teacher = (_crd_embedding(inputs, side, step) for side in ("s", "t"))
        ids, contrast = inputs[f"idx_{step}"], inputs[f"contrast_idx_{step}"]
        assert contrast.shape[1] == nce_k + 1
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
            teacher_gradient=True,
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
