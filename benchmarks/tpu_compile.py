"""What the train steps send and hold on TPU pods, by the TPU compiler itself and without a TPU.

  TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu python benchmarks/tpu_compile.py \
      [--output benchmarks/tpu_compile.md] [--only TEXT] [--batch_size 128]

Needs `pip install libtpu`. Compiles ahead of time the steps of every experiment, cached and online,
data-parallel and with parameters spread (fsdp), for 4, 64 and 256 chips with a fixed batch a chip,
and reads the collectives, the FLOPs and the memory of a chip from the compiled programs. Nothing is
run, so it says nothing of time. Ends with 1 where a step whose examples do not meet grows with the
pod, or where the gradient crosses the mesh in more than one piece.
"""

import argparse
import collections
import dataclasses
import importlib.metadata
import pathlib
import sys
import tempfile
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.experimental import topologies
from jax.sharding import NamedSharding

import jaxkd
from experiments.common.protocol import ProtocolConfig, sgd
from experiments.common.study import adamw
from experiments.fashion_mnist.config import Config, StudentConfig, TeacherConfig
from experiments.fashion_mnist.run import make_student, make_teacher
from jaxkd import Network, Objective, make_train_step, recipes
from jaxkd.compression import collectives, parameter_bytes
from jaxkd.compression.profiling.collectives import Collective
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN, MLP
from jaxkd.recipes import Pair
from jaxkd.study import Column, Table
from jaxkd.targets import Dense, TopK
from jaxkd.training import Partitioning, make_mesh
from jaxkd.views import Mixup, Normalize, RandomCrop, RandomFlip, Views

TOPOLOGIES = ("v5e:2x2", "v5:4x4x4", "v6e:2x2", "v6e:16x16")
# Growth is read within one generation: two generations differ in layouts, not in what they send.
SMALL, LARGE = "v6e:2x2", "v6e:16x16"
FSDP = 2
PLAIN = Views((Normalize(),))
CHANGED = Views((RandomCrop(2), RandomFlip(), Normalize(), Mixup(10)))
CONFIG = Config()
# Metrics and counts of examples beside the gradient.
FEW_BYTES = 128
MEASURED = ("FLOPs", "arguments", "temporaries")
# Padding and the choices of the compiler.
TOLERANCE = 1.05


@dataclasses.dataclass(frozen=True)
class Case:
    """One train step.

    Attributes:
      name: for people.
      student: what is trained.
      teacher: who outputs.
      objective: what is minimized.
      adam: the optimizer, whichever.
      codec: of the cache; None runs the teacher online.
      views: what a batch goes through.
      meets: how the examples of a batch meet, empty where they do not.
      micro_batches: see `make_train_step`.
    """

    name: str
    student: Network
    teacher: Network
    objective: Objective
    adam: optax.GradientTransformation
    codec: Any
    views: Views = PLAIN
    meets: str = ""
    micro_batches: int = 1


@dataclasses.dataclass(frozen=True)
class Program:
    """What the compiler made of a case on one pod.

    Attributes:
      case: the case.
      layout: `data`, or how many chips parameters are spread over.
      topology: the pod.
      chips: in it.
      sent: its collectives; None where the compiler cannot print the program.
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


def cases() -> list[Case]:
    kd = recipes.kd(alpha=CONFIG.alpha, temperature=CONFIG.temperature)
    pure = recipes.kd(alpha=1.0, temperature=CONFIG.temperature)
    adam = adamw(CONFIG.learning_rate, 1_000)
    float32, top4 = Dense("float32"), TopK(4, temperatures=(CONFIG.temperature,))
    cnn, resnet20 = (make_teacher(TeacherConfig(name), 0) for name in ("cnn", "resnet20"))
    mlp, small_cnn, convnet = (
        make_student(StudentConfig(name, width), 0)
        for name, width in (("mlp", 128), ("cnn", 8), ("convnet", 32))
    )
    resnet8 = make_teacher(TeacherConfig("resnet8"), 1)
    digit_mlp = jaxkd.from_nnx(MLP(64, (32,), 10, rngs=nnx.Rngs(0)))
    digit_cnn = jaxkd.from_nnx(CNN((8, 8, 1), (16, 32), 64, 10, rngs=nnx.Rngs(0)))
    wide = jaxkd.from_nnx(MLP(784, (2048, 2048), 10, rngs=nnx.Rngs(0)))
    wider = jaxkd.from_nnx(MLP(784, (4096, 4096), 10, rngs=nnx.Rngs(0)))
    norm = "batch statistics"
    found = [
        Case("digits: MLP, cached", digit_mlp, digit_cnn, kd, adam, float32),
        Case("digits: MLP, online CNN", digit_mlp, digit_cnn, kd, adam, None),
        Case("fashion: MLP, labels alone", mlp, cnn, recipes.labels(), adam, None),
        Case("fashion: MLP, cached", mlp, cnn, kd, adam, float32),
        Case("fashion: MLP, cached top 4", mlp, cnn, kd, adam, top4),
        Case("fashion: MLP, cached, no labels", mlp, cnn, pure, adam, float32),
        Case("fashion: MLP, cached, crop, flip, mixup", mlp, cnn, kd, adam, float32, CHANGED),
        Case("fashion: MLP, cached, 4 parts", mlp, cnn, kd, adam, float32, micro_batches=4),
        Case("fashion: MLP, online CNN", mlp, cnn, kd, adam, None),
        Case("fashion: CNN, cached", small_cnn, cnn, kd, adam, float32),
        Case("fashion: CNN, online ResNet-20", small_cnn, resnet20, kd, adam, None),
        Case("fashion: ConvNet, cached", convnet, resnet20, kd, adam, float32, meets=norm),
        Case("fashion: ResNet-8, cached", resnet8, resnet20, kd, adam, float32, meets=norm),
        Case("wide MLP (6 M), cached", wide, wider, kd, adam, float32),
        Case("wide MLP (6 M), online MLP (20 M)", wide, wider, kd, adam, None),
    ]
    pair = Pair(small_cnn, cnn, jax.ShapeDtypeStruct((64, 28, 28, 1), np.float32))
    classes = np.arange(60_000) % 10
    for method, codec, meets, options in (
        ("rkd", {"embedding": float32}, "a relation of the batch", {}),
        ("crd", None, "a bank of all examples", {"num_examples": 60_000, "classes": classes}),
    ):
        momentum = sgd(ProtocolConfig(), 1_000)
        objective = recipes.create(method, pair, steps=1_000, **options).objective
        name = f"methods: {method}, CNN, {'cached' if codec else 'online CNN'}"
        found.append(Case(name, small_cnn, cnn, objective, momentum, codec, meets=meets))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--batch_size", type=int, default=128, help="of a chip")
    arguments = parser.parse_args()
    programs = []
    for case in cases():
        if arguments.only in case.name:
            batch = example_batch(case, arguments.batch_size)
            for topology in TOPOLOGIES:
                programs += compiled(case, batch, topology)
                print(f"{case.name}, {topology}", file=sys.stderr, flush=True)
    tables = [all_programs(programs, arguments.batch_size), growth(programs)]
    wrong = complaints(programs)
    verdict = "\n".join(f"- {line}" for line in [*conclusions(programs), *wrong])
    for table in tables:
        table.print()
    print(verdict)
    if arguments.output:
        parts = [f"## {table.title}\n\n{table.to_markdown()}\n" for table in tables]
        title = "# Train steps on TPU pods, compiled without one\n"
        arguments.output.write_text("\n".join([title, verdict + "\n", *parts]))
    sys.exit(1 if wrong else 0)


def example_batch(case: Case, size: int) -> dict[str, Any]:
    """The batch of one chip, from a loader and a cache that the teacher filled."""
    shape = (size, 8, 8, 1) if case.name.startswith("digits") else (size, 28, 28, 1)
    data = Dataset.from_arrays(
        np.zeros(shape, np.uint8),
        np.arange(size) % 10,
        name="zeros",
        split="train",
        num_classes=10,
    )
    cache = None
    if case.codec is not None:
        with tempfile.TemporaryDirectory() as path:
            cache = jaxkd.cache.build(
                path, case.teacher, data, case.views, codec=case.codec, progress=False
            )
            return Loader(data, case.views, size, cache=cache)[0]
    return Loader(data, case.views, size)[0]


def compiled(case: Case, batch: dict[str, Any], topology: str) -> list[Program]:
    """The case on one pod, data-parallel and, where anything is large enough, spread."""
    devices = topologies.get_topology_desc(topology, "tpu").devices
    online = case.codec is None and case.objective.needs_teacher
    step = make_train_step(
        case.student,
        case.objective,
        case.adam,
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
        placed = structs(frozen, partitioning.shardings(frozen)).get("teacher", {})
        # The same step, told where its arrays lie; on devices that only compile none can be put.
        laid = dataclasses.replace(
            step, frozen=tuple(placed.values()), partitioning=partitioning
        ).lower(
            structs(state, partitioning.shardings(state)),
            jax.tree.map(
                lambda leaf, rows=rows: jax.ShapeDtypeStruct(
                    (leaf.shape[0] * len(devices), *leaf.shape[1:]), leaf.dtype, sharding=rows
                ),
                batch,
            ),
        )
        found.append(measured(case, layout, topology, len(devices), laid.compile()))
    return found


def structs(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


def measured(case: Case, layout: str, topology: str, chips: int, program: Any) -> Program:
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


def all_programs(programs: list[Program], batch_size: int) -> Table:
    rows = [
        [
            p.case.name,
            p.layout,
            f"{p.topology} ({p.chips})",
            p.described,
            p.flops / 1e6,
            *(size / 1e3 for size in (p.arguments, p.outputs, p.temporary)),
        ]
        for p in programs
    ]
    sizes = [Column(f"{name}, kB", _thousands) for name in ("Arguments", "Outputs", "Temporary")]
    return Table(
        "What a chip sends, computes and holds in a step",
        ["Step", "Layout", "Pod (chips)", "Collectives", Column("MFLOPs", _thousands), *sizes],
        rows,
        f"Batch {batch_size} a chip. Layout: data-parallel, or parameters spread over {FSDP} or "
        "all chips. Bytes of a collective are those that a chip holds after it; one in a loop "
        "counts once, as the FLOPs of the loop do. Arguments are the state, an online teacher and "
        f"the batch; outputs reuse the state's memory. jax {jax.__version__}, the TPU compiler of "
        f"libtpu {importlib.metadata.version('libtpu')}; nothing was run.",
    )


def ratios(programs: list[Program]) -> list[tuple[Program, Program, list[float]]]:
    """The smallest and the largest pod of each step, and the growth of what a chip does."""
    by_place = {(p.case.name, p.layout, p.topology): p for p in programs}
    found = []
    for (name, layout, topology), small in by_place.items():
        if topology == SMALL:
            large = by_place[name, layout, LARGE]
            numbers = [
                getattr(large, key) / getattr(small, key) if getattr(small, key) else 1.0
                for key in ("flops", "arguments", "temporary", "sent_bytes")
            ]
            found.append((small, large, numbers))
    return found


def growth(programs: list[Program]) -> Table:
    rows = [
        [small.case.name, small.layout, *numbers, small.case.meets or "not at all"]
        for small, _, numbers in ratios(programs)
    ]
    names = ("FLOPs", "Arguments", "Temporary", "Sent")
    return Table(
        "Growth from 4 to 256 chips",
        ["Step", "Layout", *(Column(name, _ratio) for name in names), "Examples meet in"],
        rows,
        f"Each number of a chip on {LARGE} over the same on {SMALL}, the batch growing with the "
        "pod. Where parameters are spread, the compiler sends parameters or activations, whichever "
        "it thinks faster on the pod at hand.",
    )


def conclusions(programs: list[Program]) -> list[str]:
    """What grows with the pod, in words."""
    lines = []
    for layout in ("data", f"fsdp {FSDP}"):
        alone = [
            (small, numbers)
            for small, _, numbers in ratios(programs)
            if not small.case.meets and small.layout == layout
        ]
        if alone:
            most = np.max([numbers[:3] for _, numbers in alone], axis=0)
            held = max(_held_growth(small, numbers) for small, numbers in alone)
            grown = [n for n, g in zip(MEASURED, most, strict=True) if g > TOLERANCE]
            lines.append(
                f"{layout}, from 4 to 256 chips, where examples do not meet ({len(alone)} steps): "
                f"growth by more than {100 * (TOLERANCE - 1):.0f} % a chip: "
                f"{' and '.join(grown) or 'none'}. At most FLOPs ×{most[0]:.3f}, "
                f"arguments ×{most[1]:.3f}, temporaries ×{most[2]:.3f}, both memories together "
                f"×{held:.3f}."
            )
    plain = [p for p in programs if p.layout == "data" and not p.case.meets and p.sent is not None]
    if plain:
        extra = max(p.sent_bytes - parameter_bytes(p.case.student.params) for p in plain)
        single = sum(len(p.sent or ()) == 1 for p in plain)
        lines.append(
            f"data, where examples do not meet ({len(plain)} programs): one all-reduce has the "
            f"gradient; all else that is sent comes to {extra:.0f} bytes at most. {single} have no "
            "other collective. The others count the labeled examples of the whole batch in one of "
            "4 bytes, for which nothing but the labels is needed."
        )
    if any(p.case.views.mixes for p in plain):
        lines.append(
            "Mixup's weights are sampled by rejection: the iterations of its loops, which the "
            "batch makes together, send one number each, by which chips decide whether to go on."
        )
    for small, large, numbers in ratios(programs):
        if small.case.meets and small.layout == "data":
            lines.append(
                f"{small.case.name}: the examples meet in {small.case.meets}; beside the gradient "
                f"a chip gets {_beside(small)} on 4 chips, {_beside(large)} on 256; "
                f"FLOPs ×{numbers[0]:.2f}, arguments ×{numbers[1]:.2f}, "
                f"temporaries ×{numbers[2]:.2f}."
            )
    unread = len([p for p in programs if p.sent is None])
    if unread:
        lines.append(f"{unread} programs cannot be printed: their collectives are not checked.")
    return lines


def complaints(programs: list[Program]) -> list[str]:
    """What must not be; empty where all is well."""
    wrong = []
    for small, _, numbers in ratios(programs):
        if small.case.meets:
            continue
        checked = dict(zip(MEASURED, numbers[:3], strict=True))
        if small.layout != "data":
            # The compiler gathers parameters on one pod and activations on the other, which takes
            # more or less of little: what counts is that a chip holds no more in all.
            checked["temporaries"] = _held_growth(small, numbers)
        for name, number in checked.items():
            if number > TOLERANCE:
                wrong.append(f"{small.case.name}, {small.layout}: {name} grow ×{number:.2f}")
    for program in programs:
        if program.case.meets or program.sent is None:
            continue
        where = f"{program.case.name}, {program.layout}, {program.topology}"
        student, teacher = (
            parameter_bytes(network.params)
            for network in (program.case.student, program.case.teacher)
        )
        if program.layout == "data":
            pieces = [one for one in program.sent if one.nbytes > FEW_BYTES]
            fits = student <= program.sent_bytes <= student + FEW_BYTES
            if [one.kind for one in pieces] != ["all-reduce"] or not fits:
                wrong.append(
                    f"{where}: the gradient has {student} bytes, sent are {program.described}"
                )
        # Parameters gathered forward and backward, gradients back, an online teacher once;
        # activations only where they are less than that.
        elif program.sent_bytes > 3 * student + teacher:
            wrong.append(f"{where}: more is sent than the parameters, {program.described}")
    return [f"WRONG: {line}" for line in wrong]


def _held_growth(small: Program, numbers: list[float]) -> float:
    """Growth of arguments and temporaries together."""
    now = numbers[1] * small.arguments + numbers[2] * small.temporary
    return now / (small.arguments + small.temporary)


def _beside(program: Program) -> str:
    """What a chip gets apart from the gradient."""
    if program.sent is None:
        return f"what the compiler cannot print ({program.topology})"
    more = program.sent_bytes - parameter_bytes(program.case.student.params)
    return f"{more / 1e3:,.1f} kB in {len(program.sent)} collectives"


def _thousands(number: float) -> str:
    return f"{number:,.1f}"


def _ratio(number: float) -> str:
    return "" if np.isnan(number) else f"{number:.3f}"


if __name__ == "__main__":
    main()
