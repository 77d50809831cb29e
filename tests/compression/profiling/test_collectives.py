"""What a compiled program sends between devices."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxkd.compression import Collective, collectives
from jaxkd.training import make_mesh


def test_kinds_shapes_and_bytes_of_a_program():
    mesh = make_mesh()
    spread, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    x = jax.device_put(jnp.ones((16, 3)), spread)
    total = jax.jit(lambda x: x.sum(0), out_shardings=whole).lower(x).compile()
    assert collectives(total) == [Collective("all-reduce", ((3,),), 12)]
    gather = jax.jit(lambda x: x * 2, out_shardings=whole).lower(x.astype(jnp.int32)).compile()
    (found,) = collectives(gather)
    assert (found.kind, found.size, found.nbytes) == ("all-gather", 48, 192)


class Program:
    """A program of a TPU, as text."""

    def as_text(self):
        return """
  %all-reduce.1 = (f32[10]{0:T(128)}, f32[]{:T(128)}, s32[4,2]{1,0:T(8,128)}, f32[1]{0},
    pred[8]{0}, /*index=5*/bf16[2,3]{1,0}) all-reduce(%a, %b), channel_id=1
  %ag = (f32[4]{0}, f32[32]{0}) all-gather-start(f32[4]{0} %c), dimensions={0}
  ROOT %agd = f32[32]{0} all-gather-done((f32[4]{0}, f32[32]{0}) %ag)
  %fusion = f32[3]{0} fusion(%x), calls=%all-reduce-scatter.3, metadata={op_name="all-reduce"}
""".replace(",\n    ", ", ")


def test_asynchronous_ones_and_tuples_count_once():
    found = collectives(Program())
    assert [collective.kind for collective in found] == ["all-reduce", "all-gather"]
    assert found[0].arrays == ((10,), (), (4, 2), (1,), (8,), (2, 3))
    assert found[0].nbytes == 40 + 4 + 32 + 4 + 8 + 12
    assert (found[1].size, found[1].nbytes) == (32, 128)
