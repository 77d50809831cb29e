"""Losses that compare what single examples look like inside the two networks."""

from jaxkd.losses.features._hint import feature_cosine as feature_cosine
from jaxkd.losses.features._hint import feature_mse as feature_mse
