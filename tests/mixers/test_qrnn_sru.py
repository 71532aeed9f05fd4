"""QRNN against torch's convolution and a loop; SRU against the package of its authors."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.mixers.qrnn import QRNN
from seqmem.mixers.sru import SRU
from seqmem.testing import check_mixer


@pytest.mark.parametrize("kernel", [1, 2, 5])
@pytest.mark.parametrize("pooling", ["f", "fo", "ifo"])
def test_qrnn_is_a_masked_convolution_and_a_pooling(pooling: Any, kernel: int, generator: torch.Generator) -> None:
    mixer = QRNN(6, hidden=4, kernel=kernel, pooling=pooling).double()
    conv = nn.Conv1d(6, 4 * (1 + len(pooling)), kernel).double()
    with torch.no_grad():
        conv.weight.copy_(mixer.windows.weight.unflatten(1, (kernel, 6)).transpose(1, 2))
        conv.bias.copy_(mixer.windows.bias)  # type: ignore[union-attr]
    x = torch.randn(3, 12, 6, generator=generator, dtype=torch.float64)
    y, state = mixer(x)
    gates = conv(nn.functional.pad(x.mT, (kernel - 1, 0))).mT.chunk(1 + len(pooling), -1)
    c = x.new_zeros(3, 4)
    for t in range(12):
        z, f = gates[0][:, t].tanh(), gates[1][:, t].sigmoid()
        i = gates[3][:, t].sigmoid() if pooling == "ifo" else 1 - f
        c = f * c + i * z
        h = c if pooling == "f" else gates[2][:, t].sigmoid() * c
        torch.testing.assert_close(y[:, t], h @ mixer.out.weight.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.cell, c, rtol=0, atol=1e-12)
    assert torch.equal(state.recent, x[:, 12 - (kernel - 1) :])


def test_other_poolings_and_kernels_hold_the_contract() -> None:
    check_mixer(lambda width: QRNN(width, pooling="ifo", kernel=4), width=8, points=[4, 8])
    check_mixer(lambda width: QRNN(width, pooling="f", kernel=1), width=8, points=[4, 8])
    with pytest.raises(InputError, match="pooling is 'fio'"):
        QRNN(4, pooling="fio")  # type: ignore[arg-type]


@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("form", ["parallel", "recurrent"])
def test_sru_is_that_of_its_authors(peephole: bool, form: str, generator: torch.Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that there is no CUDA
        package = pytest.importorskip("sru")
    torch.manual_seed(0)
    theirs = package.SRUCell(8, 8, v1=not peephole, highway_bias=-1.5)
    ours = SRU(8, peephole=peephole, highway_bias=-1.5)
    with torch.no_grad():
        theirs.bias.normal_()
        candidate, forget, highway = theirs.weight.unflatten(1, (8, 3)).unbind(2)  # (from, to) each
        ours.candidate_and_gates.weight.copy_(torch.cat([candidate, forget, highway], 1).T)
        ours.bias.copy_(theirs.bias.view(2, 8))
        if ours.peephole is not None:
            ours.peephole.copy_(theirs.weight_c.view(2, 8))
    assert ours.highway_scale == pytest.approx(theirs.scale_x.item())
    x, start = torch.randn(3, 15, 8, generator=generator), torch.randn(3, 8, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, last = theirs(x.transpose(0, 1), start)
    y, state = ours(x, type(ours.initial_state(3))(start), form=form)
    torch.testing.assert_close(y, expected.transpose(0, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.cell, last, rtol=1e-5, atol=1e-5)


def test_sru_with_peepholes_holds_the_contract() -> None:
    check_mixer(lambda width: SRU(width, peephole=True), width=8, points=[3, 4, 5, 7, 8])


def test_sru_begins_as_in_its_paper() -> None:
    torch.manual_seed(0)
    mixer = SRU(256, highway_bias=-1.0)
    assert abs(mixer.candidate_and_gates.weight.var().item() * 256 - 1) < 0.02
    assert mixer.bias[1].eq(-1).all()
    y, _ = mixer(torch.randn(64, 1, 256))
    x, _ = mixer(torch.randn(64, 40, 256))
    assert 0.5 < y.var().item() < 1.6  # the variance of the input, 1, is kept
    assert 0.5 < x[:, -1].var().item() < 1.6
