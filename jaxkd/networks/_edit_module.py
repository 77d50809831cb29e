"""Networks whose module becomes another one: pruned, factorized, quantized."""

from collections.abc import Callable

from flax import nnx

from jaxkd.networks._arguments import shown
from jaxkd.networks._kinds import check_network
from jaxkd.networks._network import Network


def edit_module(network: Network, change: Callable[[nnx.Module], nnx.Module]) -> Network:
    """Makes the network of what a function makes of a network's NNX module.

    The functions of `jaxkd.compression` take and return modules. This applies one of them to a
    network, trained or not, and adapts its result as the first module was adapted: with the same
    features, outputs and modes.

    Args:
      network: network of `from_nnx`.
      change: function from the module, which has the network's variables and is in evaluation mode,
        to another module.

    Returns:
      The network of that module.

    Raises:
      TypeError: a module in place of a network, or a function that returns no module.
      ValueError: a network of another origin, or one with something around it.

    Example:
      >>> import jaxkd
      >>> from jaxkd import compression
      >>> student = jaxkd.from_nnx(jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0)))
      >>> edit_module(student, lambda module: compression.factorize(module, {"layers.0": 16}))
      Network('MLP': 2,762 parameters)
    """
    check_network("network", network)
    if network.source is None or network.source.apply is not network.apply:
        raise ValueError(
            f"the layers of {network.name} cannot be replaced, for it is no network of from_nnx, "
            "or has something around it: write jaxkd.from_nnx(module), and what belongs around it "
            "(remat, add_outputs, with_inputs) afterwards"
        )

    def changed(module: nnx.Module) -> nnx.Module:
        made = change(module)
        if not isinstance(made, nnx.Module):
            raise TypeError(
                f"the function must return a module, not {shown(made)}: of a module with a report "
                "beside it write lambda module: compression.shrink(module, inputs, keep=0.5)[0]"
            )
        return made

    return network.source.edit(network.params, network.state, changed)
