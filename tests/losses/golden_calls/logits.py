"""Losses on logits that know the label, the teacher's certainty or the spread of the logits."""

from jaxkd import losses


def _mean(loss, inputs, *labels, **hyperparameters):
    values = loss(inputs["logits_s"], inputs["logits_t"], *labels, **hyperparameters)
    return losses.masked_mean(values)


def _dkd(inputs, outputs, options):
    alpha, beta, temperature = (options[name] for name in ("alpha", "beta", "temperature"))

    def value(alpha, beta):
        return _mean(
            losses.dkd, inputs, inputs["label"], alpha=alpha, beta=beta, temperature=temperature
        )

    return value(alpha, beta), {"out_tckd": value(1.0, 0.0), "out_nckd": value(0.0, 1.0)}


def _dkd_mmrazor(inputs, outputs, options):
    """Any reduction but "batchmean" is a sum: a legacy argument overrules it."""
    batch, weight = len(inputs["label"]), options["loss_weight"]
    counts = {"batchmean": 1, "sum": batch, "mean": batch, "none": batch}
    factor = weight * options.choose("reduction", counts)
    return factor * _mean(losses.dkd, inputs, inputs["label"], **options.rest())


def _nkd(inputs, outputs, options):
    gamma, temperature = options["gamma"], options["temperature"]

    def value(gamma):
        return _mean(losses.nkd, inputs, inputs["label"], gamma=gamma, temperature=temperature)

    return value(gamma), {"out_target": value(0.0)}


def _uskd(inputs, outputs, options):
    options.describes("num_classes", inputs["fc.weight"], 0)
    options.describes("channel", inputs["fc.weight"], 1)
    weak_logits = inputs["feat_mid"] @ inputs["fc.weight"].T + inputs["fc.bias"]
    return losses.uskd((inputs["logits_s"], weak_logits), inputs["label"], **options.rest())


def _wsld(inputs, outputs, options):
    options.describes("num_classes", inputs["logits_s"], -1)
    return options["alpha"] * _mean(losses.wsld, inputs, inputs["label"], **options.rest())


def _power(loss):
    def call(inputs, outputs, options):
        return _mean(loss, inputs, gamma=options["l"])

    return call


def _lskd(inputs, outputs, options):
    return _mean(losses.lskd, inputs, **options.rest())


def _rld(inputs, outputs, options):
    alpha, beta = options["alpha"], options["beta"]
    arguments = options.rest(logit_stand="standardize")

    def value(alpha, beta):
        return _mean(losses.rld, inputs, inputs["label"], alpha=alpha, beta=beta, **arguments)

    return value(alpha, beta), {"out_scd": value(1.0, 0.0), "out_mcd": value(0.0, 1.0)}


def _ofa(inputs, outputs, options):
    return _mean(losses.ofa, inputs, inputs["label"], **options.rest(eps="epsilon"))


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
