"""What the rules of the operations read and extend while a program is traced."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jaxkd.compression.pruning._channel_ids import BlockCount
from jaxkd.compression.pruning._constraints import ChannelConstraints
from jaxkd.compression.pruning._reshapes import Attributes

Decision = tuple[Any, Any]
"""The kind of an ambiguous operation, and what it was taken to mean."""


@dataclasses.dataclass(kw_only=True)
class TracerState(ChannelConstraints):
    """Constraints on channels, and decisions about ambiguous operations.

    Attributes:
      equalities: as in `ChannelConstraints`.
      attributes: plain attributes of the modules by path, which say what a reshape means.
      counts: attributes that change where blocks are removed.
      decisions: what ambiguous operations were taken to mean, in their order.
      decisions_to_follow: those of the complete network, where a smaller one is traced: with fewer
        channels the same code may look like something else (a grouped convolution with one channel
        a group like a depthwise one).
    """

    attributes: Attributes
    counts: list[BlockCount] = dataclasses.field(default_factory=list)
    decisions: list[Decision] = dataclasses.field(default_factory=list)
    decisions_to_follow: Sequence[Decision] = ()

    def decide(self, kind: Any, decide: Callable[[], Any]) -> Any:
        """Says what an ambiguous operation means, and remembers it.

        Args:
          kind: kind of the operation; only a decision on the same kind is followed.
          decide: finds the meaning where there is no decision to follow.

        Returns:
          The meaning.
        """
        number = len(self.decisions)
        followed = self.decisions_to_follow[number : number + 1]
        decision = followed[0][1] if followed and followed[0][0] == kind else decide()
        self.decisions.append((kind, decision))
        return decision
