"""A student and its teacher: recipes measure their outputs to make connectors that fit."""

import dataclasses
import functools
from typing import Any

import jax

from jaxkd.networks import Network, class_maps, head_weights, region_logits
from jaxkd.networks._arguments import shown
from jaxkd.networks._kinds import check_network


@dataclasses.dataclass(frozen=True)
class Pair:
    """A student and its teacher, with the shapes of their outputs.

    Recipes look for outputs under the names that `jaxkd.models` use: `stage1`, `stage2`, … for
    feature maps after the activation, `preact1`, … before it, `embedding` for the input of the last
    layer. Name those of your own networks so, with `features=` or `networks.add_outputs`. Stages of
    the two networks are matched from the last one backwards.

    Attributes:
      student: the network to train.
      teacher: the trained network.
      inputs: example batch, arrays or `jax.ShapeDtypeStruct`; only its shape is used.
      head: path of the dense layer that makes the logits, in both networks.

    Raises:
      TypeError: a student or a teacher that is no `Network`, or inputs without a shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((1, 28, 28, 1)))
      >>> pair.stages()[-1], pair.width("student", "stage3"), pair.width("teacher", "stage3")
      (('stage3', 'stage3'), 32, 64)
    """

    student: Network
    teacher: Network
    inputs: Any
    head: str = "head"

    def __post_init__(self):
        for role, network in (("student", self.student), ("teacher", self.teacher)):
            check_network(role, network)
        if not any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(self.inputs)):
            raise TypeError(
                f"inputs must be an example batch, not {shown(self.inputs)}: write "
                "jnp.ones((1, 28, 28, 1)), or jax.ShapeDtypeStruct of shape and type"
            )

    def shape(self, side: str, output: str) -> tuple[int, ...]:
        """Returns the shape of an output.

        Args:
          side: `"student"` or `"teacher"`.
          output: name of the output.

        Raises:
          ValueError: the network has no such output.
        """
        shapes = self._shapes[side]
        if output not in shapes:
            raise ValueError(
                f"the recipe needs the {side}'s output {output!r}; it has {sorted(shapes)}: name "
                "the outputs so with features= or jaxkd.networks.add_outputs"
            )
        return shapes[output]

    def width(self, side: str, output: str) -> int:
        """Returns the width of the last axis of an output."""
        return self.shape(side, output)[-1]

    def size(self, side: str, output: str) -> tuple[int, int]:
        """Returns height and width of a map."""
        _, height, width, _ = self.shape(side, output)
        return height, width

    def stages(self, name: str = "stage") -> list[tuple[str, str]]:
        """Returns the names of the matched stages, student's and teacher's, first to last.

        Args:
          name: `"stage"` or `"preact"`.

        Raises:
          ValueError: a network without maps of that name.
        """
        student, teacher = self.depth("student", name), self.depth("teacher", name)
        return [
            (f"{name}{student - back}", f"{name}{teacher - back}")
            for back in reversed(range(min(student, teacher)))
        ]

    def depth(self, side: str, name: str) -> int:
        """Returns the number of outputs `name1`, `name2`, … of a network.

        Args:
          side: `"student"` or `"teacher"`.
          name: `"stage"`, `"preact"`, or `"layer"` and `"attention"` of text networks.

        Raises:
          ValueError: there is none.
        """
        count = 0
        while f"{name}{count + 1}" in self._shapes[side]:
            count += 1
        if not count:
            self.shape(side, f"{name}1")
        return count

    @property
    def num_classes(self) -> int:
        """Number of classes of the teacher."""
        return self.width("teacher", "logits")

    def teacher_head(self) -> tuple[jax.Array, jax.Array | None]:
        """Returns kernel and bias of the teacher's last layer."""
        return head_weights(self.teacher.all_params(), self.head)

    def with_class_maps(self) -> "Pair":
        """Adds class activation maps and logits of regions to the outputs of both networks.

        For networks whose logits are a dense layer on the global average of the last map.

        Returns:
          The pair with both networks extended.

        Raises:
          ValueError: a last layer that does not take the channels of the last map.
        """
        student, teacher = self.stages()[-1]
        changed: dict[str, Network] = {}
        for side, network, feature in (
            ("student", self.student, student),
            ("teacher", self.teacher, teacher),
        ):
            kernel, _ = head_weights(network.all_params(), self.head)
            if kernel.shape[0] != self.width(side, feature):
                raise ValueError(
                    f"the {side}'s last layer takes {kernel.shape[0]} features, its last map has "
                    f"{self.width(side, feature)} channels: class maps need a dense layer on the "
                    "global average of the map"
                )
            network = class_maps(network, feature=feature, head=self.head)
            changed[side] = region_logits(network, feature=feature, head=self.head)
        return dataclasses.replace(self, student=changed["student"], teacher=changed["teacher"])

    @functools.cached_property
    def _shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        def shapes(network):
            outputs = jax.eval_shape(
                lambda p, s, x: network.apply(p, s, x)[0],
                network.params,
                network.state,
                self.inputs,
            )
            return {name: value.shape for name, value in outputs.items()}

        return {"student": shapes(self.student), "teacher": shapes(self.teacher)}
