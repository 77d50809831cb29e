"""Convolutions on CPU against XLA's own, in value and under every transformation."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxkd import ops
from jaxkd.ops import _choice, _forms
from jaxkd.ops._choice import form_of
from jaxkd.ops._forms import FORMS
from jaxkd.ops._primitive import convolution_p

NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    """So that the shapes of tests can be small."""
    monkeypatch.setattr(_choice, "FEW_MULTIPLICATIONS", 0)
    monkeypatch.setattr(_forms, "CHUNK_BYTES", 2**12)


def arrays(*shapes: tuple[int, ...], seed: int = 0, dtype: Any = jnp.float32) -> list[jax.Array]:
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape), dtype) for shape in shapes]


def both(**options: Any) -> tuple[Any, Any]:
    """Our convolution and XLA's, as functions of image and kernel."""
    return (
        functools.partial(ops.conv_general_dilated, **options),
        functools.partial(lax.conv_general_dilated, **options),
    )


def close(ours: Any, theirs: Any, tolerance: float = TOLERANCE) -> None:
    """Equal within a share of each array's largest number."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-30))


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(function: Any, x: jax.Array, w: jax.Array) -> tuple[Any, ...]:
    value, pull = jax.vjp(function, x, w)
    (seed,) = arrays(value.shape, seed=1, dtype=value.dtype)
    return value, *pull(seed)


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "stem": ((4, 9, 8, 3), (3, 3, 3, 5), {"padding": "SAME"}),
    "three_by_three": ((4, 9, 8, 6), (3, 3, 6, 5), {"padding": "SAME"}),
    "smaller_than_the_kernel": ((4, 2, 2, 6), (3, 3, 6, 5), {"padding": "SAME"}),
    "strided": ((2, 9, 8, 6), (3, 3, 6, 5), {"padding": "SAME", "window_strides": (2, 2)}),
    "strided_more": ((2, 11, 8, 5), (5, 2, 5, 7), {"padding": "VALID", "window_strides": (3, 2)}),
    "gaps": ((2, 9, 9, 5), (1, 2, 5, 3), {"padding": [(1, 0), (0, 2)], "window_strides": (3, 3)}),
    "dilated": ((2, 12, 9, 5), (3, 2, 5, 3), {"padding": "SAME", "rhs_dilation": (2, 3)}),
    "pointwise": ((2, 5, 4, 6), (1, 1, 6, 7), {"padding": "VALID"}),
    "pointwise_strided": (
        (2, 5, 4, 6),
        (1, 1, 6, 7),
        {"padding": "SAME", "window_strides": (2, 2)},
    ),
    "tiled": ((2, 8, 6, 5), (4, 3, 5, 7), {"padding": "VALID", "window_strides": (4, 3)}),
    "depthwise": ((4, 7, 8, 6), (3, 3, 1, 6), {"padding": "SAME", "feature_group_count": 6}),
    "depthwise_strided": (
        (4, 7, 8, 3),
        (5, 3, 1, 6),
        {"padding": "SAME", "feature_group_count": 3, "window_strides": (2, 2)},
    ),
    "grouped": ((2, 6, 5, 6), (3, 3, 2, 9), {"padding": "SAME", "feature_group_count": 3}),
    "grouped_pointwise": (
        (2, 6, 5, 6),
        (1, 1, 3, 4),
        {"padding": "VALID", "feature_group_count": 2},
    ),
    "row": ((3, 9, 6), (4, 6, 5), {"padding": "SAME", "window_strides": (2,)}),
    "row_depthwise": ((3, 9, 6), (4, 1, 6), {"padding": [(3, 0)], "feature_group_count": 6}),
}


def case(name: str, dtype: Any = jnp.float32) -> tuple[Any, Any, jax.Array, jax.Array]:
    image, kernel, options = CASES[name]
    dims = len(image) - 2
    options = {"window_strides": (1,) * dims, "dimension_numbers": NUMBERS[dims]} | options
    return *both(**options), *arrays(image, kernel, dtype=dtype)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_xla(name):
    ours, theirs, x, w = case(name)
    close(value_and_gradients(ours, x, w), value_and_gradients(theirs, x, w))


@pytest.mark.parametrize(
    "name",
    [
        "strided",
        "depthwise",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("three_by_three", "grouped", "row", "tiled", "pointwise")
        ),
    ],
)
def test_transformations(name):
    ours, theirs, x, w = case(name)
    tangents = arrays(x.shape, w.shape, seed=2)

    def forward_mode(f):
        return jax.jvp(f, (x, w), tuple(tangents))[1]

    def twice(f):
        def penalty(x, w):
            slopes = jax.grad(lambda x, w: (f(x, w) ** 3).sum(), (0, 1))(x, w)
            return sum((slope**2).sum() for slope in slopes)

        return jax.grad(penalty, (0, 1))(x, w)

    def remat(f):
        saved = jax.checkpoint(lambda x, w: jnp.tanh(f(x, w)).sum())
        return jax.jit(jax.grad(saved, (0, 1)))(x, w)

    def mapped(f, axes):
        a = jnp.stack([x, 2 * x]) if axes[0] == 0 else x
        b = jnp.stack([w, 3 * w], axes[1]) if axes[1] is not None else w
        return jax.grad(lambda a, b: (jax.vmap(f, axes)(a, b) ** 2).sum(), (0, 1))(a, b)

    transforms = [forward_mode, twice, remat]
    transforms += [functools.partial(mapped, axes=axes) for axes in ((0, 0), (0, None), (None, 1))]

    def run(f):
        # Compiled as one program, for speed.
        return jax.jit(lambda: [transform(f) for transform in transforms])()

    close(run(ours), run(theirs))


@st.composite
def convolutions(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    dims = draw(st.integers(1, 2))
    kinds = st.sampled_from(["dense", "dense", "depthwise", "grouped", "pointwise"])
    kind, groups = draw(kinds), 1
    inside, outside = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    if kind in ("depthwise", "grouped"):
        groups = draw(st.integers(2, 4))
        inside = groups * (1 if kind == "depthwise" else draw(st.integers(2, 3)))
        outside = groups * draw(st.integers(1, 2))
    kernel = tuple(1 if kind == "pointwise" else draw(st.integers(1, 5)) for _ in range(dims))
    strides = tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(dims))
    dilation = tuple(1 if s > 1 else draw(st.sampled_from([1, 1, 2])) for s in strides)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = st.tuples(*[st.tuples(st.integers(0, 7), st.integers(0, 3))] * dims)
    padding = draw(st.sampled_from(["SAME", "SAME_LOWER", "VALID"]) | pads)
    least = [1] * dims
    if padding == "VALID":
        least = reach
    elif not isinstance(padding, str):
        least = [max(1, r - sum(pair)) for r, pair in zip(reach, padding, strict=True)]
    image = tuple(draw(st.integers(n, 14)) for n in least)
    options = {
        "window_strides": strides,
        "padding": padding,
        "rhs_dilation": dilation,
        "dimension_numbers": NUMBERS[dims],
        "feature_group_count": groups,
    }
    batch = draw(st.sampled_from([1, 2, 3, 8]))
    return (batch, *image, inside), (*kernel, inside // groups, outside), options


def check_generated(problem: Any) -> None:
    image, kernel, options = problem
    x, w = arrays(image, kernel)
    ours, _ = both(**options)
    close(value_and_gradients(ours, x, w), value_and_gradients(of_padded(**options), x, w))


def of_padded(window_strides: Any, padding: Any, rhs_dilation: Any, **options: Any) -> Any:
    """Makes XLA's convolution of an image that has its zeros already.

    With more zeros than the kernel reaches over, XLA's own gradient to the image is wrong on CPU
    in jax 0.10.2.
    """

    def convolve(x: jax.Array, w: jax.Array) -> jax.Array:
        pads = padding
        if isinstance(padding, str):
            sizes = zip(w.shape[:-2], rhs_dilation, strict=True)
            reach = [d * (k - 1) + 1 for k, d in sizes]
            pads = lax.padtype_to_pads(x.shape[1:-1], reach, window_strides, padding)
        return lax.conv_general_dilated(
            jnp.pad(x, ((0, 0), *pads, (0, 0))),
            w,
            window_strides,
            "VALID",
            rhs_dilation=rhs_dilation,
            **options,
        )

    return convolve


def test_more_zeros_than_the_kernel_reaches_over(monkeypatch):
    options = {
        "window_strides": (1,),
        "padding": ((3, 1),),
        "rhs_dilation": (1,),
        "dimension_numbers": NUMBERS[1],
    }
    x, w = arrays((2, 3, 1), (3, 1, 3))
    expected = value_and_gradients(of_padded(**options), x, w)
    close(value_and_gradients(both(**options)[0], x, w), expected)
    monkeypatch.undo()  # However small.
    close(value_and_gradients(both(**options)[0], x, w), expected)


def generated(examples: int) -> Any:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=slow
    )


@generated(8)
@given(convolutions())
def test_a_few_generated_shapes(problem):
    check_generated(problem)


@pytest.mark.exhaustive
@generated(320)
@given(convolutions())
def test_generated_shapes(problem):
    check_generated(problem)


def test_every_form_that_applies_gives_the_same():
    # The rule names one form for a shape; the others must not be wrong for it.
    for name in ("three_by_three", "strided", "dilated", "pointwise_strided"):
        ours, theirs, x, w = case(name)
        problem = primitive_of(ours, x, w)["problem"]
        y, dx, dw = value_and_gradients(theirs, x, w)
        (seed,) = arrays(y.shape, seed=1)
        for form in ("canonical", "columns", *["pointwise"] * problem.is_pointwise):

            @jax.jit
            def run(x, w, seed, form=FORMS[form], problem=problem):
                of_kernel = form is not FORMS["canonical"]
                return {
                    "y": form(problem, "forward", x, w),
                    "dx": form(problem, "input", seed, w),
                    "dw": form(problem, "kernel", x, seed) if of_kernel else None,
                }

            found = run(x, w, seed)
            close(found["y"], y)
            close(found["dx"], dx)
            if form != "canonical":
                close(found["dw"], dw)


def primitive_of(function: Any, *arguments: Any) -> dict[str, Any]:
    """The parameters of our primitive in a function."""
    (branches,) = (
        eqn.params["branches"]
        for eqn in jax.make_jaxpr(function)(*arguments).eqns
        if eqn.primitive.name == "cond"
    )
    (found,) = (
        eqn.params for b in branches for eqn in b.jaxpr.eqns if eqn.primitive is convolution_p
    )
    return found


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("stem", ("canonical", "canonical", "columns")),
        ("three_by_three", ("canonical", "canonical", "columns")),
        ("pointwise", ("pointwise",) * 3),
        ("tiled", ("tiled",) * 3),
        ("depthwise", ("shifts",) * 3),
        ("smaller_than_the_kernel", ("columns",) * 3),
        ("grouped", ("grouped",) * 3),
        ("grouped_pointwise", ("grouped",) * 3),
    ],
)
def test_the_rule(name, forms):
    ours, _, x, w = case(name)
    problem = primitive_of(ours, x, w)["problem"]
    assert tuple(form_of(problem, kind) for kind in ("forward", "input", "kernel")) == forms


@pytest.mark.parametrize("preferred", [None, jnp.float32])
def test_bfloat16(preferred):
    for name in ("three_by_three", "depthwise", "grouped", "pointwise"):
        ours, theirs, x, w = case(name, jnp.bfloat16)
        ours, theirs = (
            functools.partial(f, preferred_element_type=preferred) for f in (ours, theirs)
        )
        close(value_and_gradients(ours, x, w), value_and_gradients(theirs, x, w), 2**-7)


@pytest.mark.parametrize("size", [1e6, 1e-9])
def test_gradients_of_wider_outputs_are_not_rounded(size):
    # In float16 the one would be infinite and the other zero; times the kernel both are neither.
    for name in ("three_by_three", "strided", "grouped", "depthwise", "pointwise", "tiled"):
        ours, theirs, x, w = case(name, jnp.float16)
        w = (w * (1e-4 if size > 1 else 1e4)).astype(jnp.float16)
        slopes = []
        for function in (ours, theirs):
            y, pull = jax.vjp(functools.partial(function, preferred_element_type=jnp.float32), x, w)
            slopes.append(pull(jnp.full(y.shape, size, y.dtype))[0])
        assert slopes[0].dtype == jnp.float16
        assert np.isfinite(slopes[0]).all() and np.abs(slopes[0]).max() > 0
        close(*slopes, 2**-8)


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding"),
    [
        ((1, 1), (5, 5), 3, ((6, 0), (6, 0))),
        ((1, 8), (5, 5), 3, ((4, 0), (2, 2))),
        ((1, 1), (1, 1), 2, ((2, 2), (1, 0))),
        ((2, 3), (3, 2), 1, ((7, 0), (0, 7))),
    ],
)
def test_rows_that_no_output_sees(image, kernel, stride, padding):
    options = {
        "window_strides": (stride, stride),
        "padding": padding,
        "dimension_numbers": NUMBERS[2],
    }
    for groups, inside in ((1, 4), (2, 2), (4, 1)):
        x, w = arrays((3, *image, 4), (*kernel, inside, 4))
        given = {"feature_group_count": groups, **options}
        expected = value_and_gradients(of_padded(rhs_dilation=(1, 1), **given), x, w)
        close(value_and_gradients(both(**given)[0], x, w), expected)


def test_without_jit_with_strict_types_and_with_a_symbol_for_a_number():
    for name in ("three_by_three", "depthwise", "grouped", "pointwise"):
        ours, theirs, x, w = case(name)
        with jax.disable_jit():
            close(ours(x, w), theirs(x, w))
        low = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
        with jax.numpy_dtype_promotion("strict"):
            close(value_and_gradients(ours, *low), value_and_gradients(theirs, *low), 2**-6)
        # An export whose number of images only `vmap` brings in.
        (count,) = jax.export.symbolic_shape("n")
        images = jax.ShapeDtypeStruct((count, *x.shape), x.dtype)
        mapped = jax.export.export(jax.jit(jax.vmap(ours, (0, None))))(images, w)
        pair = jnp.stack([x, 2 * x])
        close(mapped.call(pair, w), jax.vmap(theirs, (0, None))(pair, w))


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_mesh_of_one_device(kind):
    ours, theirs, x, w = case("three_by_three")
    mesh = jax.make_mesh((1,), ("d",), (kind,), devices=jax.devices()[:1])
    images = jax.device_put(x, NamedSharding(mesh, PartitionSpec("d")))
    kernels = jax.device_put(w, NamedSharding(mesh, PartitionSpec()))

    def slopes(function, x, w):
        return jax.grad(lambda x, w: (function(x, w) ** 2).sum(), (0, 1))(x, w)

    expected = slopes(theirs, x, w)
    with jax.set_mesh(mesh):
        found = jax.jit(functools.partial(slopes, ours))(images, kernels)
        close(jax.device_get(found), expected)
        specs = PartitionSpec("d"), PartitionSpec()
        each = jax.shard_map(functools.partial(slopes, ours), in_specs=specs, out_specs=specs)
        close(jax.device_get(jax.jit(each)(images, kernels)), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": [(-1, 0), (0, 0)]},
        {"lhs_dilation": (2, 1), "padding": [(1, 1), (1, 1)]},
        {"window_strides": (2, 1), "rhs_dilation": (2, 1)},
        {"dimension_numbers": ("NHWC", "HWIO", "NCHW")},
    ],
)
def test_what_is_not_covered_is_xla_s(options):
    x, w = arrays((2, 9, 8, 4), (3, 3, 4, 5))
    given = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NUMBERS[2]} | options
    ours, theirs = both(**given)
    assert str(jax.make_jaxpr(ours)(x, w)) == str(jax.make_jaxpr(theirs)(x, w))


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        (((2, 9, 8, 4), (3, 3, 5, 5)), {}),
        (((2, 9, 8, 4), (3, 3, 2, 5)), {"feature_group_count": 2}),
        (((2, 9, 8), (3, 3, 4, 5)), {}),
        (((2, 9, 8, 4), (3, 3, 4, 5)), {"window_strides": (1,)}),
        (((2, 9, 8, 4), (3, 3, 4, 5)), {"padding": "EVERYWHERE"}),
        (((2, 9, 8, 4), (3, 3, 4, 5)), {"padding": [1, 1]}),
        (((2, 9, 8, 4), (3, 3, 4, 5)), {"padding": [(1.5, 1), (1, 1)]}),
        (((2, 9, 8, 4), (3, 3, 4, 5)), {"preferred_element_type": jnp.bfloat16}),
    ],
)
def test_mistakes_are_refused_as_xla_refuses_them(shapes, options):
    given = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NUMBERS[2]} | options
    ours, theirs = both(**given)
    errors = []
    for function in (ours, theirs):
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            function(*arrays(*shapes))
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_get_the_program_of_xla_s_convolution(platform):
    ours, theirs, x, w = case("depthwise_strided")

    def convolutions(function):
        gradient = jax.grad(lambda x, w: (function(x, w) ** 2).sum(), (0, 1))
        lowered = jax.jit(gradient).trace(x, w).lower(lowering_platforms=(platform,))
        lines = lowered.as_text().splitlines()
        found = [re.sub(r"[#%]\S+", "", line).strip() for line in lines if "convolution(" in line]
        assert not [line for line in lines if "while" in line or "dot_general" in line]
        return sorted(found)

    assert convolutions(ours) == convolutions(theirs) and len(convolutions(ours)) == 3


def test_within_the_context_programs_hold_convolutions_alone():
    ours, _, x, w = case("depthwise")
    outside = jax.jit(ours).lower(x, w).as_text()
    function = jax.jit(lambda x, w: jax.jit(ours)(x, w))
    function(x, w)
    with ops.xla_convolutions():
        inside = function.lower(x, w).as_text()
    assert "stablehlo.convolution" in inside and "stablehlo.convolution" not in outside
    assert "stablehlo.convolution" not in function.lower(x, w).as_text()


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("set_mesh", [True, False])
@pytest.mark.parametrize("spread", ["batch", "channels"])
def test_sharded_over_eight_devices(kind, set_mesh, spread):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(kind,))
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NUMBERS[2]}
    ours, theirs = both(**options)
    x, w = arrays((16, 6, 5, 3), (3, 3, 3, 8))
    specs = (
        (PartitionSpec("d"), PartitionSpec())
        if spread == "batch"
        else (
            PartitionSpec(),
            PartitionSpec(None, None, None, "d"),
        )
    )
    placed = [
        jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in zip((x, w), specs, strict=True)
    ]

    def gradients(f, x, w):
        return jax.jit(jax.grad(lambda x, w: (f(x, w) ** 2).sum(), (0, 1)))(x, w)

    wanted = gradients(theirs, x, w)
    if kind == AxisType.Explicit and spread == "channels":
        # JAX requires it for its own convolution as for this one.
        out = NamedSharding(mesh, PartitionSpec(None, None, None, "d"))
        ours = functools.partial(ours, out_sharding=out)
    if set_mesh:
        with jax.set_mesh(mesh):
            result = gradients(ours, *placed)
    else:
        result = gradients(ours, *placed)
    close(jax.device_get(result), wanted)


def test_layers_of_flax():
    (x,) = arrays((2, 8, 7, 3))
    options = {"strides": (2, 1), "padding": "SAME"}
    layers = [
        nnx.Conv(3, 4, (3, 3), **options, rngs=nnx.Rngs(0), conv_general_dilated=function)
        for function in (ops.conv_general_dilated, lax.conv_general_dilated)
    ]
    close(layers[0](x), layers[1](x))
    assert primitive_of(lambda x: layers[0](x), x)["problem"].image == (8, 7)
    module = linen.Conv(4, (3, 3), **options, conv_general_dilated=ops.conv_general_dilated)
    plain = linen.Conv(4, (3, 3), **options)
    variables = plain.init(jax.random.key(0), x)
    close(module.apply(variables, x), plain.apply(variables, x))
    assert primitive_of(functools.partial(module.apply, variables), x)["problem"].image == (8, 7)


def test_what_takes_a_few_microseconds_stays_as_it_is(monkeypatch):
    monkeypatch.undo()  # Of the fixture that has small shapes take our forms, too.
    ours, theirs, x, w = case("three_by_three")
    assert str(jax.make_jaxpr(ours)(x, w)) == str(jax.make_jaxpr(theirs)(x, w))
    assert primitive_of(ours, jnp.zeros((64, 32, 32, 6)), w)["problem"].image == (32, 32)
