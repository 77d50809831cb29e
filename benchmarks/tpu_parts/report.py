"""Tables and conclusions of the compiled programs, and what is wrong with them."""

import importlib.metadata

import jax
import numpy as np

from benchmarks.tpu_parts.programs import FEW_BYTES, FSDP, Program
from jaxkd.compression import parameter_bytes
from jaxkd.study import Column, Table

# Growth is read within one generation: two generations differ in layouts, not in what they send.
SMALL, LARGE = "v6e:2x2", "v6e:16x16"
MEASURED = ("FLOPs", "arguments", "temporaries")
# Padding and the choices of the compiler.
TOLERANCE = 1.05


def all_programs(programs: list[Program], batch_size: int) -> Table:
    """The table of all programs."""
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
    """The table of the growth from the smallest to the largest pod."""
    rows = [
        [small.case.name, small.layout, *numbers, small.case.coupled_by or "nothing"]
        for small, _, numbers in ratios(programs)
    ]
    names = ("FLOPs", "Arguments", "Temporary", "Sent")
    return Table(
        "Growth from 4 to 256 chips",
        ["Step", "Layout", *(Column(name, _ratio) for name in names), "Examples coupled by"],
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
            if not small.case.coupled_by and small.layout == layout
        ]
        if alone:
            most = np.max([numbers[:3] for _, numbers in alone], axis=0)
            held = max(_held_growth(small, numbers) for small, numbers in alone)
            grown = [n for n, g in zip(MEASURED, most, strict=True) if g > TOLERANCE]
            lines.append(
                f"{layout}, from 4 to 256 chips, where examples are not coupled "
                f"({len(alone)} steps): growth by more than {100 * (TOLERANCE - 1):.0f} % a chip: "
                f"{' and '.join(grown) or 'none'}. At most FLOPs ×{most[0]:.3f}, "
                f"arguments ×{most[1]:.3f}, temporaries ×{most[2]:.3f}, both memories together "
                f"×{held:.3f}."
            )
    plain = [
        p for p in programs if p.layout == "data" and not p.case.coupled_by and p.sent is not None
    ]
    if plain:
        extra = max(p.sent_bytes - parameter_bytes(p.case.student.params) for p in plain)
        single = sum(len(p.sent or ()) == 1 for p in plain)
        lines.append(
            f"data, where examples are not coupled ({len(plain)} programs): one all-reduce has the "
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
        if small.case.coupled_by and small.layout == "data":
            lines.append(
                f"{small.case.name}: the examples are coupled by {small.case.coupled_by}; beside "
                f"the gradient a chip gets {_beside(small)} on 4 chips, {_beside(large)} on 256; "
                f"FLOPs ×{numbers[0]:.2f}, arguments ×{numbers[1]:.2f}, "
                f"temporaries ×{numbers[2]:.2f}."
            )
    unread = len([p for p in programs if p.sent is None])
    if unread:
        lines.append(f"{unread} programs cannot be printed: their collectives are not checked.")
    return lines


def errors(programs: list[Program]) -> list[str]:
    """What must not occur; empty where all is as it should be."""
    wrong = []
    for small, _, numbers in ratios(programs):
        if small.case.coupled_by:
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
        if program.case.coupled_by or program.sent is None:
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
