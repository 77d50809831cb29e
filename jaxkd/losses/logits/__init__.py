"""Losses that compare logits and know about classes, labels and temperatures."""

from jaxkd.losses.logits._kd import kd as kd
from jaxkd.losses.logits._kd import logit_mse as logit_mse
