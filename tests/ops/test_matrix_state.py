"""What ssd, gated linear attention and the delta rule promise alike; the oracle is the equation as a loop in
float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import delta_rule, explain, gated_linear_attention, ssd
from seqmem.ops.delta_rule import delta_rule_reference
from seqmem.ops.gated_linear_attention import gated_linear_attention_reference
from seqmem.ops.ssd import ssd_reference

Inputs = dict[str, Tensor]
OPS: dict[str, tuple[Callable[..., tuple[Tensor, Tensor]], Callable[..., tuple[Tensor, Tensor]]]] = {
    "ssd": (ssd, ssd_reference),
    "gated_linear_attention": (gated_linear_attention, gated_linear_attention_reference),
    "delta_rule": (delta_rule, delta_rule_reference),
    "gated_delta_rule": (delta_rule, delta_rule_reference),
}
ALL = pytest.mark.parametrize("op", OPS)
DECAYING = pytest.mark.parametrize("op", [name for name in OPS if name != "delta_rule"])


def make(
    op: str,
    generator: torch.Generator,
    *,
    batch: int = 2,
    time: int = 7,
    heads: int = 2,
    key: int = 3,
    value: int = 5,
    dtype: torch.dtype = torch.float64,
) -> Inputs:
    """Random inputs of ``op`` by name: unit keys and beta up to 2 for the delta rule, so that no state explodes."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    inputs = {name: normal(batch, time, heads, key) for name in ("q", "k")}
    inputs["v"] = normal(batch, time, heads, value)
    inputs["s0"] = normal(batch, heads, key, value)
    if "delta" in op:
        inputs["k"] = torch.nn.functional.normalize(inputs["k"], dim=-1)
        inputs["beta"] = 2 * uniform(batch, time, heads)
    if op != "delta_rule":
        inputs["g"] = -uniform(*((batch, time, heads, key) if op == "gated_linear_attention" else (batch, time, heads)))
    return {name: x.to(dtype).requires_grad_() for name, x in inputs.items()}


def flags(generator: torch.Generator, batch: int = 2, time: int = 7) -> Tensor:
    return torch.rand(batch, time, generator=generator) < 0.3


def kernel(op: str, inputs: Inputs, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return OPS[op][0](**inputs, reset=reset, backend="numba")


def reference(op: str, inputs: Inputs, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
    inputs = {name: x.double() for name, x in inputs.items()}
    if op == "delta_rule":
        inputs["g"] = None  # type: ignore[assignment]
    return OPS[op][1](**inputs, reset=reset)


def gradients(outputs: tuple[Tensor, Tensor], inputs: Inputs, generator: torch.Generator) -> dict[str, Tensor]:
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in outputs]
    loss = sum((x.double() * w).sum() for x, w in zip(outputs, weights, strict=True))
    return dict(zip(inputs, torch.autograd.grad(loss, list(inputs.values())), strict=True))  # type: ignore[arg-type]


def assert_near(got: Tensor, expected: Tensor, tolerance: float, name: str = "") -> None:
    error = (got.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-3)
    assert error <= tolerance, f"{name}: relative error {error:.1e}"


@ALL
@pytest.mark.parametrize(
    ("key", "value", "time", "dtype", "tolerance"),
    [(3, 5, 1, torch.float64, 1e-10), (3, 5, 8, torch.float64, 1e-10), (16, 17, 67, torch.float32, 1e-5)],
)
@pytest.mark.parametrize("resets", [False, True])
def test_equals_the_loop(
    op: str,
    key: int,
    value: int,
    time: int,
    dtype: torch.dtype,
    tolerance: float,
    resets: bool,
    generator: torch.Generator,
) -> None:
    inputs = make(op, generator, time=time, key=key, value=value, dtype=dtype)
    reset = flags(generator, time=time) if resets else None
    got, expected = kernel(op, inputs, reset), reference(op, inputs, reset)
    assert got[0].dtype == got[1].dtype == dtype
    assert_near(got[0], expected[0], tolerance, "o")
    assert_near(got[1], expected[1], tolerance, "final state")
    weights = generator.get_state()
    got_gradients = gradients(got, inputs, generator)
    generator.set_state(weights)
    for name, gradient in gradients(expected, inputs, generator).items():
        assert_near(got_gradients[name], gradient, tolerance, f"gradient of {name}")


@ALL
def test_gradients_agree_with_finite_differences(op: str, generator: torch.Generator) -> None:
    inputs = make(op, generator, time=4)
    for reset in (None, torch.tensor([[False, False, True, False], [True, False, False, False]])):
        assert torch.autograd.gradcheck(
            lambda *given, reset=reset: kernel(op, dict(zip(inputs, given, strict=True)), reset), tuple(inputs.values())
        )


@ALL
@pytest.mark.parametrize("at", range(5))
def test_a_reset_is_a_fresh_start(op: str, at: int, generator: torch.Generator) -> None:
    inputs = make(op, generator, time=5)
    reset = torch.zeros(2, 5, dtype=torch.bool)
    reset[1, at] = True
    o, s = kernel(op, inputs, reset)
    whole = kernel(op, inputs)
    fresh = {name: torch.zeros_like(x) if name == "s0" else x[:, at:] for name, x in inputs.items()}
    late = kernel(op, fresh)
    torch.testing.assert_close(o[0], whole[0][0], rtol=0, atol=0)
    torch.testing.assert_close(o[1], torch.cat([whole[0][1, :at], late[0][1]]))
    torch.testing.assert_close(s[1], late[1][1])
    before = torch.autograd.grad(s[1].sum(), inputs["s0"])[0]
    assert not before.any()


@ALL
@pytest.mark.parametrize("cuts", [[1, 1, 1, 1, 1, 1, 1], [2, 5], [4, 1, 2]])
def test_any_cut_gives_the_same(op: str, cuts: list[int], generator: torch.Generator) -> None:
    inputs = make(op, generator)
    reset = flags(generator)
    whole, final = kernel(op, inputs, reset)
    state, outputs, begin = inputs["s0"], [], 0
    for length in cuts:
        part = {name: state if name == "s0" else x[:, begin : begin + length] for name, x in inputs.items()}
        o, state = OPS[op][0](**part, reset=reset[:, begin : begin + length])  # one step takes the plain path
        outputs.append(o)
        begin += length
    torch.testing.assert_close(torch.cat(outputs, 1), whole)
    torch.testing.assert_close(state, final)
    seed = generator.get_state()
    pieces = gradients((torch.cat(outputs, 1), state), inputs, generator)
    generator.set_state(seed)
    for name, gradient in gradients((whole, final), inputs, generator).items():
        torch.testing.assert_close(pieces[name], gradient, msg=name)


@ALL
def test_strides_do_not_matter(op: str, generator: torch.Generator) -> None:
    inputs = {name: x.detach() for name, x in make(op, generator).items()}
    inputs["v"] = inputs["v"][:1, :, :1].expand(2, 7, 2, 5)
    expected = kernel(op, {name: x.contiguous() for name, x in inputs.items()})
    strided = {name: x.transpose(0, 1).contiguous().transpose(0, 1) for name, x in inputs.items() if name != "v"}
    got = kernel(op, {**strided, "v": inputs["v"].requires_grad_()}, flags(generator).new_zeros(7, 2).T)
    torch.testing.assert_close(got[0], expected[0], rtol=0, atol=0)
    torch.testing.assert_close(got[1], expected[1], rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(got[0].sum(), inputs["v"])  # the incoming gradient is expanded, too
    assert gradient.shape == (2, 7, 2, 5)


@ALL
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_an_empty_batch(op: str, backend: str, generator: torch.Generator) -> None:
    inputs = make(op, generator, batch=0)
    o, s = OPS[op][0](**inputs, backend=backend)
    assert o.shape == (0, 7, 2, 5)
    assert s.shape == (0, 2, 3, 5)
    assert gradients((o, s), inputs, generator)["q"].shape == (0, 7, 2, 3)


@DECAYING
def test_a_decay_of_zero_forgets_everything(op: str, generator: torch.Generator) -> None:
    inputs = make(op, generator)
    with torch.no_grad():
        inputs["g"][:, 3] = -torch.inf
    got, expected = kernel(op, inputs), reference(op, inputs)
    torch.testing.assert_close(got, expected)
    seed = generator.get_state()
    mine = gradients(got, inputs, generator)
    generator.set_state(seed)
    for name, gradient in gradients(expected, inputs, generator).items():
        assert mine[name].isfinite().all()
        torch.testing.assert_close(mine[name], gradient, msg=name)
    assert not mine["g"][:, 3].any()
    (before,) = torch.autograd.grad(kernel(op, inputs)[1].sum(), inputs["s0"])
    assert not before.any()


@ALL
def test_nan_stays_in_its_row(op: str, generator: torch.Generator) -> None:
    inputs = make(op, generator)
    clean = kernel(op, inputs)
    seed = generator.get_state()
    expected = gradients(clean, inputs, generator)
    with torch.no_grad():
        inputs["k"][1, 2] = torch.nan
    o, s = kernel(op, inputs)
    assert o[1, 2:].isnan().all()
    assert s[1].isnan().all()
    torch.testing.assert_close(o[0], clean[0][0], rtol=0, atol=0)
    torch.testing.assert_close(o[1, :2], clean[0][1, :2], rtol=0, atol=0)
    generator.set_state(seed)
    for name, gradient in gradients((o, s), inputs, generator).items():
        torch.testing.assert_close(gradient[0], expected[name][0], rtol=0, atol=0)
    reset = torch.zeros(2, 7, dtype=torch.bool)
    reset[1, 4] = True
    assert kernel(op, inputs, reset)[0][1, 4:].isfinite().all()  # a new document does not inherit it


@ALL
def test_long_sequences_stay_finite_and_near(op: str, generator: torch.Generator) -> None:
    inputs = make(op, generator, batch=1, time=20_000, heads=1, key=16, value=17, dtype=torch.float32)
    outputs = kernel(op, inputs)
    got = gradients(outputs, inputs, generator)
    for x in (*outputs, *got.values()):
        assert x.isfinite().all()
    last = {name: x if name == "s0" else x[:, :3] for name, x in inputs.items()}
    _, s = kernel(op, last)
    rest = {name: s.detach() if name == "s0" else x[:, 3:] for name, x in inputs.items()}
    torch.testing.assert_close(kernel(op, rest)[1], outputs[1], rtol=1e-4, atol=1e-4)


@ALL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(op: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    inputs = make(op, generator, time=9, key=16, value=17, dtype=dtype)
    o, s = kernel(op, inputs)
    assert (o.dtype, s.dtype) == (dtype, torch.float32)
    o32, s32 = kernel(op, {name: x.float() for name, x in inputs.items()})
    torch.testing.assert_close(o, o32.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(s, s32, rtol=0, atol=0)
    assert all(x.dtype == dtype and x.isfinite().all() for x in gradients((o, s), inputs, generator).values())


# the parallel builds of all kernels take long to compile
@pytest.mark.parametrize("op", ["ssd", pytest.param("gated_delta_rule", marks=pytest.mark.thorough)])
def test_threads_do_not_change_the_answer(op: str, generator: torch.Generator) -> None:
    inputs = make(op, generator)
    seed = generator.get_state()
    answers = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        generator.set_state(seed)
        outputs = kernel(op, inputs)
        answers.append([*outputs, *gradients(outputs, inputs, generator).values()])
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=1e-14)


@ALL
def test_the_path_is_told(op: str, generator: torch.Generator) -> None:
    name = OPS[op][0].__name__
    inputs = make(op, generator)
    OPS[op][0](**inputs)
    assert explain()[name].startswith("numba")
    OPS[op][0](**{n: x if n == "s0" else x[:, :1] for n, x in inputs.items()})
    assert explain()[name].startswith("reference (one step")
    o, s = OPS[op][0](**inputs, backend="reference")
    assert explain()[name].startswith("reference (asked")
    torch.testing.assert_close((o, s), kernel(op, inputs))


@ALL
def test_without_a_state_it_begins_empty(op: str, generator: torch.Generator) -> None:
    inputs = make(op, generator)
    empty = {**inputs, "s0": torch.zeros_like(inputs["s0"])}
    torch.testing.assert_close(kernel(op, {n: x for n, x in inputs.items() if n != "s0"}), kernel(op, empty))


@ALL
@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("q", (2, 7, 3), "expected (batch, time >= 1, heads, key)"),
        ("q", (2, 0, 2, 3), "time >= 1"),
        ("k", (2, 7, 2, 4), "(2, 7, 2, 3)"),
        ("v", (2, 6, 2, 5), "(2, 7, 2, any)"),
        ("s0", (2, 2, 5, 3), "(2, 2, 3, 5)"),
        ("reset", (2, 6), "(2, 7)"),
    ],
)
def test_a_wrong_shape_is_named(
    op: str, name: str, shape: tuple[int, ...], said: str, generator: torch.Generator
) -> None:
    inputs = make(op, generator)
    inputs[name] = torch.zeros(shape)
    with pytest.raises(InputError) as error:
        OPS[op][0](**inputs)
    assert f"{name} has shape {shape}" in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@ALL
def test_a_wrong_gate_or_flag_is_named(op: str, generator: torch.Generator) -> None:
    inputs = make(op, generator)
    with pytest.raises(InputError, match=r"reset has dtype torch\.float32, expected torch\.bool"):
        OPS[op][0](**inputs, reset=torch.zeros(2, 7))
    for name in ("g", "beta"):
        if name in inputs:
            with pytest.raises(InputError, match=f"{name} has shape"):
                OPS[op][0](**{**inputs, name: inputs[name][..., :1].expand(*inputs[name].shape[:-1], 9)})
