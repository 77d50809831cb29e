"""Checkpoints of the whole train state, by Orbax."""

import pathlib
from typing import Any

import jax

from jaxkd.training.state import TrainState


class Checkpoints:
    """Numbered checkpoints of a `TrainState` in a directory.

    Orbax writes each one under a temporary name and renames it when it is whole, so that a process
    killed while saving leaves the one before as the newest.

    Args:
      directory: where; made if missing.
      max_to_keep: older ones are deleted.
    """

    def __init__(self, directory: str | pathlib.Path, *, max_to_keep: int = 2):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            pathlib.Path(directory).absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=max_to_keep,
                # The step reuses the state's memory, so a save must be over before the next step.
                enable_async_checkpointing=False,
            ),
        )

    def latest(self) -> int | None:
        """The newest step saved, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Saves the state under its step; nothing happens if that is saved already."""
        step = int(state.step)
        if step not in self._manager.all_steps():
            self._manager.save(step, args=self._ocp.args.StandardSave(_with_key_data(state)))

    def restore(self, like: TrainState) -> TrainState:
        """The newest state saved.

        Args:
          like: a state of the same shapes, dtypes and shardings.

        Raises:
          FileNotFoundError: nothing was saved.
          ValueError: what was saved has another shape (from Orbax, which names it).
        """
        step = self.latest()
        if step is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
            _with_key_data(like),
        )
        saved = self._manager.restore(step, args=self._ocp.args.StandardRestore(target))
        key = jax.random.wrap_key_data(saved["key"], impl=jax.random.key_impl(like.key))
        # Arrays read from a file may be views of its buffers, which the step must not reuse.
        return TrainState(**jax.tree.map(jax.numpy.copy, saved | {"key": key}))

    def close(self) -> None:
        """Waits for what is being written and lets go of the directory."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _with_key_data(state: TrainState) -> dict[str, Any]:
    fields = {name: getattr(state, name) for name in state.__dataclass_fields__}
    return fields | {"key": jax.random.key_data(state.key)}
