"""The eight variants against their equations one gate at a time, and against torch's LSTM."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers.lstm_1997 import LSTM1997
from seqmem.mixers.lstm_odyssey import VARIANTS, OdysseyLSTM
from seqmem.mixers.peephole_lstm import PeepholeLSTM
from seqmem.testing import check_mixer

HIDDEN = 4


def gate_by_gate(mixer: OdysseyLSTM, x: Tensor, name: str) -> Tensor:
    """The paper's equations, every product on its own, from an empty memory: block outputs (batch, time, hidden)."""
    has = {"i": name != "NIG", "f": name not in ("NFG", "CIFG"), "z": True, "o": name != "NOG"}
    order = [part for part in "ifzo" if has[part]]

    def blocks(tensor: Tensor, names: list[str]) -> dict[str, Tensor]:
        return dict(zip(names, tensor.chunk(len(names)), strict=True))

    w, b, r = (blocks(t, order) for t in (mixer.inputs.weight, mixer.inputs.bias, mixer.recurrent))
    gates = [part for part in order if part != "z"]
    p = {} if mixer.peephole is None else {k: v[0] for k, v in blocks(mixer.peephole, gates).items()}
    among = {} if mixer.gate_recurrent is None else blocks(mixer.gate_recurrent, gates)
    c = y = x.new_zeros(x.shape[0], HIDDEN)
    before = {part: torch.zeros_like(y) for part in "ifo"}
    ys = []
    for t in range(x.shape[1]):

        def of(part: str, t: int = t, y: Tensor = y, before: dict[str, Tensor] = before) -> Tensor:
            total = x[:, t] @ w[part].T + y @ r[part].T + b[part]
            if part in among:
                for source, matrix in zip("ifo", among[part].chunk(3, 1), strict=True):
                    total = total + before[source] @ matrix.T
            return total

        z = of("z") if name == "NIAF" else of("z").tanh()
        i = (of("i") + p.get("i", 0) * c).sigmoid() if has["i"] else torch.ones_like(z)
        f = (of("f") + p.get("f", 0) * c).sigmoid() if has["f"] else torch.ones_like(z)
        f = 1 - i if name == "CIFG" else f
        c = z * i + c * f
        o = (of("o") + p.get("o", 0) * c).sigmoid() if has["o"] else torch.ones_like(z)
        y = (c if name == "NOAF" else c.tanh()) * o
        before = {"i": i, "f": f, "o": o}
        ys.append(y)
    return torch.stack(ys, 1)


@pytest.mark.parametrize("form", ["parallel", "recurrent"])
@pytest.mark.parametrize("name", VARIANTS)
def test_equals_the_equations(name: str, form: str, generator: torch.Generator) -> None:
    mixer = OdysseyLSTM(6, hidden=HIDDEN, **VARIANTS[name]).double()
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.mul_(5)  # weights that matter
    x = torch.randn(3, 11, 6, generator=generator, dtype=torch.float64)
    y, state = mixer(x, form=form)
    blocks = gate_by_gate(mixer, x, name)
    torch.testing.assert_close(y, blocks @ mixer.out.weight.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.hidden, blocks[:, -1], rtol=0, atol=1e-12)


def test_without_peepholes_it_is_the_lstm_of_torch(generator: torch.Generator) -> None:
    theirs = nn.LSTM(6, 6, batch_first=True)
    ours = OdysseyLSTM(6, **VARIANTS["NP"])
    w, u, b, c = theirs.all_weights[0]
    with torch.no_grad():
        ours.inputs.weight.copy_(w)
        ours.inputs.bias.copy_(b + c)
        ours.recurrent.copy_(u)
    x = torch.randn(4, 25, 6, generator=generator)
    expected, (h, cell) = theirs(x)
    y, state = ours(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(state.hidden, h[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(state.cell, cell[0], rtol=0, atol=1e-6)


def test_a_part_that_is_left_out_has_no_weights() -> None:
    def count(name: str) -> int:
        return sum(p.numel() for p in OdysseyLSTM(6, **VARIANTS[name]).parameters())

    full, gate = count("V"), 6 * 6 + 6 * 6 + 6 + 6
    assert full == 4 * gate - 6
    assert count("NIG") == count("NFG") == count("NOG") == count("CIFG") == full - gate
    assert count("NP") == full - 3 * 6
    assert count("FGR") == full + 9 * 6 * 6
    assert count("NIAF") == count("NOAF") == full


def test_the_first_lstm_has_the_squashing_functions_of_its_paper(generator: torch.Generator) -> None:
    mixer = LSTM1997(HIDDEN).double()
    x = 3 * torch.randn(2, 9, HIDDEN, generator=generator, dtype=torch.float64)
    w, r, b = (t.chunk(3) for t in (mixer.inputs.weight, mixer.recurrent, mixer.inputs.bias))  # i, z, o
    c = y = x.new_zeros(2, HIDDEN)
    for t in range(9):
        i, net, o = (x[:, t] @ w[k].T + y @ r[k].T + b[k] for k in range(3))
        c = c + i.sigmoid() * (4 * (2 * net).sigmoid() - 2)  # W_z, R_z and b_z twice as large as the layer's
        y = o.sigmoid() * (2 * c.sigmoid() - 1)
        torch.testing.assert_close(mixer(x)[0][:, t], y, rtol=0, atol=1e-12)


def test_the_peephole_lstm_is_the_vanilla_one_with_an_open_forget_gate() -> None:
    torch.manual_seed(0)
    bias = PeepholeLSTM(64).inputs.bias
    assert abs(bias[64:128].mean().item() - 1) < 0.05
    assert abs(bias[:64].mean().item()) < 0.05
    x = torch.randn(2, 7, 64)
    ours, vanilla = PeepholeLSTM(64), OdysseyLSTM(64)
    vanilla.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x)[0], vanilla(x)[0])


@pytest.mark.parametrize(
    "switches",
    [VARIANTS["FGR"], {"gate_recurrence": True, "coupled": True}, {"output_gate": False, "input_gate": False}],
    ids=["FGR", "FGR and CIFG", "NOG and NIG"],
)
def test_variants_hold_the_contract(switches: dict[str, bool]) -> None:
    check_mixer(lambda width: OdysseyLSTM(width, **switches), width=8, points=[3, 4, 5, 7])


def test_two_ways_to_forget_are_refused() -> None:
    with pytest.raises(InputError, match="coupled=True needs"):
        OdysseyLSTM(4, coupled=True, forget_gate=False)
