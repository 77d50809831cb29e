"""Training and evaluation mode of a module or function: by declaration, or by the known words."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from jaxkd.networks._architecture import MODE_ARGUMENTS

TrainMode = str | Mapping[str, tuple[Any, Any]] | None
_ATTRIBUTE = "self."


@dataclasses.dataclass(frozen=True)
class Mode:
    """What sets a network to training or evaluation mode.

    Attributes:
      arguments: keyword of the call → its values in training and in evaluation.
      attributes: attribute of the module and its submodules → the same.
    """

    arguments: Mapping[str, tuple[Any, Any]]
    attributes: Mapping[str, tuple[Any, Any]]

    @classmethod
    def of_call(cls, call: Callable[..., Any], train_mode: TrainMode = None) -> "Mode":
        """Finds the mode's keywords among the parameters of a call.

        Args:
          call: the function, or a module's `__call__`.
          train_mode: what the adapters take under this name.

        Returns:
          The mode; the known words hold where they are not declared otherwise.

        Raises:
          TypeError: a `train_mode` that is neither a name nor a mapping to two values.
          ValueError: a name that the call has no parameter for.
        """
        parameters = inspect.signature(call).parameters
        arguments = {
            name: (value, not value) for name, value in MODE_ARGUMENTS.items() if name in parameters
        }
        declared = _declared(train_mode)
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name in declared:
            if not (name.startswith(_ATTRIBUTE) or name in parameters or anything):
                raise ValueError(
                    f"train_mode names {name!r}, the call takes {list(parameters)}: name one of "
                    f"these, or train_mode={{'{_ATTRIBUTE}{name}': (True, False)}} for an "
                    "attribute of the module"
                )
        is_attribute = {name: name.startswith(_ATTRIBUTE) for name in declared}
        arguments |= {name: v for name, v in declared.items() if not is_attribute[name]}
        return cls(
            arguments,
            {n.removeprefix(_ATTRIBUTE): v for n, v in declared.items() if is_attribute[n]},
        )

    def keywords(self, train: bool) -> dict[str, Any]:
        """Returns the keywords of the call."""
        return {name: values[0 if train else 1] for name, values in self.arguments.items()}

    def attribute_values(self, train: bool) -> dict[str, Any]:
        """Returns the values of the attributes."""
        return {name: values[0 if train else 1] for name, values in self.attributes.items()}


def _declared(train_mode: TrainMode) -> dict[str, tuple[Any, Any]]:
    if train_mode is None:
        return {}
    if isinstance(train_mode, str):
        return {train_mode: (True, False)}
    if not isinstance(train_mode, Mapping) or not all(
        isinstance(name, str) and isinstance(values, tuple | list) and len(values) == 2
        for name, values in train_mode.items()
    ):
        raise TypeError(
            "train_mode is the name of an argument, 'is_train', or a mapping of names to their "
            f"values in training and in evaluation, {{'mode': ('train', 'eval')}}, not "
            f"{train_mode!r}"
        )
    return {name: (values[0], values[1]) for name, values in train_mode.items()}


def names_of(rngs: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Returns names of random streams or of axes as a tuple, None where none are given.

    Args:
      rngs: one name, or several.

    Raises:
      TypeError: something else, such as the streams themselves.
    """
    if rngs is None or isinstance(rngs, str):
        return None if rngs is None else (rngs,)
    if not isinstance(rngs, tuple | list) or not all(isinstance(name, str) for name in rngs):
        raise TypeError(
            "rngs and axis_name are names of streams and of axes, 'dropout' or ('dropout', "
            f"'noise'), not {rngs!r}; the keys of streams are derived from that of each call"
        )
    return tuple(rngs)


def bind_axes(function: Callable[..., Any], axis_name: str | tuple[str, ...] | None) -> Any:
    """Binds axis names that a network reduces over, for a batch that is whole already.

    Under `jit` a batch is the global one however it is sharded, so that a mean over the devices of
    a `pmap` is the mean over one part: the names stand for an axis of size 1.

    Args:
      function: function of positional arguments.
      axis_name: the names, None for none.

    Returns:
      A function of the same arguments and results.
    """
    for name in names_of(axis_name) or ():
        function = jax.vmap(function, in_axes=None, out_axes=None, axis_size=1, axis_name=name)
    return function


@contextlib.contextmanager
def explained_axes(name: str) -> Iterator[None]:
    """Says what to write where a network reduces over an axis name that nothing binds.

    Args:
      name: name of the network, for the message.

    Yields:
      Nothing.

    Raises:
      NameError: another unknown name, as it is.
      ValueError: an unbound axis name.
    """
    try:
        yield
    except NameError as error:
        if "axis name" not in str(error):
            raise
        raise ValueError(
            f"{name} reduces over a named axis ({str(error).splitlines()[0]}): pass the name to "
            "the adapter, axis_name='…'. Statistics are then those of the global batch"
        ) from error
