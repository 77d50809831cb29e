"""Resources of the networks of experiments.compress: memory, memory traffic and throughput."""

from experiments.common.costs import interleaved_speeds, speed_columns, timing_caption
from experiments.compress.exports import normalized
from experiments.compress.pipelines import FINAL_STEPS, last_step, title
from experiments.compress.run import CompressionResults
from jaxkd import Network, compression
from jaxkd.study import Column, Format, Section, Table

_BATCH = 64
_ROUNDS = 20


def section(out: CompressionResults) -> Section:
    """Measures the teacher and the first seed's networks with floating weights, in JAX."""
    networks = {n: each for n, each in out.networks.items() if last_step(n) not in FINAL_STEPS}
    one, batch = normalized(out.test.inputs[:1]), normalized(out.test.inputs[:_BATCH])
    speeds = interleaved_speeds(
        {title(n): each for n, each in networks.items()}, batch, rounds=_ROUNDS
    )
    limits = compression.measure_device_peak()
    rows: list[list[str | int | float]] = []
    for name, network in networks.items():
        cells: list[str | int | float] = ["", "", ""]
        if (intensity := _intensity(network, one)) is not None:
            bound = intensity.bound(limits)
            cells = [intensity.flops_per_byte, bound, intensity.roofline_seconds(limits)]
        peak = compression.memory_use(network, one).peak
        rows.append([title(name), peak, *cells, *speeds[title(name)].cells()])
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
        FLOPs and bytes are XLA's counts for one image. A network with few FLOPs a byte is bound by
        memory. Computed or fetched in: the slower of the two, were all bytes fetched from memory. A
        network that fits into a cache can be faster; the overhead of a call comes on top."""
    return Section("Resources", text, tables=[Table("Resources", columns, rows, caption)])


def _intensity(network: Network, inputs: object) -> compression.ArithmeticIntensity | None:
    try:
        return compression.arithmetic_intensity(network, inputs)
    except ValueError:  # the program calls a library
        return None
