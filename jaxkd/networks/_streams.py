"""Random streams by name: the keys that a training call gets, and an evaluation call does not."""

import contextlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from flax.errors import InvalidRngError, ModifyScopeVariableError

# Names in use for what is random in training. A stream that is passed and not asked for is free.
USUAL_STREAMS = ("default", "drop_path", "droppath", "dropout", "noise", "stochastic_depth")


def keys_of(names: Iterable[str], key: jax.Array) -> dict[str, jax.Array]:
    """Derives a key for each stream from its name alone, whatever other streams there are.

    Args:
      names: names of streams.
      key: the key of the call.

    Returns:
      Name → key.
    """
    return {name: jax.random.fold_in(key, zlib.crc32(name.encode())) for name in names}


class LinenStreams:
    """The streams that a Linen module asks for in training, found as it asks for them.

    A stream has to be passed by name: under another name (Linen falls back to `"params"`)
    `has_rng` is false, and scanned layers share one mask.
    """

    def __init__(self, names: tuple[str, ...] | None):
        """Begins with declared streams, which are all there are, or with the usual ones."""
        self._declared = names is not None
        self._names = list(USUAL_STREAMS if names is None else names)

    def call(self, function: Callable[[dict[str, jax.Array] | None], Any], key: Any) -> Any:
        """Calls a function with the streams' keys; again where it asks for another stream.

        Args:
          function: function of the keys by stream.
          key: the key of the call, None for none.

        Returns:
          What the function returns.

        Raises:
          ValueError: random numbers without a key, or a stream that is not passed on.
        """
        while True:
            try:
                return function(None if key is None else keys_of(self._names, key))
            except InvalidRngError as error:
                found = re.search(r'needs PRNG for "([^"]+)"', str(error))
                if key is None:
                    raise ValueError(
                        f"this network needs random numbers in training: pass key= ({error})"
                    ) from error
                if found is None or self._declared or found[1] in self._names:
                    raise ValueError(
                        f"a stream of random numbers does not reach a layer ({error}); passed are "
                        f"{self._names}: name it in from_linen(…, rngs=(…)), and in split_rngs= "
                        "where layers are lifted (nn.scan, nn.vmap)"
                    ) from error
                self._names.append(found[1])


@contextlib.contextmanager
def explained_evaluation(name: str) -> Iterator[None]:
    """Says what to write where a Linen module is not in evaluation mode.

    Args:
      name: name of the network, for the message.

    Yields:
      Nothing.

    Raises:
      ValueError: the module asks for random numbers, or moves statistics.
    """
    try:
        yield
    except (InvalidRngError, ModifyScopeVariableError) as error:
        what = "random numbers" if isinstance(error, InvalidRngError) else "moving statistics"
        raise ValueError(
            f"{name} wants {what} in evaluation mode ({str(error).splitlines()[0]}): it is not in "
            "evaluation mode. Name what sets it, train_mode='is_train' or "
            "train_mode={'mode': ('train', 'eval')} of from_linen or from_nnx; a value that is "
            "fixed inside the module (deterministic=False, use_running_average=False) has to "
            "become an argument"
        ) from error
