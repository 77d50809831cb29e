"""How a module is called: by its `__call__`, or by a function of the module and the inputs."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax

from jaxkd.networks._streams import USUAL_STREAMS, keys_of

_EXAMPLE = "call=lambda module, inputs: module(inputs['image'], mask=inputs['mask'])"


@dataclasses.dataclass(frozen=True)
class Call:
    """A function of a module and its inputs, and what else it takes.

    Attributes:
      function: the function, None for the module's own `__call__`.
      takes_key: whether it has a parameter `key`.
      takes_rngs: whether it has a parameter `rngs` that streams are passed for.
      requires_rngs: whether it cannot be called without them. Where it can, they are passed in
        training with a key alone: a network without random layers is to need none.
    """

    function: Callable[..., Any] | None
    takes_key: bool
    takes_rngs: bool
    requires_rngs: bool = True

    @classmethod
    def of(
        cls, module: Any, call: Callable[..., Any] | None, *, own_streams: bool = True
    ) -> "Call":
        """Reads an argument `call` of an adapter that has been checked.

        Args:
          module: the module.
          call: what was given, None for the module's own `__call__`.
          own_streams: whether the module holds random streams; to one that holds none they are
            passed even where its parameter `rngs` has a default.

        Returns:
          The call.
        """
        if call is None:
            rngs = inspect.signature(type(module).__call__).parameters.get("rngs")
            required = rngs is not None and rngs.default is rngs.empty
            return cls(None, False, required or (rngs is not None and not own_streams), required)
        parameters = inspect.signature(call).parameters
        return cls(call, "key" in parameters, "rngs" in parameters)

    def keys(
        self, key: jax.Array | None, names: Iterable[str] | None, train: bool
    ) -> dict[str, jax.Array]:
        """Returns the keys of the streams by name.

        In evaluation there are streams, too: a module that requires them need not draw from them.

        Raises:
          ValueError: training without a key.
        """
        if key is None:
            if train:
                raise ValueError("this network needs random numbers in training: pass key=")
            key = jax.random.key(0)
        return keys_of(USUAL_STREAMS if names is None else names, key)


@contextlib.contextmanager
def explained_call(call: Call, inputs: Any) -> Iterator[None]:
    """Says what to write where a module takes something else than it is called with.

    Args:
      call: how the module is called.
      inputs: the inputs that it is called with.

    Yields:
      Nothing.

    Raises:
      TypeError: the error of the call inside, with a note.
    """
    try:
        yield
    except TypeError as error:
        if call.takes_rngs and "PRNG key" in str(error):
            error.add_note(
                "rngs are streams here, nnx.Rngs. Where the module takes a key under this name, "
                "write call=lambda module, inputs, train, key: "
                "module(inputs, rngs=key, train=train)"
            )
        elif call.function is None and isinstance(inputs, Mapping):
            taken = ", ".join(f"inputs[{name!r}]" for name in inputs)
            error.add_note(
                f"The module was called with the dictionary of inputs {list(inputs)} as its one "
                f"argument. If it takes them one by one, write "
                f"call=lambda module, inputs: module({taken})"
            )
        elif call.function is None and "required positional argument" in str(error):
            error.add_note(
                "The module was called with the inputs alone, one array. If it takes more, give "
                f"a dictionary of inputs and write {_EXAMPLE}"
            )
        raise


def check_call(module: Any, call: Any) -> None:
    """Refuses an argument `call` that is no function of a module and its inputs.

    Args:
      module: the module.
      call: what was given.

    Raises:
      TypeError: no function of two arguments; or one that is bound to the module, whose variables
        would then be constants.
    """
    if call is None:
        return
    kind = type(module).__name__
    if not callable(call) or isinstance(call, type):
        method = f", such as call=lambda module, inputs: module.{call}(inputs)"
        raise TypeError(
            f"call is a function of the module and the inputs, {_EXAMPLE}, not {call!r}"
            + (method if isinstance(call, str) else "")
        )
    if inspect.ismethod(call) and call.__self__ is module:
        raise TypeError(
            f"call is a method bound to this {kind}, whose variables would be constants: write "
            f"call={kind}.{call.__name__}, or call=lambda module, inputs: "
            f"module.{call.__name__}(inputs)"
        )
    if inspect.isfunction(call):
        seen = inspect.getclosurevars(call)
        names = [n for n, v in {**seen.globals, **seen.nonlocals}.items() if v is module]
        if names:
            raise TypeError(
                f"call reads the {kind} {names[0]!r} from outside, whose variables would be "
                f"constants: use its first argument in its place, {_EXAMPLE}"
            )
    try:
        inspect.signature(call).bind_partial(module, None)
    except TypeError as error:
        raise TypeError(
            f"call takes the module and the inputs, {_EXAMPLE}; "
            f"{getattr(call, '__name__', call)} takes {inspect.signature(call)}"
        ) from error
