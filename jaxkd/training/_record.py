"""What a run notes down: rows of metrics, one for each stretch of steps and each evaluation."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.training._logs import Logs
from jaxkd.training._metric_sums import MetricSums
from jaxkd.training.step import TrainStep

Rows = list[dict[str, float]]


class Record:
    """Rows of a run, in memory and in its logs.

    The metrics of a stretch are added up on the device and come to the host when it is over.

    Args:
      logs: where rows go too, with what they hold already; None for memory alone.
      members: how many students train together, None for one.
    """

    def __init__(self, logs: Logs | None, members: int | None):
        self.train: Rows = logs.rows("train") if logs else []
        self.evaluations: Rows = logs.rows("eval") if logs else []
        self._logs, self._members = logs, members
        self.sums: MetricSums | None = None
        self._pending: tuple[int, MetricSums | None] | None = None

    def resume(self, notes: Mapping[str, Any], step: TrainStep) -> None:
        """Takes up a stretch that a checkpoint was saved in the middle of."""
        if sums := notes.get("sums"):
            self.sums = step.put_sums(
                MetricSums(jnp.asarray(list(sums.values()), jnp.float32), tuple(sums))
            )

    def notes(self) -> dict[str, Any]:
        """What `resume` wants: the metrics of the stretch at hand, to be saved as JSON."""
        if self.sums is None:
            return {"sums": None}
        rows = np.asarray(jax.device_get(self.sums.values)).tolist()
        return {"sums": dict(zip(self.sums.names, rows, strict=True))}

    def end_stretch(self, step: int) -> None:
        """The stretch is over; its row is written by the next `settle`.

        By then the device works on later steps, and waits for nothing.
        """
        self._pending, self.sums = (step, self.sums), None

    def settle(self) -> None:
        """Writes the row of the stretch that is over.

        Raises:
          FloatingPointError: the loss is not finite, of all students that train together.
        """
        if self._pending is None:
            return
        (step, sums), self._pending = self._pending, None
        host = jax.tree.map(lambda leaf: np.asarray(leaf, float), jax.device_get(sums))
        with np.errstate(invalid="ignore", divide="ignore"):
            metrics = host.means()
        # Other metrics may lack a number, the accuracy of a stretch without labels for one.
        if not np.isfinite(metrics["loss"]).any():
            raise FloatingPointError(
                f"the loss is not finite in the steps before step {step}: {metrics}"
            )
        self._write("train", self.train, step, metrics)

    def evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """The numbers of an evaluation."""
        self._write("eval", self.evaluations, step, metrics)

    def _write(self, name: str, rows: Rows, step: int, metrics: Mapping[str, Any]) -> None:
        if self._members is None:
            each = [{key: float(value) for key, value in metrics.items()}]
        else:
            spread = {k: np.broadcast_to(value, self._members) for k, value in metrics.items()}
            each = [
                {"member": member, **{key: float(value[member]) for key, value in spread.items()}}
                for member in range(self._members)
            ]
        for row in each:
            rows.append({"step": step, **row})
            if self._logs:
                self._logs.write(name, step, row)
