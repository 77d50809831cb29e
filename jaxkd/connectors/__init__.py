"""Connectors: what is trained beside the student so that its features fit the teacher's.

Flax NNX modules that act on the feature axis alone. Wrap one with `jaxkd.from_nnx` and give it to
a `Term`; its parameters then live, train and are saved with the student's.
"""

from jaxkd.connectors._projections import Conv1x1 as Conv1x1
from jaxkd.connectors._projections import Linear as Linear
