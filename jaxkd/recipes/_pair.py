"""A student beside its teacher: what recipes measure to make connectors that fit."""

import dataclasses
import functools
from typing import Any

import jax

from jaxkd.networks import Network, class_maps, head_weights, region_logits


@dataclasses.dataclass(frozen=True)
class Pair:
    """A student and its teacher, with the shapes of their outputs.

    Recipes look for outputs under the names that `jaxkd.models` use: `stage1`, `stage2`, … for
    feature maps after the activation, `preact1`, … before it, `embedding` for what the last layer
    sees. Name those of your own networks so, with `features=` or `networks.add_outputs`. Stages of
    the two networks are matched from the last one backwards.

    Attributes:
      student: the network to train.
      teacher: the trained network.
      inputs: an example batch, arrays or `jax.ShapeDtypeStruct`; only its shape is used.
      head: path of the dense layer that makes the logits, in both networks.

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

    def shape(self, side: str, output: str) -> tuple[int, ...]:
        """Shape of an output.

        Args:
          side: `"student"` or `"teacher"`.
          output: its name.

        Raises:
          ValueError: the network has no such output.
        """
        shapes = self._shapes[side]
        if output not in shapes:
            raise ValueError(
                f"this recipe wants the {side}'s output {output!r}; it has {sorted(shapes)}: name "
                "the outputs so with features= or jaxkd.networks.add_outputs"
            )
        return shapes[output]

    def width(self, side: str, output: str) -> int:
        """Width of the last axis of an output."""
        return self.shape(side, output)[-1]

    def size(self, side: str, output: str) -> tuple[int, int]:
        """Height and width of a map."""
        _, height, width, _ = self.shape(side, output)
        return height, width

    def stages(self, name: str = "stage") -> list[tuple[str, str]]:
        """Names of the matched stages, student's and teacher's, first to last.

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
        """How many outputs `name1`, `name2`, … a network has.

        Args:
          side: `"student"` or `"teacher"`.
          name: `"stage"`, `"preact"`, or `"layer"` and `"attention"` of text networks.

        Raises:
          ValueError: none.
        """
        count = 0
        while f"{name}{count + 1}" in self._shapes[side]:
            count += 1
        if not count:
            self.shape(side, f"{name}1")
        return count

    @property
    def num_classes(self) -> int:
        """Of the teacher."""
        return self.width("teacher", "logits")

    def teacher_head(self) -> tuple[jax.Array, jax.Array | None]:
        """Kernel and bias of the teacher's last layer."""
        return head_weights(self.teacher.params, self.head)

    def with_class_maps(self) -> "Pair":
        """The pair with class activation maps and logits of regions among the outputs.

        For networks whose logits are a dense layer on the global average of the last map.
        """
        student, teacher = self.stages()[-1]
        changed: dict[str, Network] = {}
        for side, network, feature in (
            ("student", self.student, student),
            ("teacher", self.teacher, teacher),
        ):
            kernel, _ = head_weights(network.params, self.head)
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
