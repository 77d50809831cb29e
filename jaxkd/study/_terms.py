"""What the terms of a report mean, each said once, with the unit in which it is shown."""

import re
from collections.abc import Iterable

_MEANINGS = {
    "Accuracy": (r"accuracy", "Share of the examples whose most probable class is the right one."),
    "Mean IoU": (
        r"mean iou|miou",
        "Overlap of predicted and true areas divided by their union, averaged over the classes.",
    ),
    "Points": (r"points", "Difference of two percentages: from 80 % to 81 % is one point."),
    "NLL": (
        r"nll|cross[- ]entropy|negative log-likelihood",
        "Negative log-likelihood, also called cross-entropy: minus the logarithm of the "
        "probability of the right class, averaged over the examples, in nats. Less is better; 0 "
        "is certainty of what is right, the logarithm of the number of classes is guessing.",
    ),
    "ECE": (
        r"ece|calibration error",
        "Expected calibration error: by how much the confidence differs from the accuracy, "
        "averaged over the examples in bins of confidence, in percent. 0 % is a network that is "
        "right as often as it says.",
    ),
    "95 % interval": (
        r"95 % interval",
        "Differences that agree with what the seeds show. If it contains zero, no difference was "
        "shown. One comparison in twenty between equal arms shows one by chance.",
    ),
    "±": (r"±", "Standard deviation over the seeds, of a single student. Not of the mean."),
}


def terms_in(texts: Iterable[str]) -> dict[str, str]:
    """Returns the terms that occur in texts, with their meanings."""
    text = " ".join(" ".join(part.split()) for part in texts)
    found = {}
    for term, (pattern, meaning) in _MEANINGS.items():
        if re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE):
            found[term] = meaning
    return found
