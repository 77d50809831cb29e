"""Hinton's distillation."""

from jaxkd import losses


def _classification(loss):
    """A loss on logits `[batch, classes]`, averaged over the batch."""

    def call(inputs, outputs, temperature):
        return losses.masked_mean(
            loss(inputs["logits_s"], inputs["logits_t"], temperature=temperature)
        )

    return call


def _kd_and_label(inputs, outputs, temperature, alpha, beta):
    label = losses.cross_entropy(inputs["logits_s"], inputs["label"])
    distil = losses.kd(inputs["logits_s"], inputs["logits_t"], temperature=temperature)
    return alpha * losses.masked_mean(label) + beta * losses.masked_mean(distil)


CALLS = {
    "kd": _classification(losses.kd),
    "kd__torchdistill": _kd_and_label,
}
