"""Arrays of other libraries in a network, and a report of which went where."""

import dataclasses
import importlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxkd.networks import Network
from jaxkd.networks._kinds import check_network
from jaxkd.weights._hints import hints, tied_names
from jaxkd.weights._layout import Rules as Rules
from jaxkd.weights._layout import join_attention, path_of, to_layout
from jaxkd.weights._names import NetworkVariables, flat_variables
from jaxkd.weights._read import read, to_numpy

# The modules in jaxkd.weights.namings.
NAMINGS = ("bert", "gemma2", "llama", "repdistiller", "timm", "torchvision")

# Counters and keys that no evaluation pass reads: of PyTorch's statistics, of NNX's random streams.
_IGNORED = re.compile(r"(^|\.)(num_batches_tracked|rngs\.(.*\.)?(count|key))$")
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Which arrays of a source went where.

    Attributes:
      matched: path in the network → name in the source.
      unused: names in the source that match no variable of the network.
      missing: paths in the network that the source has nothing for; they keep their initial values.
      misfits: path in the network → what does not fit, for arrays of another shape.
      ignored: names in the source that were left out: by `ignore`, or since they repeat another
        array, as the output matrix of tied networks does; and paths in the network that `ignore`
        names and that keep their initial values.

    Example:
      >>> report = LoadReport({"kernel": "fc.weight"}, unused=(), missing=("bias",), misfits={})
      >>> report.complete, report.missing
      (False, ('bias',))
    """

    matched: dict[str, str]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    misfits: dict[str, str]
    ignored: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all arrays of the source and of the network match."""
        return not (self.unused or self.missing or self.misfits)

    def __str__(self) -> str:
        """Returns a count, and the first differences of each kind."""
        kinds = {
            "does not fit": [f"{path}: {what}" for path, what in self.misfits.items()],
            "missing in the source": self.missing,
            "no variable in the network": self.unused,
        }
        lines = [f"{len(self.matched)} arrays matched"]
        for kind, items in kinds.items():
            lines += [f"{kind}: {item}" for item in items[:_SHOWN]]
            if len(items) > _SHOWN:
                lines.append(f"{kind}: and {len(items) - _SHOWN} more")
        return "\n".join(lines)


def load(
    network: Network,
    source: Mapping[str, Any] | str | os.PathLike[str],
    naming: str | Rules | None = None,
    *,
    flatten: Mapping[str, tuple[int, int, int]] | None = None,
    ignore: Sequence[str] = (),
    strict: bool = True,
) -> tuple[Network, LoadReport]:
    """Puts arrays of another library, or saved ones of this one, into a network.

    Names are translated by the naming and by the last part (`weight` is a `kernel`, a `scale` or an
    `embedding`, whichever the network has; `running_mean` is a `mean`). A `weight` that becomes a
    kernel is transposed from channels first, `[out, in, height, width]` and `[out, in]`, to
    channels last. Attentions of Flax, of three layers, are joined where the network has one layer
    `qkv`. Values are cast to the types that the network's variables have.

    Args:
      network: network made by `jaxkd.from_nnx` or `jaxkd.from_linen`. Names are paths with dots;
        those of Linen's batch statistics are without their collection.
      source: a path that `read` takes; or name → array, such as a state dict, or nested variables
        of Flax.
      naming: library that the names are of: `"repdistiller"`, `"timm"` or `"torchvision"`, for
        networks of images in `jaxkd.models`; for those of text `"bert"`, `"llama"` (Mistral, Qwen
        and Gemma 1 as well) or `"gemma2"`; or rules, pairs of a regular expression and its
        replacement, applied one after the other to each name without its last part (and to the
        complete name if the network has no such variable); None for names of this library.
      flatten: for a dense layer after a flattened map, its path in the network → `(channels,
        height, width)` of that map as the source flattened it; its rows are put in the order of
        channels last.
      ignore: regular expressions of names in the source, or of paths in the network, to leave out,
        such as those of a head, `("^head",)`; the variables keep their initial values.
      strict: whether anything missing, unused or of another shape is an error.

    Returns:
      The network with the new values, and a `LoadReport`.

    Raises:
      TypeError: a module in place of a network; says how to wrap it.
      ValueError: in strict mode, arrays do not fit; in any mode, the naming is unknown, there is no
        such layer in `flatten`, or two names belong to one variable.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      >>> arrays = {"fc.weight": np.ones((3, 2)), "fc.bias": np.zeros(3)}
      >>> loaded, report = load(network, arrays, [(r"^fc$", "")])
      >>> print(report)
      2 arrays matched
    """
    check_network("network", network)
    rules, ignored_names = _rules(naming, network.name)
    variables = NetworkVariables(network)
    known, flatten = variables.arrays, dict(flatten or {})
    if unknown := [path for path in flatten if _join(path, "kernel") not in known]:
        raise ValueError(f"flatten names {unknown[0]!r}, where {network.name} has no dense layer")
    arrays = flat_variables(source) if isinstance(source, Mapping) else read(source)
    arrays = {name.replace("/", "."): value for name, value in arrays.items()}
    arrays, joined = join_attention(arrays, lambda name: path_of(name, rules, known) is not None)
    values: dict[str, Any] = {}
    matched: dict[str, str] = {}
    misfits: dict[str, str] = {}
    unused: list[str] = []
    ignored: list[str] = []
    # Paths in the network that keep their initial values → whether the source names them.
    kept = {path: False for path in known if _is_named(path, ignore)}
    for name, value in arrays.items():
        if _IGNORED.search(name) or ignored_names.search(name):
            continue
        path = path_of(name, rules, known)
        if _is_named(name, ignore) or path in kept:
            ignored.append(name)
            kept |= {path: True} if path else {}
            continue
        if path is None:
            unused.append(name)
            continue
        if path in matched:
            raise ValueError(
                f"{matched[path]!r} and {name!r} both belong to {path!r}: correct the rules"
            )
        matched[path] = joined.get(name, name)
        variable, layer = known[path], path.rpartition(".")[0]
        try:
            array = to_layout(to_numpy(value), name, path, variable.shape, flatten.get(layer))
            values[path] = _cast(array, variable.dtype)
        except ValueError as error:
            misfits[path] = str(error)
    fitting = {path: name for path, name in matched.items() if path in values}
    tied = tied_names(unused, fitting, arrays)
    report = LoadReport(
        fitting,
        tuple(name for name in unused if name not in tied),
        tuple(path for path in known if path not in matched and path not in kept),
        misfits,
        (*ignored, *tied, *(path for path, in_source in kept.items() if not in_source)),
    )
    if strict and not report.complete:
        hinted = hints(
            report.unused, report.missing, misfits, fitting, lambda n: path_of(n, rules, known)
        )
        raise ValueError(
            f"the arrays do not fit {network.name}:\n{report}\nTranslate the names with rules, or "
            f"pass strict=False to keep the initial values of what does not fit{hinted}"
        )
    return variables.replace(values), report


def from_linen_variables(
    network: Network, variables: Mapping[str, Any], rules: Rules = (), *, strict: bool = True
) -> tuple[Network, LoadReport]:
    """Puts the variables of a Linen module into a network, such as one of NNX.

    Args:
      network: network made by `jaxkd.from_nnx` or `jaxkd.from_linen`.
      variables: `{"params": …, "batch_stats": …}`, as `module.init` returns them.
      rules: rules from Linen's names, joined with dots and without collection, to those of the
        network; see `load`.
      strict: see `load`.

    Returns:
      The network with the new values, and a `LoadReport`.

    Raises:
      ValueError: there are no `"params"`; in strict mode, arrays do not fit.

    Example:
      >>> import flax.linen as nn, jax
      >>> from flax import nnx
      >>> import jaxkd
      >>> variables = nn.Sequential([nn.Dense(3)]).init(jax.random.key(0), jnp.ones((1, 2)))
      >>> network = jaxkd.from_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      >>> _, report = from_linen_variables(network, variables, [("layers_0", "")])
      >>> report.matched["kernel"]
      'layers_0.kernel'
    """
    if "params" not in variables:
        raise ValueError(f"variables need 'params'; these have {sorted(variables)}")
    return load(network, variables, rules, strict=strict)


def _rules(naming: str | Rules | None, network: str) -> tuple[Rules, re.Pattern[str]]:
    """The rules of a naming, and a pattern of names that are no weights."""
    nothing = re.compile(r"(?!)")
    if naming is None:
        return (), nothing
    if not isinstance(naming, str):
        return naming, nothing
    if naming not in NAMINGS:
        raise ValueError(
            f"naming must be one of {list(NAMINGS)}, or rules of your own, not {naming!r}"
        )
    module = importlib.import_module(f"jaxkd.weights.namings.{naming}")
    known = module.RULES
    if network not in known:
        raise ValueError(
            f"the names that {naming} has for {network} are not known, only those for "
            f"{sorted(known)}: pass rules of your own"
        )
    return known[network], re.compile(getattr(module, "IGNORED", nothing.pattern))


def _cast(array: Any, dtype: Any) -> Any:
    """Casts an array to the type of its variable; refuses numbers that are none there."""
    if np.iscomplexobj(array) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"{array.dtype} is complex, {dtype} wanted")
    if array.dtype == dtype:
        return jnp.asarray(array)
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        overflown = ~np.isfinite(cast) & np.isfinite(array)
        if overflown.any():
            raise ValueError(f"{array[overflown][0]:.3g} as {array.dtype} overflows in {dtype}")
    return jnp.asarray(cast)


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _join(path: str, last: str) -> str:
    return f"{path}.{last}" if path else last
