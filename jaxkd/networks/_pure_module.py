"""An NNX module as a pure function of its variables."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx
from flax.core import DenyList

from jaxkd.networks._calls import Call, check_call, explained_call
from jaxkd.networks._features import Feature, recorded_nnx_ranks
from jaxkd.networks._mode import Mode, TrainMode, names_of
from jaxkd.networks._network import PyTree, dotted
from jaxkd.networks._streams import USUAL_STREAMS, keys_of


class PureModule:
    """An NNX module as a pure function of its variables, which are flat dictionaries by path.

    Args:
      model: the module, which is not changed.
      train_mode: what sets training mode; this and what follows as in `from_nnx`.
      rngs: names of the random streams that are seeded anew.
      call: function that calls the module.

    Attributes:
      params: the initial parameters.
      state: the initial values of all other variables but the random streams and sown values.
      statistics: paths of the state that are statistics of batches.
      random_layers: paths of the layers that are random in training.

    Raises:
      ValueError: a `train_mode` or a stream that the module does not have.
    """

    def __init__(
        self,
        model: nnx.Module,
        train_mode: TrainMode = None,
        rngs: str | tuple[str, ...] | None = None,
        call: Callable[..., Any] | None = None,
    ):
        """Splits a copy of the module."""
        check_call(model, call)
        self._mode, self._rngs = Mode.of_call(call or _call_of(model), train_mode), names_of(rngs)
        self._from_linen = isinstance(model, nnx.bridge.ToNNX)
        _check_attributes(model, self._mode)
        model = nnx.clone(model)
        nnx.pop(model, _is_sown)  # by an earlier call
        self._graphdef, *states = nnx.split(model, nnx.Param, nnx.RngState, ...)
        params, self._streams, state = states
        has_streams = bool(len(nnx.to_flat_state(self._streams)))
        self._call = Call.of(model, call, own_streams=has_streams or self._from_linen)
        named_here = () if self._from_linen or self._call.takes_rngs else self._rngs or ()
        _check_streams(self._streams, named_here)
        self._paths = {
            dotted(path): path for tree in (params, state) for path, _ in nnx.to_flat_state(tree)
        }
        self.params, self.state = _flatten(params), _flatten(state)
        self.statistics = tuple(_flatten(nnx.state(model, nnx.BatchStat)))
        self.random_layers = tuple(
            sorted(dotted(path) for path, m in nnx.iter_modules(model) if is_random(m))
        )

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        inputs: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        train: bool,
        key: jax.Array | None,
        features: tuple[Feature, ...] = (),
    ) -> tuple[Any, dict[str, jax.Array], PyTree]:
        """Returns the module's result, its features by name, and the new state.

        In evaluation streams are seeded from a key, too, if there is one: outputs must not depend
        on it, which is how a network that is random in evaluation is found.
        """
        seeded = train or key is not None
        streams = _reseed(self._streams, key, self._rngs) if seeded else _copied(self._streams)
        module = self._set_mode(self._module(params, state, streams), train)
        keywords = {**self._mode.keywords(train), **self._keywords(train, key), **keywords}
        call = self._call.function or type(module).__call__
        explained = explained_call(self._call, inputs[0] if len(inputs) == 1 else None)
        if features:
            recorded = nnx.capture(call, nnx.Intermediate, method_outputs=nnx.Intermediate)
            with recorded_nnx_ranks(module, features) as ranks, explained:
                result, inner = recorded(module, *inputs, **keywords)
            tree = nnx.to_pure_dict(inner)
            captured = {feature.name: feature.select(tree, ranks) for feature in features}
        else:
            with explained:
                result, captured = call(module, *inputs, **keywords), {}
        if train:
            after = _flatten(nnx.state(module, nnx.Not(nnx.Any(nnx.Param, nnx.RngState))))
            # Without what the call has sown.
            state = {path: after[path] for path in state}
        return result, captured, state

    def call_method(self, name: str, params: PyTree, state: PyTree, *inputs: Any) -> Any:
        """Returns the result of another method of the module, in evaluation mode."""
        return getattr(self.module(params, state), name)(*inputs)

    def module(self, params: PyTree, state: PyTree) -> Any:
        """Returns the module with these variables, in evaluation mode."""
        return self._set_mode(self._module(params, state, _copied(self._streams)), train=False)

    def evaluated(self, model: nnx.Module) -> nnx.Module:
        """Returns a copy of a module in the declared evaluation mode, to be described."""
        values = self._mode.attribute_values(train=False)
        if not values:
            return model
        model = nnx.clone(model)
        model.set_attributes(**values, raise_if_not_found=False)
        return model

    def _set_mode(self, module: Any, train: bool) -> Any:
        known = {"deterministic": not train, "use_running_average": not train}
        values = {**known, **self._mode.attribute_values(train)}
        module.set_attributes(**values, raise_if_not_found=False)
        return module

    def _keywords(self, train: bool, key: jax.Array | None) -> dict[str, Any]:
        """Returns the key and streams that a call takes.

        A Linen module in a bridge gets its streams, and what it may change.
        """
        if not self._from_linen or self._call.function is not None:
            taken: dict[str, Any] = {"key": key if train else None} if self._call.takes_key else {}
            given = train and key is not None
            if self._call.takes_rngs and (self._call.requires_rngs or given):
                taken["rngs"] = nnx.Rngs(**self._call.keys(key, self._rngs, train))
            return taken
        if not train:
            return {"rngs": nnx.Rngs()}  # its own streams would let dropout pass in evaluation
        keys = {} if key is None else keys_of(self._rngs or USUAL_STREAMS, key)
        return {"rngs": nnx.Rngs(**keys), "mutable": DenyList(("params", "intermediates"))}

    def _module(self, params: PyTree, state: PyTree, streams: nnx.State) -> Any:
        return nnx.merge(
            self._graphdef, _nest(params, self._paths), streams, _nest(state, self._paths)
        )


def is_random(module: nnx.Module) -> bool:
    """Returns whether a layer is random in training: dropout of a rate above zero.

    Args:
      module: any module.
    """
    rate: Any = 0
    if isinstance(module, nnx.Dropout):
        rate = module.rate
    elif isinstance(module, nnx.MultiHeadAttention):
        rate = module.dropout_rate
    return isinstance(rate, int | float) and rate > 0


def _call_of(model: nnx.Module) -> Any:
    """Returns the call that takes the mode's arguments, of a bridge that of its Linen module."""
    inner = model.to_nnx__module if isinstance(model, nnx.bridge.ToNNX) else model
    return type(inner).__call__


def _is_sown(path: Any, variable: Any) -> bool:
    """Returns whether a variable is of `sow`, which gathers a tuple that grows at every call."""
    if not isinstance(variable, nnx.Variable):
        return False
    return isinstance(variable, nnx.Intermediate) or isinstance(variable.get_value(), tuple)


def _check_attributes(model: nnx.Module, mode: Mode) -> None:
    modules = [module for _, module in nnx.iter_modules(model)]
    for name in mode.attributes:
        if not any(_has_value(module, name) for module in modules):
            raise ValueError(
                f"train_mode names the attribute {name!r}, which neither {type(model).__name__} "
                "nor one of its submodules has"
            )


def _has_value(module: nnx.Module, name: str) -> bool:
    """Whether a module or its class has an attribute that can be set, and is no method."""
    of_class = getattr(type(module), name, None)
    settable = hasattr(type(module), name) and not isinstance(of_class, property)
    return name in vars(module) or (settable and not callable(of_class))


def _check_streams(streams: nnx.State, names: tuple[str, ...]) -> None:
    found = sorted({variable.tag for _, variable in nnx.to_flat_state(streams)})
    if unknown := sorted(set(names) - set(found)):
        raise ValueError(f"rngs names the streams {unknown}, the module has {found}")


def _flatten(state: nnx.State) -> dict[str, jax.Array]:
    return {
        dotted(path): leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
        for path, leaf in nnx.to_flat_state(state)
    }


def _nest(flat: Mapping[str, jax.Array], paths: Mapping[str, tuple[Any, ...]]) -> dict[Any, Any]:
    tree: dict[Any, Any] = {}
    for name, value in flat.items():
        *parents, last = paths[name]
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def _copied(streams: nnx.State) -> nnx.State:
    """Returns the streams as variables of the current trace, for random numbers in evaluation."""
    flat = nnx.to_flat_state(streams)
    if not len(flat):
        return streams
    return nnx.from_flat_state([(path, v.replace(v.get_value())) for path, v in flat])


def _reseed(streams: nnx.State, key: jax.Array | None, names: tuple[str, ...] | None) -> nnx.State:
    flat = nnx.to_flat_state(streams)
    if not len(flat):
        return streams
    if key is None:
        raise ValueError("this network needs random numbers in training: pass key=")
    reseeded = []
    for index, (path, variable) in enumerate(flat):
        value = variable.get_value()
        if names is not None and variable.tag not in names:
            pass
        elif isinstance(variable, nnx.RngKey):
            fresh = jax.random.fold_in(key, index)
            value = jax.random.split(fresh, value.shape) if value.shape else fresh
        else:
            value = jax.numpy.zeros_like(value)
        reseeded.append((path, variable.replace(value)))
    return nnx.from_flat_state(reseeded)
