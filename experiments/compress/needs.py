"""What the networks of experiments.compress need of a machine: memory, traffic, and throughput."""

import dataclasses

from experiments.common.costs import Speed, interleaved_speeds, speed_columns, timing_caption
from experiments.compress.files import TEACHER, normalized
from experiments.compress.steps import labeled
from experiments.compress.training import Compressed, Steps
from jaxkd import Network, compression
from jaxkd.study import Column, Format, Section, Table

_BATCH = 64
_ROUNDS = 20


@dataclasses.dataclass(frozen=True)
class Needs:
    """What one network needs.

    Attributes:
      peak: bytes while it runs on one image, parameters among them.
      intensity: FLOPs and bytes that this takes; None where XLA does not know them.
      speed: in batches, beside the teacher.
    """

    peak: int
    intensity: compression.ArithmeticIntensity | None
    speed: Speed


def needs(out: Compressed) -> dict[Steps, Needs]:
    """Of the teacher and the first seed's networks with floating weights, as JAX runs them."""
    networks: dict[Steps, Network] = {TEACHER: out.teacher}
    networks |= {steps: p.network for steps, p in out.points.items() if p.floating is None}
    one = normalized(out.test.inputs[:1])
    batch = normalized(out.test.inputs[:_BATCH])
    speeds = interleaved_speeds({labeled(s): n for s, n in networks.items()}, batch, rounds=_ROUNDS)
    return {
        steps: Needs(
            compression.memory_use(network, one).peak,
            _intensity(network, one),
            speeds[labeled(steps)],
        )
        for steps, network in networks.items()
    }


def _intensity(network: Network, inputs: object) -> compression.ArithmeticIntensity | None:
    try:
        return compression.arithmetic_intensity(network, inputs)
    except ValueError:  # the program calls a library
        return None


def section(out: Compressed) -> Section:
    """The needs as a part of a report."""
    limits = compression.measure_device_peak()
    rows: list[list[str | int | float]] = []
    for steps, need in needs(out).items():
        cells: list[str | int | float] = ["", "", ""]
        if need.intensity is not None:
            bound = need.intensity.bound(limits)
            cells = [need.intensity.flops_per_byte, bound, need.intensity.roofline_seconds(limits)]
        rows.append([labeled(steps), need.peak, *cells, *need.speed.cells()])
    columns: list[Column | str] = [
        "Steps",
        Column("Peak memory of one", "kilobytes"),
        Column("FLOPs a byte", Format(".2f")),
        "Bound by",
        Column("Computed or fetched in", Format(",.1f", 1e6, "µs")),
        *speed_columns("Images"),
    ]
    caption = (
        f"{limits.name}: {limits.flops_per_second / 1e9:,.0f} GFLOPs and "
        f"{limits.bytes_per_second / 1e9:,.1f} GB a second as measured, which meet at "
        f"{limits.ridge_point:.1f} FLOPs a byte. {timing_caption(f'{_BATCH} images', _ROUNDS)}"
    )
    text = """The first seed's networks with floating weights, as JAX compiles them here. Memory,
        FLOPs and bytes are XLA's counts for one image. What has few FLOPs a byte waits for memory.
        Computed or fetched in: the slower of the two, were all bytes fetched from memory. A network
        that fits into a cache can be faster; starting a call comes on top."""
    return Section("What a machine must give", text, [], [Table("Needs", columns, rows, caption)])
