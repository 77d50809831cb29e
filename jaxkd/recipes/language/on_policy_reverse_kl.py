"""On-policy reverse KL: a policy's gradient from the sampled tokens."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._recipe import Recipe


def on_policy_reverse_kl(*, weight: float | Schedule = 1.0) -> Objective:
    """Minimizes reverse KL from the one token that was sampled, by a policy's gradient.

    The student must have sampled it from its own softmax: `strategies.on_policy` of a generator at
    temperature 1, with a share of 1.

    Args:
      weight: weight of the term.

    Returns:
      An objective with the term `reverse_kl`.

    Example:
      >>> list(on_policy_reverse_kl().terms)
      ['reverse_kl']

    Reference:
      Lu and Thinking Machines Lab, On-Policy Distillation, 2025.
    """
    return Objective(reverse_kl=Term(losses.sampled_reverse_kl, weight))


ON_POLICY_REVERSE_KL = Recipe(
    "language.on_policy_reverse_kl",
    on_policy_reverse_kl,
    "Lu and Thinking Machines Lab, On-Policy Distillation, 2025.",
)
