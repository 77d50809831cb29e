"""Hinton's distillation."""

from jaxkd import losses


def _classification(loss):
    """A loss on logits `[batch, classes]`, averaged over the batch."""

    def call(inputs, outputs, options):
        return losses.masked_mean(loss(inputs["logits_s"], inputs["logits_t"], **options.rest()))

    return call


def _kd_and_label(inputs, outputs, options):
    """Without a weight of the label, the KL alone is returned, without the temperature's square."""
    alpha, beta, temperature = (options[name] for name in ("alpha", "beta", "temperature"))
    logits = inputs["logits_s"], inputs["logits_t"]
    soft = losses.masked_mean(losses.kl_divergence(*logits, temperature=temperature))
    others = {"out_soft_only_no_T2": soft}
    if not alpha:
        return soft, others
    label = losses.masked_mean(losses.cross_entropy(inputs["logits_s"], inputs["label"]))
    distil = losses.masked_mean(losses.kd(*logits, temperature=temperature))
    return alpha * label + (1 - alpha if beta is None else beta) * distil, others


CALLS = {
    "kd": _classification(losses.kd),
    "kd__torchdistill": _kd_and_label,
}
