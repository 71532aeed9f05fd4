"""mLSTM against its unstabilised equations and against Hugging Face's xLSTM layer."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch.nn.functional import layer_norm

from seqmem.errors import InputError
from seqmem.mixers.mlstm import MLSTM, decaying_maximum


def perturbed(**options: object) -> MLSTM:
    torch.manual_seed(0)
    mixer = MLSTM(8, heads=2, **options)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return mixer


@pytest.mark.parametrize("cap", [None, 2.0])
def test_equals_the_equations_of_the_paper(cap: float | None, generator: torch.Generator) -> None:
    """Without the stabiliser, one row, one head, one position at a time."""
    mixer = perturbed(gate_cap=cap).double()
    x = torch.randn(1, 9, 8, dtype=torch.float64, generator=generator)
    q, k, v = (x[0] @ w.T for w in mixer.qkv.weight.chunk(3))
    gates = x[0] @ mixer.gates.weight.T + mixer.gates.bias
    gates = gates if cap is None else cap * torch.tanh(gates / cap)
    heads = []
    for h in range(2):
        s = slice(4 * h, 4 * h + 4)
        C, n, rows = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64), []
        for t in range(9):
            i, f = gates[t, h].exp(), gates[t, 2 + h].sigmoid()
            C = f * C + i * torch.outer(v[t, s], k[t, s]) / 2
            n = f * n + i * k[t, s] / 2
            rows.append(C @ q[t, s] / (n @ q[t, s]).abs().clamp_min(1))
        heads.append(layer_norm(torch.stack(rows), (4,), eps=1e-6))
    h = torch.cat(heads, -1) * mixer.norm_weight
    expected = (torch.sigmoid(x[0] @ mixer.out_gate.weight.T) * h) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x)[0][0], expected, rtol=1e-9, atol=1e-9)


def test_equals_hugging_face(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own layer, not the one of the package xlstm that it takes where it can be had."""
    monkeypatch.setattr("transformers.utils.is_xlstm_available", lambda: False)
    module = importlib.import_module("transformers.models.xlstm.modeling_xlstm")
    ours = perturbed()
    config = module.xLSTMConfig(
        hidden_size=8, num_heads=2, num_hidden_layers=1, qk_dim_factor=1.0, v_dim_factor=1.0, gate_soft_cap=15.0,
        weight_mode="single", chunk_size=16, mode="inference", vocab_size=9,
    )  # fmt: skip
    theirs = module.xLSTMLayer(config)
    q, k, v = ours.qkv.weight.detach().chunk(3)
    with torch.no_grad():
        for linear, weight in ((theirs.q, q), (theirs.k, k), (theirs.v, v)):
            linear.weight.copy_(weight)
        for linear, part in ((theirs.igate_preact, slice(0, 2)), (theirs.fgate_preact, slice(2, 4))):
            linear.weight.copy_(ours.gates.weight[part])
            linear.bias.copy_(ours.gates.bias[part])
    theirs.ogate_preact, theirs.out_proj = ours.out_gate, ours.out
    theirs.multihead_norm.weight = ours.norm_weight
    x = torch.randn(2, 33, 8, generator=generator)
    expected, (C, n, m) = theirs.eval()(x)
    y, state = ours(x)
    torch.testing.assert_close(y, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(state.maximum, m.flatten(1), rtol=1e-4, atol=1e-4)
    theirs_scaled = torch.cat([C, n[..., None]], -1) / 2  # they scale q by 1 / sqrt(4), the paper scales k
    torch.testing.assert_close(state.memory, theirs_scaled, rtol=1e-3, atol=1e-4)


def test_no_gate_overflows(generator: torch.Generator) -> None:
    mixer = perturbed(gate_cap=None)
    with torch.no_grad():
        mixer.gates.weight.mul_(500)
    x = torch.randn(1, 200, 8, generator=generator).requires_grad_()
    for form in ("recurrent", "chunk", "parallel"):
        y, state = mixer(x, form=form)
        assert state.maximum.abs().max() > 200  # exp of it is not a number of float32
        assert y.isfinite().all()
        assert torch.autograd.grad(y.square().sum(), x)[0].isfinite().all()


def test_decaying_maximum(generator: torch.Generator) -> None:
    f, i = -torch.rand(2, 37, 3, generator=generator), 3 * torch.randn(2, 37, 3, generator=generator)
    i[1, :4] = -torch.inf
    m0 = torch.tensor([[0.5, -torch.inf, 4.0]] * 2)
    reset = torch.rand(2, 37, generator=generator) < 0.1
    found, m = decaying_maximum(f, i, m0, reset), m0
    for t in range(37):
        m = torch.maximum(i[:, t], torch.where(reset[:, t, None], -torch.inf, f[:, t] + m))
        torch.testing.assert_close(found[:, t], m)


def test_starts_as_in_the_paper() -> None:
    torch.manual_seed(0)
    mixer = MLSTM(64, heads=4)
    assert (mixer.gates.weight == 0).all()
    assert mixer.gates.bias[4:].tolist() == [3, 4, 5, 6]
    assert mixer.gates.bias[:4].abs().max() < 0.5
    with pytest.raises(InputError, match="gate_cap is 0"):
        MLSTM(8, gate_cap=0)
