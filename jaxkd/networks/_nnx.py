"""The adapter for Flax NNX modules."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxkd.networks._architecture import describe_modules, described_call
from jaxkd.networks._features import Feature
from jaxkd.networks._kinds import check_module
from jaxkd.networks._mode import TrainMode, bind_axes, explained_axes, names_of
from jaxkd.networks._network import Network, Source, dotted, vocabulary_of
from jaxkd.networks._outputs import Selection, check_selection, named
from jaxkd.networks._pure_module import PureModule
from jaxkd.networks._streams import explained_evaluation
from jaxkd.networks._trainable import Split, Trainable


def from_nnx(
    model: nnx.Module,
    *,
    call: Callable[..., Any] | None = None,
    outputs: Selection = None,
    features: Mapping[str, str] | None = None,
    dtype: Any = None,
    trainable: Trainable = None,
    train_mode: TrainMode = None,
    rngs: str | tuple[str, ...] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Network:
    """Adapts a Flax NNX module.

    The module is called with the inputs alone, unless `call` says otherwise, and with `rngs` where
    its `__call__` requires them; train and evaluation mode are set as by
    `module.train()` and `module.eval()`, and passed by argument where its `__call__` takes `train`,
    `deterministic` and the like. Every random stream inside is seeded anew from `key` at each
    call, so that dropout depends on the training step and on nothing else. A Linen module inside
    `nnx.bridge.ToNNX` gets the mode's arguments of its own `__call__`.

    Args:
      model: the module. Its arrays are read, never changed.
      call: `call(module, inputs)`, where the module is not called with the inputs alone: with
        keywords, several inputs, another method. It may also take `train`, `key` and `rngs`, which
        are then passed by name.
      outputs: which parts of what the module returns are its outputs: names with dotted places,
        `{"logits": "0", "stage3": "1.stage3"}`, or a function of it that returns a mapping. Without
        it an array is `"logits"`; a mapping, named tuple or dataclass keeps its names, nested ones
        with dots; and so does `(logits, mapping)`.
      features: name of the feature → path of the submodule whose output it is, as in
        `{"stage3": "blocks.3"}`. `"blocks.3:0"` is the first part of a tuple; `"layers:stacked"`
        the outputs `[batch, layers, …]` of a submodule that runs inside a scan.
      dtype: type that all layers with a `dtype` compute in, `jnp.bfloat16` for one; None for that
        of each layer. Parameters keep their own type: float32 master parameters, which the
        optimizer updates, and statistics in float32. Losses compute in float32 whatever the outputs
        are. bfloat16 has the range of float32, so no loss scaling is needed. (Micikevicius et al.,
        Mixed Precision Training, ICLR 2018.)
      trainable: which parameters are trained: a path pattern, `"head.*"`, or several; a function of
        dotted path and array; or an NNX filter, `nnx.LoRAParam`. The others become part of
        `state`: kept, saved, and never touched by the optimizer. By default all are trained.
      train_mode: what sets training mode where the words above do not: the name of an argument,
        `"is_train"`; or names with their values in training and in evaluation,
        `{"mode": ("train", "eval")}`, `{"frozen": (False, True)}`. `"self.training"` is an
        attribute, of the module and of each submodule that has it.
      rngs: names of the random streams that are seeded anew; by default all. The others stay as
        they are in the module.
      axis_name: names of axes that the module reduces over in training, such as that of a
        BatchNorm with `axis_name`; its statistics become those of the global batch.

    Returns:
      A `Network`. `params` and `state` are flat dictionaries from path to array.

    Raises:
      ValueError: a feature path is not a submodule (the message lists those there are); a dtype
        that is not floating; a `train_mode` or a stream that the module does not have; when first
        called, a feature that is no array or comes from a scan.
      TypeError: a `call` or `outputs` of another kind; when first called, a result without names.

    Example:
      >>> from flax import nnx
      >>> import jax.numpy as jnp
      >>> network = from_nnx(nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu),
      ...                    features={"hidden": "layers.0"})
      >>> {name: value.shape for name, value in network(jnp.ones((2, 4))).items()}
      {'logits': (2, 8), 'hidden': (2, 8)}
    """
    check_module("from_nnx", model, nnx.Module)
    check_selection(outputs)
    wanted = Feature.parse(features)
    if dtype is not None:
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"a network computes in floating point, not in {jnp.dtype(dtype)}")
        model = nnx.clone(model)
        model.set_attributes(dtype=jnp.dtype(dtype), raise_if_not_found=False)
    modules = {dotted(path): module for path, module in nnx.iter_modules(model)}
    for feature in wanted:
        if feature.path not in modules or not callable(modules[feature.path]):
            known = sorted(p for p, module in modules.items() if p and callable(module))
            raise ValueError(
                f"feature {feature.name!r}: {type(model).__name__} has no submodule "
                f"{feature.path!r} to call; it has {known}"
            )
    pure, axis_name = PureModule(model, train_mode, rngs, call), names_of(axis_name)
    name = type(model).__name__
    split = None if trainable is None else _split(model, pure, trainable)
    frozen = {} if split is None else split.frozen

    def apply(params, state, inputs, *, train=False, key=None):
        def forward(params, state, inputs, key):
            options = {"train": train, "key": key, "features": wanted}
            with contextlib.nullcontext() if train else explained_evaluation(name):
                kept, moved = _parted(state, frozen)
                whole = {**params, **kept}
                result, captured, moved = pure(whole, moved, (inputs,), {}, **options)
            return {**named(result, outputs, name), **captured}, {**kept, **moved}

        with explained_axes(name):
            return bind_axes(forward, axis_name)(params, state, inputs, key)

    def edit(params, state, change):
        kept, moved = _parted(state, frozen)
        return from_nnx(
            change(pure.module({**params, **kept}, moved)),
            call=call,
            outputs=outputs,
            features=features,
            trainable=trainable,
            train_mode=train_mode,
            rngs=rngs,
            axis_name=axis_name,
        )

    return Network(
        apply,
        pure.params if split is None else split.trained,
        {**frozen, **pure.state},
        name,
        described_call(
            describe_modules(
                {dotted(path): m for path, m in nnx.iter_modules(pure.evaluated(model))}
            ),
            call=call,
            outputs=outputs,
            trained=None if split is None else split.paths,
        ),
        vocab_size=vocabulary_of(model),
        random_layers=pure.random_layers,
        statistics=pure.statistics,
        whole=None
        if split is None
        else lambda params, state: {**params, **_parted(state, frozen)[0]},
        source=Source(apply, edit),
    )


def to_nnx(network: Network, model: nnx.Module) -> nnx.Module:
    """Copies a network's variables into a module, to be pruned, quantized or saved as modules are.

    Args:
      network: network of `from_nnx`, with trained variables for instance; or of any other origin
        whose variables have the same paths.
      model: module of the same shapes, which is not changed.

    Returns:
      A copy of the module with the network's variables, in evaluation mode.

    Raises:
      ValueError: paths or shapes that differ; the message names them.

    Example:
      >>> from flax import nnx
      >>> import jax
      >>> import jax.numpy as jnp
      >>> model = nnx.Linear(4, 2, rngs=nnx.Rngs(0))
      >>> network = from_nnx(model)
      >>> trained = network.replace(params=jax.tree.map(jnp.zeros_like, network.params), state={})
      >>> to_nnx(trained, model)(jnp.ones((1, 4))).tolist()
      [[0.0, 0.0]]
    """
    pure = PureModule(model)
    ours = {**network.params, **network.state}
    theirs = {**pure.params, **pure.state}
    differing = [
        f"{path}: {_shape_of(ours.get(path))} in the network, "
        f"{_shape_of(theirs.get(path))} in the module"
        for path in sorted({*ours, *theirs})
        if _shape_of(ours.get(path)) != _shape_of(theirs.get(path))
    ]
    if differing:
        raise ValueError(
            f"the variables of {network.name} do not fit this {type(model).__name__} "
            f"({'; '.join(differing[:5])}): pass a module made like the network's own"
        )
    return pure.module(*({path: ours[path] for path in part} for part in (pure.params, pure.state)))


def _split(model: nnx.Module, pure: PureModule, trainable: Trainable) -> Split:
    """Splits a module's parameters, by an NNX filter, too."""
    if not _is_filter(trainable):
        return Split.of(pure.params, trainable, type(model).__name__)
    matches = nnx.filterlib.to_predicate(trainable)
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    chosen = {dotted(path) for path, variable in flat if matches(path, variable)}
    if not chosen:
        kinds = sorted({type(variable).__name__ for _, variable in flat})
        raise ValueError(
            f"trainable={trainable!r} matches no parameter of {type(model).__name__}, whose "
            f"parameters are of the kinds {kinds}"
        )
    return Split.of(pure.params, lambda path, _: path in chosen, type(model).__name__)


def _is_filter(trainable: Any) -> bool:
    if isinstance(trainable, tuple | list):
        return any(map(_is_filter, trainable))
    known = nnx.PathContains, nnx.All, nnx.Any, nnx.Not, nnx.OfType, nnx.WithTag
    return isinstance(trainable, (type, *known))


def _parted(state: Any, frozen: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the parameters that are not trained, and the rest of a state."""
    return (
        {path: state[path] for path in frozen},
        {path: value for path, value in state.items() if path not in frozen},
    )


def _shape_of(leaf: Any) -> str:
    return "nothing" if leaf is None else f"shape {tuple(leaf.shape)}"
