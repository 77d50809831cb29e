"""Checkpoints of the whole train state, by Orbax."""

import pathlib
import shutil
import warnings
from collections.abc import Mapping
from typing import Any

import jax

from jaxkd.training._digests import digests
from jaxkd.training.distributed import is_first, wait_for_all
from jaxkd.training.state import TrainState


class Checkpoints:
    """Numbered checkpoints of a `TrainState` in a directory.

    Orbax writes each one under a temporary name and renames it when it is whole, so that a process
    killed while saving leaves the one before as the newest. All processes of a job save and restore
    together, each its own part. A checksum of every array goes along and is compared when it is
    read: a damaged checkpoint is put aside, with a warning, and the one before is taken.

    Args:
      directory: where, the same for all processes; made if missing.
      max_to_keep: older ones are deleted.
    """

    def __init__(self, directory: str | pathlib.Path, *, max_to_keep: int = 2):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._directory = pathlib.Path(directory).absolute()
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=max_to_keep,
                # What a kill or a full disk cut short.
                cleanup_tmp_directories=True,
                # The step reuses the state's memory, so a save must be over before the next step.
                enable_async_checkpointing=False,
            ),
        )

    def latest(self) -> int | None:
        """The newest step saved, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, notes: Mapping[str, Any] | None = None) -> None:
        """Saves the state under its step; nothing happens if that is saved already.

        Args:
          state: the state.
          notes: plain data that travels with it.

        Raises:
          OSError: it could not be written; says which checkpoint is the newest whole one.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        tree = _with_key_data(state)
        document = {"digests": digests(tree), "arrays": _described(tree), "notes": notes or {}}
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(tree), document=self._ocp.args.JsonSave(document)
        )
        try:
            self._manager.save(step, args=args)
        except Exception as error:
            whole = [saved for saved in self._manager.all_steps() if saved != step]
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self._directory} ({error})"
                f"; the newest whole one is of step {max(whole, default=None)}. Make room or make "
                "it writeable, and start the same command again: it goes on from there"
            ) from error

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest whole state saved, with its notes.

        Args:
          like: a state of the same shapes and dtypes, lying where the restored one shall lie; the
            number of devices may be another than when it was saved.

        Raises:
          FileNotFoundError: nothing was saved.
          OSError: all that was saved is damaged.
          ValueError: what was saved has other arrays, which are named.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise FileNotFoundError(f"no checkpoint in {self._directory}")
        for step in steps:
            try:
                return self._read(step, like)
            except _Mismatch as error:
                raise ValueError(str(error)) from None
            except Exception as error:  # whatever a damaged file leads a reader to
                self._put_aside(step, error)
        raise OSError(
            f"none of the checkpoints {steps} in {self._directory} can be read; they lie in "
            f"{self._aside} now. Restore one from a copy, or delete the work directory to start "
            "anew"
        )

    def _read(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        args, tree = self._ocp.args, _with_key_data(like)
        document = self._manager.restore(
            step, args=args.Composite(document=args.JsonRestore())
        ).document
        self._check_arrays(step, document["arrays"], _described(tree))
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
        )
        saved = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(target))
        ).state
        if wrong := [n for n, d in digests(saved).items() if d != document["digests"][n]]:
            raise OSError(f"{', '.join(wrong[:3])}: not the numbers that were saved")
        key = jax.random.wrap_key_data(saved["key"], impl=jax.random.key_impl(like.key))
        # Arrays read from a file may be views of its buffers, which the step must not reuse.
        state = TrainState(**jax.tree.map(jax.numpy.copy, saved | {"key": key}))
        return state, document["notes"]

    def _check_arrays(self, step: int, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        differing = [
            f"{name}: {there.get(name, 'nothing')} there, {now.get(name, 'nothing')} now"
            for name in sorted({*there, *now})
            if there.get(name) != now.get(name)
        ]
        if differing:
            raise _Mismatch(
                f"the checkpoint of step {step} in {self._directory} is of another state "
                f"({'; '.join(differing[:5])}): choose another workdir, or the student, objective "
                "and optimizer that it was made with"
            )

    def _put_aside(self, step: int, error: Exception) -> None:
        warnings.warn(
            f"the checkpoint of step {step} in {self._directory} is damaged ({error}); it is put "
            f"aside in {self._aside}, and the one before is taken",
            stacklevel=3,
        )
        wait_for_all(f"damaged checkpoint {step}")
        if is_first():
            self._aside.mkdir(exist_ok=True)
            target = self._aside / str(step)
            shutil.rmtree(target, ignore_errors=True)
            (self._directory / str(step)).rename(target)
        wait_for_all(f"put aside checkpoint {step}")
        self._manager.reload()

    @property
    def _aside(self) -> pathlib.Path:
        return self._directory.with_name(self._directory.name + ".damaged")

    def close(self) -> None:
        """Waits for what is being written and lets go of the directory."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class _Mismatch(Exception):
    """A whole checkpoint, of something else."""


def _with_key_data(state: TrainState) -> dict[str, Any]:
    fields = {name: getattr(state, name) for name in state.__dataclass_fields__}
    return fields | {"key": jax.random.key_data(state.key)}


def _described(tree: Any) -> dict[str, str]:
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
