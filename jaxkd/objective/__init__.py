"""The objective: a weighted sum of pure losses on named outputs.

Weights and temperatures are numbers or optax schedules of the training step, so that they resume
where a run was cut. Whatever a loss needs that is trained or remembered is in its connector, and
so in the train state.
"""

from jaxkd.objective._objective import Objective as Objective
from jaxkd.objective._objective import counted as counted
from jaxkd.objective._term import Schedule as Schedule
from jaxkd.objective._term import Term as Term
from jaxkd.objective._term import is_traced as is_traced
