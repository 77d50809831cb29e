"""What a run notes down: rows of metrics, one for each stretch of steps and each evaluation."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.training._gradients import Sums
from jaxkd.training._logs import Logs
from jaxkd.training.step import means

Rows = list[dict[str, float]]


class Record:
    """Rows of a run, in memory and in its logs.

    The metrics of a stretch arrive call by call, stay on the device, and are added up on the host
    when the stretch is over.

    Args:
      logs: where rows go too, with what they hold already; None for memory alone.
      members: how many students train together, None for one.
    """

    def __init__(self, logs: Logs | None, members: int | None):
        self.train: Rows = logs.rows("train") if logs else []
        self.evaluations: Rows = logs.rows("eval") if logs else []
        self._logs, self._members = logs, members
        self._parts: list[Any] = []
        self._pending: tuple[int, list[Any]] | None = None

    def resume(self, notes: Mapping[str, Any]) -> None:
        """Takes up a stretch that a checkpoint was saved in the middle of."""
        for part in notes.get("parts", []):
            self._parts.append(
                {
                    name: (np.asarray(total, np.float32), np.asarray(count, np.float32))
                    for name, (total, count) in part.items()
                }
            )

    def notes(self) -> dict[str, Any]:
        """What `resume` wants: the metrics of the stretch at hand, to be saved as JSON."""
        parts = jax.device_get(self._parts)
        return {"parts": jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), parts)}

    def add(self, sums: Sums) -> None:
        """The metrics of one call."""
        self._parts.append(sums)

    def end_stretch(self, step: int) -> None:
        """The stretch is over; its row is written by the next `settle`.

        By then the device works on later steps, and waits for nothing.
        """
        self._pending, self._parts = (step, self._parts), []

    def settle(self) -> None:
        """Writes the row of the stretch that is over.

        Raises:
          FloatingPointError: the loss is not finite, of all students that train together.
        """
        if self._pending is None:
            return
        (step, parts), self._pending = self._pending, None
        host = jax.device_get(parts)
        sums = {n: np.sum([part[n] for part in host], axis=0, dtype=float) for n in host[0]}
        with np.errstate(invalid="ignore", divide="ignore"):
            metrics = means(sums)
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
