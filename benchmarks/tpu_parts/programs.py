"""Compiles a train step for a TPU pod and reads what the program sends, computes and holds."""

import collections
import dataclasses
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import NamedSharding

from benchmarks.tpu_parts.cases import Case
from jaxkd import make_train_step
from jaxkd.compression import collectives
from jaxkd.compression.profiling.collectives import Collective
from jaxkd.training import Partitioning, make_mesh

TOPOLOGIES = ("v5e:2x2", "v5:4x4x4", "v6e:2x2", "v6e:16x16")
FSDP = 2
# Metrics and counts of examples beside the gradient.
FEW_BYTES = 128


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled step of a case on one pod.

    Attributes:
      case: the case.
      layout: `data`, or how many chips parameters are spread over.
      topology: the pod.
      chips: number of chips of the pod.
      sent: the collectives; None where the compiler cannot print the program.
      flops: of a chip, bodies of loops counted once.
      arguments: bytes of a chip: state, teacher, batch.
      outputs: bytes of a chip.
      temporary: bytes of a chip.
    """

    case: Case
    layout: str
    topology: str
    chips: int
    sent: list[Collective] | None
    flops: float
    arguments: int
    outputs: int
    temporary: int

    @property
    def sent_bytes(self) -> float:
        """Bytes that a chip holds after all collectives."""
        return sum(c.nbytes for c in self.sent) if self.sent is not None else float("nan")

    @property
    def described(self) -> str:
        """The collectives by kind."""
        if self.sent is None:
            return "the compiler cannot print it"
        groups = collections.defaultdict(list)
        for one in self.sent:
            scalars = one.kind == "all-reduce" and one.nbytes <= FEW_BYTES
            groups[f"{one.kind} of scalars" if scalars else one.kind].append(one.nbytes)
        return ", ".join(
            f"{len(sizes)} {kind}" + ("" if "scalars" in kind else f" ({sum(sizes) / 1e3:,.1f} kB)")
            for kind, sizes in groups.items()
        )


def compiled(case: Case, batch: dict[str, Any], topology: str) -> list[Program]:
    """The case on one pod, data-parallel and, where anything is large enough, spread."""
    devices = topologies.get_topology_desc(topology, "tpu").devices
    online = case.codec is None and case.objective.needs_teacher
    step = make_train_step(
        case.student,
        case.objective,
        case.optimizer,
        teacher=case.teacher if online else None,
        views=case.views,
        micro_batches=case.micro_batches,
    )
    state = jax.eval_shape(step.init)
    frozen = {"teacher": dict(zip(("params", "state"), step.frozen, strict=True))} if online else {}
    found = []
    for layout, fsdp in (("data", 1), (f"fsdp {FSDP}", FSDP), ("fsdp all", len(devices))):
        if layout == "fsdp all" and "wide" not in case.name:
            continue
        partitioning = Partitioning(make_mesh(fsdp=fsdp, devices=devices))
        if fsdp > 1 and not any(map(len, jax.tree.leaves(partitioning.specs((state, frozen))))):
            continue  # nothing is large enough
        rows = NamedSharding(partitioning.mesh, partitioning.batch)
        placed = _structs(frozen, partitioning.shardings(frozen)).get("teacher", {})
        # The same step with the sharding of its arrays; devices that only compile hold no arrays.
        laid = dataclasses.replace(
            step, frozen=tuple(placed.values()), partitioning=partitioning
        ).lower(
            _structs(state, partitioning.shardings(state)),
            jax.tree.map(
                lambda leaf, rows=rows: jax.ShapeDtypeStruct(
                    (leaf.shape[0] * len(devices), *leaf.shape[1:]), leaf.dtype, sharding=rows
                ),
                batch,
            ),
        )
        found.append(_measured(case, layout, topology, len(devices), laid.compile()))
    return found


def _structs(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


def _measured(case: Case, layout: str, topology: str, chips: int, program: Any) -> Program:
    try:
        sent = collectives(program)
    except jax.errors.JaxRuntimeError:  # some asynchronous programs cannot be read back
        sent = None
    memory = program.memory_analysis()
    return Program(
        case,
        layout,
        topology,
        chips,
        sent,
        program.cost_analysis()["flops"],
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
    )
