"""What networks are measured by on held-out examples."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from experiments.common.runtime import Runtime
from jaxkd import Network, Views
from jaxkd.data import Examples, eval_batches
from jaxkd.training import EvalStep, evaluate, predict

# Also a multiple of any number of devices that is a power of two.
TEST_BATCH = 512


class Evaluator:
    """Measures classifiers on held-out examples; networks of one architecture share a program.

    Subclasses measure something else: they replace `metric`, `scores` and `results`.

    Args:
      examples: held-out examples.
      views: how networks see them.
      runtime: devices.
      batch_size: number of examples in a batch.
      **options: further arguments of `jaxkd.data.eval_batches`.
    """

    metric: ClassVar[str] = "accuracy"
    """Name of the score that learning curves show."""

    def __init__(
        self,
        examples: Examples,
        views: Views,
        runtime: Runtime,
        *,
        batch_size: int = TEST_BATCH,
        **options: Any,
    ):
        self.examples, self.views, self.runtime = examples, views, runtime
        self._batch_size, self._options = batch_size, options
        self._steps: dict[str, EvalStep] = {}

    def scores(self, network: Network) -> Mapping[str, float]:
        """Returns the numbers of a network for its learning curve."""
        return evaluate(self.step(network), network.params, network.state, self.batches())

    def results(self, network: Network) -> dict[str, np.ndarray]:
        """Returns the arrays that are kept of a trained network."""
        return {"logits": self.logits(network)}

    def logits(self, network: Network) -> np.ndarray:
        """Returns a network's logits on the examples, `[examples, num_classes]`."""
        return predict(self.step(network), network, self.batches())

    def step(self, network: Network) -> EvalStep:
        """Returns the compiled evaluation step of a network's architecture."""
        # Networks of several seeds differ in variables alone.
        key = network.architecture
        if key not in self._steps:
            self._steps[key] = self.runtime.eval_step(network, self.views, self._batch_size)
        return self._steps[key]

    def batches(self) -> Any:
        """Returns the examples in batches of one size, the last one padded."""
        return eval_batches(self.examples, self._batch_size, **self._options)
