"""Layers whose memory is an op of fla: with form="auto" they follow it to CUDA; as far as a CPU can test it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmem.mixers import get_mixer
from seqmem.mixers._matrix_memory import automatic_form
from seqmem.ops import _dispatch, _fla
from tests.ops.test_fla import OnCuda, stand_in

LAYERS = {
    "linear_attention": "ssd",
    "prefix_linear_attention": "ssd",
    "retention": "ssd",
    "mamba2": "ssd",
    "mlstm": "ssd",
    "synaptic_resonance": "ssd",
    "gla": "gated_linear_attention",
    "hgrn2": "gated_linear_attention",
    "rwkv6": "gated_linear_attention",
    "delta_net": "delta_rule",
    "gated_delta_net": "delta_rule with g",
    "rwkv7": "generalized_delta_rule",
}


@pytest.fixture(autouse=True)
def _own_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests have the ops remember is forgotten afterwards."""
    monkeypatch.setattr(_dispatch, "_last_path", {})
    monkeypatch.delenv("SEQMEM_BACKEND", raising=False)


def form(op: str, dtype: torch.dtype = torch.bfloat16, device: str = "cuda", channels: int = 64) -> str:
    return automatic_form(op, *[OnCuda(dtype, device=device, channels=channels) for _ in range(3)], None)  # type: ignore[arg-type]


def test_the_form_follows_the_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fla, "fla_missing", lambda: None)
    for op in _fla.OPS_WITH_FLA:
        assert form(op) == "recurrent"
        assert form(op, torch.float32) == "chunk"  # never rounded to TF32 unasked
        assert form(op, torch.float32, device="cpu") == "recurrent"
    assert form("delta_rule", channels=257) == "chunk"
    monkeypatch.setenv("SEQMEM_BACKEND", "reference")
    assert form("ssd") == "chunk"  # not a loop over time
    monkeypatch.setattr(_fla, "fla_missing", lambda: "it is not there")
    monkeypatch.setenv("SEQMEM_BACKEND", "fla")
    assert form("ssd") == "recurrent"  # the op raises, and names what is missing
    monkeypatch.delenv("SEQMEM_BACKEND")
    assert form("ssd") == "chunk"


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_through_the_stand_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tensors have the layout and its resets and states the meaning that fla's function is given."""
    torch.manual_seed(0)
    layer = get_mixer(name)(16).eval()
    x = torch.randn(2, 9, 16)
    reset = torch.zeros(2, 9, dtype=torch.bool)
    reset[0, 4] = reset[1, 0] = True
    _, before = layer(x[:, :3])
    expected = layer(x, before, reset=reset, form="chunk")

    called: list[str] = []

    def found(kernel: Any) -> Any:
        (which,) = (key for key, known in _fla.KERNELS.items() if known is kernel)
        called.append(which)
        return stand_in(which)

    monkeypatch.setattr(_fla, "found", found)
    monkeypatch.setattr(_dispatch, "_may_take_fla", lambda op, given: op in _fla.OPS_WITH_FLA)
    monkeypatch.setattr(_dispatch, "fla_obstacle", lambda op, given, forced: None)
    y, after = layer(x, before, reset=reset)
    assert set(called) == {LAYERS[name]}
    torch.testing.assert_close(y, expected[0])
    for ours, theirs in zip(expected[1], after, strict=True):
        if isinstance(ours, torch.Tensor):
            torch.testing.assert_close(ours, theirs)
