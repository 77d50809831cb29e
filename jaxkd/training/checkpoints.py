"""Checkpoints of the whole train state, by Orbax."""

from __future__ import annotations

import json
import pathlib
import time
import warnings
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import jax

from jaxkd._files import local_path
from jaxkd.training._arrays import differences
from jaxkd.training._digests import digests
from jaxkd.training.distributed import all_processes, is_main_process, sync_processes
from jaxkd.training.state import TrainState


class Checkpoints:
    """Numbered checkpoints of a `TrainState` in a directory.

    Orbax writes each one under a temporary name and renames it when it is whole, so that a process
    killed while saving leaves the one before as the newest. All processes of a job save and restore
    together, each its own part. A checksum of every array is saved as well and compared when the
    array is read: a damaged checkpoint is moved to another directory, with a warning, and the one
    before is restored.

    Args:
      directory: directory of the checkpoints, the same for all processes; created if missing.
      max_to_keep: number of checkpoints that are kept, older ones are deleted; None for all.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, make_train_step, recipes
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.zeros((3, 3)))
      >>> step = make_train_step(student, recipes.labels(), optax.sgd(0.1))
      >>> import tempfile
      >>> checkpoints = Checkpoints(tempfile.mkdtemp(), max_to_keep=1)
      >>> checkpoints.save(step.init())
      >>> checkpoints.latest(), checkpoints.steps()
      (0, [0])
    """

    def __init__(self, directory: str | pathlib.Path, *, max_to_keep: int | None = 2):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._directory = local_path(directory)
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
        # JAX reports a preemption to the first caller of a step alone, which is `fit`.
        self._manager.reached_preemption = lambda step: False

    def latest(self) -> int | None:
        """Returns the newest step saved, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Returns all steps saved."""
        return sorted(self._manager.all_steps())

    def keep_only(self, steps: Collection[int]) -> None:
        """Deletes the checkpoints of all other steps; all processes of a job call this alike."""
        for step in self.steps():
            if step not in steps:
                self._manager.delete(step)

    def save(self, state: TrainState, metadata: Mapping[str, Any] | None = None) -> None:
        """Saves the state under its step; nothing happens if that is saved already.

        Args:
          state: the state.
          metadata: plain data that is saved with it.

        Raises:
          OSError: the state could not be written; names the newest whole checkpoint.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        tree = _storable(state)
        # The names in the document are those of the files of earlier versions.
        document = {
            "digests": digests(tree),
            "arrays": _described(tree),
            "notes": metadata or {},
        }
        document["digest"] = _digest(document)
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(tree), document=self._ocp.args.JsonSave(document)
        )
        try:
            if not self._manager.save(step, args=args):
                raise OSError(f"a later step, {self.latest()}, is there already")
        except Exception as error:
            whole = [saved for saved in self._manager.all_steps() if saved != step]
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self._directory} ({error})"
                f"; the newest whole one is of step {max(whole, default=None)}. Make room or make "
                "it writeable, and start the same command again: it goes on from there"
            ) from error

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Restores the newest whole state.

        Args:
          like: a state of the same shapes and dtypes, placed where the restored one is to be; the
            number of devices may be another than when it was saved.

        Returns:
          The state, and the metadata that was saved with it.

        Raises:
          FileNotFoundError: nothing was saved.
          OSError: all checkpoints are damaged.
          ValueError: the checkpoint has other arrays, which are named.
        """
        steps = self.steps()[::-1]
        if not steps:
            raise FileNotFoundError(f"no checkpoint in {self._directory}")
        damaged: dict[int, str] = {}
        for step in steps:
            restored, error = self._attempt(step, like)
            if restored is not None:
                self._move_damaged(damaged)
                return restored
            damaged[step] = error
        reasons = "; ".join(f"step {step}: {error}" for step, error in damaged.items())
        raise OSError(
            f"none of the checkpoints in {self._directory} can be read ({reasons}). They are left "
            "as they are: restore one from a copy, or delete the work directory to start anew"
        )

    def _attempt(
        self, step: int, like: TrainState
    ) -> tuple[tuple[TrainState, dict[str, Any]] | None, str]:
        """Returns the state and metadata of a step, or None and the reason.

        If one process cannot read its part, all go on to the checkpoint before.

        Raises:
          ValueError: the state that is saved does not fit the one that is expected; names the
            difference.
          MemoryError: there is too little memory to read it.
          JaxRuntimeError: a device failed while it was read.
        """
        read, error = None, ""
        try:
            read = self._read(step, like)
        except _Mismatch as other:
            raise ValueError(str(other)) from None
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise  # no fault of the files
        except Exception as other:  # whatever a damaged file leads a reader to
            error = str(other) or type(other).__name__
        # Before anything that all processes compute together.
        if not all_processes(read is not None) and read is not None:
            return None, "another process cannot read it"
        if read is None:
            return None, error
        saved, document = read
        known = document.get("digests", {})
        if wrong := [name for name, own in digests(saved).items() if own != known.get(name)]:
            return None, f"{', '.join(wrong[:3])}: not the numbers that were saved"
        # Arrays read from a file may be views of its buffers, which the step must not reuse.
        state = jax.tree.map(_as_before, like, TrainState(**saved))
        return (state, document["notes"]), ""

    def _read(self, step: int, like: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reads a step's arrays and document as they are in the files."""
        args, tree = self._ocp.args, _storable(like)
        document = self._manager.restore(
            step, args=args.Composite(document=args.JsonRestore())
        ).document
        # Before it is compared with anything: damage must not pass for another student's state.
        if document.get("digest", now := _digest(document)) != now:
            raise OSError("its document is not what was saved")
        self._check_arrays(step, document["arrays"], _described(tree))
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
        )
        # In the containers of the file: those of an optimizer differ where its arrays do not.
        files = self._directory / str(step) / "state"
        there = self._ocp.StandardCheckpointHandler().metadata(files).tree
        if set(known := _by_name(target)) == set(_by_name(there)):
            target = jax.tree_util.tree_map_with_path(lambda path, _: known[_name(path)], there)
        saved = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(target))
        ).state
        found = _by_name(saved)
        leaves = [found[name] for name in _by_name(tree)]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves), document

    def _check_arrays(self, step: int, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Refuses a checkpoint of other arrays than the present state's."""
        if differing := differences(there, now, "there", "now"):
            raise _Mismatch(
                f"the checkpoint of step {step} in {self._directory} is of another state "
                f"({differing}): choose another workdir, or the student, objective and optimizer "
                "that it was made with"
            )

    def _move_damaged(self, damaged: Mapping[int, str]) -> None:
        """Moves checkpoints that cannot be read out of the way of new ones."""
        if not damaged:
            return
        for step, error in damaged.items():
            warnings.warn(
                f"the checkpoint of step {step} in {self._directory} is damaged ({error}); it is "
                f"moved to {self._damaged}, and the one before is restored",
                stacklevel=3,
            )
        sync_processes("damaged checkpoints")
        if is_main_process():
            self._damaged.mkdir(exist_ok=True)
            for step in damaged:
                target = self._damaged / f"{step}.{time.time_ns()}"
                (self._directory / str(step)).rename(target)
        sync_processes("damaged checkpoints are moved")
        self._manager.reload()

    @property
    def _damaged(self) -> pathlib.Path:
        """Directory for damaged checkpoints, beside the one of whole ones."""
        return self._directory.with_name(self._directory.name + ".damaged")

    def close(self) -> None:
        """Waits until all is on disk, and releases the directory."""
        self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class _Mismatch(Exception):
    """A whole checkpoint of another state."""


def _storable(state: TrainState) -> dict[str, Any]:
    """Returns the fields of a state, PRNG keys as the numbers that they consist of."""
    fields = {name: getattr(state, name) for name in state.__dataclass_fields__}
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, fields)


def _as_before(like: jax.Array, saved: jax.Array) -> jax.Array:
    """Copies a saved array, wrapped as a key where the state has a key."""
    copy = jax.numpy.copy(saved)
    return jax.random.wrap_key_data(copy, impl=jax.random.key_impl(like)) if _is_key(like) else copy


def _name(path: Any) -> str:
    """Names an array by its path, whether its containers have fields, keys or numbers."""
    return jax.tree_util.keystr(path, simple=True, separator="\0")


def _by_name(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(leaf: jax.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _digest(document: Mapping[str, Any]) -> str:
    """Returns a checksum of a checkpoint's document, without the one that it holds."""
    content = {name: value for name, value in document.items() if name != "digest"}
    # As a reader of the file sees it: JSON has no numbers for keys and no tuples.
    read = json.loads(json.dumps(content))
    return f"{zlib.crc32(json.dumps(read, sort_keys=True).encode()):08x}"


def _described(tree: Any) -> dict[str, str]:
    """Returns types and shapes by path, in the spelling of the files of earlier versions."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
