"""The objective: a weighted sum of pure losses on named outputs.

`Objective` is the sum, `Term` one of its losses with weight, temperature and connector, and
`ObjectiveValue` what it is on one batch. Weights and temperatures are numbers or optax schedules of
the training step, so that they resume where a run was interrupted. Whatever a loss needs that is
trained or remembered is in its connector, and so in the train state.

`counted` returns the mask of the examples that labels are learned from, and `is_traced` whether a
hyper-parameter is known only when the program runs.
"""

from jaxkd.objective._counting import counted as counted
from jaxkd.objective.objective import Objective as Objective
from jaxkd.objective.objective import ObjectiveValue as ObjectiveValue
from jaxkd.objective.term import Schedule as Schedule
from jaxkd.objective.term import Term as Term
from jaxkd.objective.term import is_traced as is_traced

__all__ = ["Objective", "ObjectiveValue", "Schedule", "Term", "counted", "is_traced"]
