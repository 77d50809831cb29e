"""Losses on logits that know the label, the teacher's certainty or the spread of the logits."""

from jaxkd import losses


def _mean(loss, inputs, *labels, **hyperparameters):
    values = loss(inputs["logits_s"], inputs["logits_t"], *labels, **hyperparameters)
    return losses.masked_mean(values)


def _dkd(inputs, outputs, alpha, beta, temperature):
    def value(alpha, beta):
        return _mean(
            losses.dkd, inputs, inputs["label"], alpha=alpha, beta=beta, temperature=temperature
        )

    return value(alpha, beta), {"out_tckd": value(1.0, 0.0), "out_nckd": value(0.0, 1.0)}


def _dkd_mmrazor(inputs, outputs, loss_weight, reduction, **hyperparameters):
    """Any reduction but "batchmean" is a sum: a legacy argument overrules it."""
    value = _mean(losses.dkd, inputs, inputs["label"], **hyperparameters)
    return loss_weight * value * (1 if reduction == "batchmean" else len(inputs["label"]))


def _nkd(inputs, outputs, gamma, temperature):
    def value(gamma):
        return _mean(losses.nkd, inputs, inputs["label"], gamma=gamma, temperature=temperature)

    return value(gamma), {"out_target": value(0.0)}


def _uskd(inputs, outputs, num_classes, channel, **hyperparameters):
    weak_logits = inputs["feat_mid"] @ inputs["fc.weight"].T + inputs["fc.bias"]
    assert inputs["fc.weight"].shape == (num_classes, channel)
    return losses.uskd((inputs["logits_s"], weak_logits), inputs["label"], **hyperparameters)


def _wsld(inputs, outputs, alpha, temperature, num_classes):
    assert inputs["logits_s"].shape[-1] == num_classes
    return alpha * _mean(losses.wsld, inputs, inputs["label"], temperature=temperature)


def _power(loss):
    def call(inputs, outputs, l):  # noqa: E741 - the reference's name
        return _mean(loss, inputs, gamma=l)

    return call


def _lskd(inputs, outputs, temperature):
    return _mean(losses.lskd, inputs, temperature=temperature)


def _rld(inputs, outputs, alpha, beta, logit_stand, **temperatures):
    def value(alpha, beta):
        return _mean(
            losses.rld,
            inputs,
            inputs["label"],
            alpha=alpha,
            beta=beta,
            standardize=logit_stand,
            **temperatures,
        )

    return value(alpha, beta), {"out_scd": value(1.0, 0.0), "out_mcd": value(0.0, 1.0)}


def _ofa(inputs, outputs, eps, temperature):
    return _mean(losses.ofa, inputs, inputs["label"], epsilon=eps, temperature=temperature)


CALLS = {
    "dkd": _dkd,
    "dkd__mmrazor": _dkd_mmrazor,
    "nkd": _nkd,
    "uskd": _uskd,
    "wsld": _wsld,
    "ttm": _power(losses.ttm),
    "wttm": _power(losses.wttm),
    "lskd": _lskd,
    "rld": _rld,
    "ofa": _ofa,
}
