"""DOT: Hinton's objective under an optimizer with two momenta."""

from jaxkd import training
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes.kd import kd

DOT = Recipe(
    "dot",
    kd,
    "Zhao et al., DOT: A Distillation-Oriented Trainer, ICCV 2023.",
    optimizer=training.dot,
    split_gradients=True,
)
