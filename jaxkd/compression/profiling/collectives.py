"""The exchanges between devices in a compiled program."""

import dataclasses
import math
import re

import jax

# In XLA's text the result of a collective precedes its name; that of an asynchronous one is at its
# "-done" part.
_COLLECTIVE = re.compile(
    r"= (?P<result>[^=]*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute|collective-broadcast|ragged-all-to-all)(?P<part>-start|-done)?\("
    r"(?:[^\n]*?channel_id=(?P<channel>\d+))?"
)
# TPUs reduce-scatter in a fusion around an all-reduce.
_SCATTER = re.compile(
    r"^%all-reduce-scatter\S* \([^\n]*\) -> (?P<result>[^\n]*) \{\n"
    r".*?channel_id=(?P<channel>\d+).*?^\}",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*.*?\*/")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+(?:e\dm\d\w*)?)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices.

    Attributes:
      kind: XLA's name, `all-reduce`, `all-gather`, `reduce-scatter`, ….
      arrays: shapes of the results on a device.
      nbytes: bytes of these.

    Example:
      >>> exchange = Collective("all-reduce", ((64, 10), (10,)), nbytes=2600)
      >>> exchange.size, exchange.nbytes
      (650, 2600)
    """

    kind: str
    arrays: tuple[tuple[int, ...], ...]
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements of all arrays."""
        return sum(math.prod(shape) for shape in self.arrays)


def collectives(program: jax.stages.Compiled) -> list[Collective]:
    """Lists the collectives of a compiled program, in the order of its text.

    A collective in a loop is listed once. XLA joins small ones, on accelerators more eagerly than
    on CPU.

    Args:
      program: program from `jax.jit(...).lower(...).compile()`.

    Returns:
      One entry for each collective.

    Example:
      >>> import jax.numpy as jnp
      >>> collectives(jax.jit(jnp.sum).lower(jnp.ones(3)).compile())
      []
    """
    found = []
    channels = set()
    text = _COMMENT.sub("", program.as_text() or "")
    text = _SCATTER.sub(r"= \g<result> reduce-scatter(), channel_id=\g<channel>", text)
    for match in _COLLECTIVE.finditer(text):
        # A collective that overlaps with several computations is in the text of each of them.
        if match["part"] == "-start" or (match["channel"] and match["channel"] in channels):
            continue
        channels.add(match["channel"])
        arrays, nbytes = [], 0
        for dtype, dims in _ARRAY.findall(match["result"]):
            shape = tuple(int(size) for size in dims.split(",") if size)
            arrays.append(shape)
            bits = 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])
            nbytes += math.prod(shape) * bits // 8
        found.append(Collective(match["kind"], tuple(arrays), nbytes))
    return found
