"""The path to fla's kernels as far as a machine without a GPU can test it: signatures, layouts, decisions, refusals."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmem import ops
from seqmem.bench.doctor import examine
from seqmem.errors import InputError
from seqmem.ops import _dispatch, _fla

BATCH, TIME, HEADS, KEY, VALUE = 2, 7, 3, 4, 5
REFERENCE = {
    "ssd": ops.ssd,
    "gated_linear_attention": ops.gated_linear_attention,
    "delta_rule": ops.delta_rule,
    "delta_rule with g": ops.delta_rule,
    "generalized_delta_rule": ops.generalized_delta_rule,
}


@pytest.fixture(autouse=True)
def _own_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests have the ops remember is forgotten afterwards."""
    monkeypatch.setattr(_dispatch, "_last_path", {})


def inputs(name: str) -> dict[str, Tensor]:
    z = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=z)

    shape = (BATCH, TIME, HEADS)
    given = {
        "q": draw(*shape, KEY),
        "k": torch.nn.functional.normalize(draw(*shape, KEY), dim=-1),
        "v": draw(*shape, VALUE),
    }
    gate = (
        -draw(*shape, KEY).abs()
        if name in ("gated_linear_attention", "generalized_delta_rule")
        else -draw(*shape).abs()
    )
    if name != "delta_rule":
        given["g"] = gate
    if name.startswith("delta_rule"):
        given["beta"] = torch.sigmoid(draw(*shape))
    if name == "generalized_delta_rule":
        given["a"], given["b"] = -given["k"], 0.5 * given["k"]
    return given


@pytest.mark.parametrize("name", _fla.KERNELS)
def test_signature_of_the_installed_version(name: str) -> None:
    """Read from the source: without a GPU the package cannot be imported."""
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        pytest.skip("fla is not installed")
    kernel = _fla.KERNELS[name]
    folder = Path(package.submodule_search_locations[0], *kernel.module.split(".")[1:])
    exported = (folder / "__init__.py").read_text()
    assert kernel.function in exported
    found = [
        node
        for file in folder.rglob("chunk.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == kernel.function
    ]
    names = {argument.arg for argument in found[0].args.args}
    ours = {"q", "k", "v", *kernel.names.values()}
    assert ours | {"scale", "initial_state", "output_final_state", "cu_seqlens"} <= names
    told = " ".join((ast.get_docstring(found[0]) or "").split())
    assert "queries of shape `[B, T, H, K]`" in told
    assert "Initial state of shape `[N, H" in told
    assert "[B, T, H, ...]" in ast.unparse(found[0]) or "head_first" not in names
    optional = len(found[0].args.defaults)
    required = [argument.arg for argument in found[0].args.args[: len(found[0].args.args) - optional]]
    assert set(required) <= ours


def stand_in(name: str) -> Any:
    """What fla's function does, by our reference, one sequence after the other."""
    kernel, op = _fla.KERNELS[name], REFERENCE[name]
    back = {theirs: mine for mine, theirs in kernel.names.items()}

    def call(
        *, q: Tensor, k: Tensor, v: Tensor, scale: float, initial_state: Tensor | None, output_final_state: bool,
        cu_seqlens: Tensor | None = None, **extra: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        assert scale == 1.0
        assert output_final_state
        assert initial_state is None or initial_state.dtype is torch.float32
        given = {"q": q, "k": k, "v": v, **{back[theirs]: x for theirs, x in extra.items()}}
        if cu_seqlens is None:
            return op(**given, s0=initial_state, backend="reference")  # type: ignore[operator]
        assert q.shape[0] == 1
        outputs, states = [], []
        for n, (start, end) in enumerate(zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True)):
            part = {key: x[:, start:end] for key, x in given.items()}
            s0 = None if initial_state is None else initial_state[n : n + 1]
            o, s = op(**part, s0=s0, backend="reference")  # type: ignore[operator]
            outputs.append(o)
            states.append(s)
        return torch.cat(outputs, 1), torch.cat(states)

    return call


@pytest.mark.parametrize("resets", [[], [(0, 0), (0, 3), (1, 5), (1, 6)], [(1, 1)]])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", _fla.KERNELS)
def test_same_contract(name: str, begun: bool, resets: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fla, "found", lambda kernel: stand_in(name))
    given = inputs(name)
    s0 = torch.randn(BATCH, HEADS, KEY, VALUE, generator=torch.Generator().manual_seed(1)) if begun else None
    reset = None
    if resets:
        reset = torch.zeros(BATCH, TIME, dtype=torch.bool)
        for row, t in resets:
            reset[row, t] = True
    expected = REFERENCE[name](**given, s0=s0, reset=reset, backend="reference")  # type: ignore[operator]
    found = _fla.run(name.removesuffix(" with g"), s0=s0, reset=reset, **given)
    for ours, theirs in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs)


class OnCuda:
    """As much of a tensor as the decision looks at."""

    def __init__(
        self, dtype: torch.dtype = torch.bfloat16, dims: int = 4, device: str = "cuda", channels: int = 64
    ) -> None:
        self.dtype, self.device, self.dims = dtype, torch.device(device), dims
        self.shape = (2, 8, 3, channels)[:dims]
        self.requires_grad, self.is_cpu = False, device == "cpu"

    def dim(self) -> int:
        return self.dims

    def is_floating_point(self) -> bool:
        return True

    def is_complex(self) -> bool:
        return False


def decide(op: str, backend: str, *tensors: OnCuda, time: int = 8) -> str:
    return _dispatch.choose(op, backend, time, *tensors)  # type: ignore[arg-type]


def test_decisions_where_fla_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fla, "fla_missing", lambda: None)
    monkeypatch.setattr(_dispatch, "fla_missing", lambda: None)
    half, single = [OnCuda() for _ in range(3)], [OnCuda(torch.float32) for _ in range(3)]
    for op in _fla.OPS_WITH_FLA:
        assert decide(op, "auto", *half) == "fla"
        assert _dispatch.explain()[op] == "fla (CUDA tensors)"
        assert decide(op, "auto", *single) == "reference"  # never rounded to TF32 unasked
        assert decide(op, "auto", *half, time=1) == "reference"
        assert decide(op, "reference", *half) == "reference"
        assert _dispatch.on_cuda()[op] == "fla"
    assert decide("ssd", "fla", *single) == "fla"
    gate = OnCuda(torch.float32, 3)
    assert decide("delta_rule", "fla", *single, gate, gate) == "fla"  # with a decay
    with pytest.raises(InputError, match=r"q, k and v are torch\.float32"):
        decide("delta_rule", "fla", *single, gate)
    wide = [OnCuda(channels=257) for _ in range(3)]
    assert decide("ssd", "auto", *wide) == "fla"
    assert decide("generalized_delta_rule", "auto", *wide) == "reference"
    with pytest.raises(InputError, match="keys have 257 channels, fla's kernel of delta_rule takes at most 256"):
        decide("delta_rule", "fla", *wide)
    with pytest.raises(InputError, match="fla has no kernel of wkv"):
        decide("wkv", "fla", *half)
    with pytest.raises(InputError, match="inputs are on cpu, fla runs on CUDA"):
        decide("ssd", "fla", *[OnCuda(device="cpu") for _ in range(3)])
    with pytest.raises(InputError, match="inputs are on cuda"):
        decide("ssd", "numba", *half)


def test_a_forced_path_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    half = [OnCuda() for _ in range(3)]
    real = importlib.util.find_spec
    for name, words in (("fla", "pip install flash-linear-attention"), ("triton", "needs triton")):
        _fla.fla_missing.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda n, *a, gone=name: None if n == gone else real(n, *a) or object()
        )
        with pytest.raises(InputError, match=words):
            decide("ssd", "fla", *half)
        assert decide("ssd", "auto", *half) == "reference"
        assert words in _dispatch.explain()["ssd"]
    _fla.fla_missing.cache_clear()
    monkeypatch.undo()
    if not torch.cuda.is_available() and importlib.util.find_spec("fla"):
        assert "no CUDA device is visible" in str(_fla.fla_missing())
    given = inputs("ssd")
    with pytest.raises(InputError, match="inputs are on cpu, fla runs on CUDA; use backend='auto'"):
        ops.ssd(**given, backend="fla")


def test_doctor_says_what_each_op_takes_on_cuda() -> None:
    told = {finding.name: finding.found for finding in examine(measure=False)}
    lines = {name: found for name, found in told.items() if name.startswith("on CUDA: ")}
    listed = sorted(op for found in lines.values() for op in found.split(", "))
    assert listed == sorted(_dispatch.OPS)
