"""minGRU and minLSTM against another implementation, which scans in logarithms, and against their equations."""

import pytest
import torch
from torch import Tensor, nn

from seqmem.mixers.min_gru import MinGRU, MinGRUState
from seqmem.mixers.min_lstm import MinLSTM, MinLSTMState

log_space = pytest.importorskip("minGRU_pytorch")
log_space_lstm = pytest.importorskip("minGRU_pytorch.minLSTM")


def pair(kind: str, expansion: float) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    if kind == "gru":
        ours: nn.Module = MinGRU(8, expansion=expansion, bias=False)
        theirs = log_space.minGRU(8, expansion_factor=expansion, proj_out=True)
        theirs.to_hidden_and_gate.weight = ours.candidate_and_gate.weight
    else:
        ours = MinLSTM(8, expansion=expansion, bias=False)
        theirs = log_space_lstm.minLSTM(8, expansion_factor=expansion, proj_out=True)
        theirs.to_hidden_and_f_i_gate.weight = ours.candidate_and_gates.weight
    theirs.to_out.weight = ours.out.weight
    return ours, theirs


@pytest.mark.parametrize("time", [1, 2, 33])
@pytest.mark.parametrize("expansion", [1.0, 1.5])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_equal_to_the_logarithmic_form(kind: str, expansion: float, time: int, generator: torch.Generator) -> None:
    ours, theirs = pair(kind, expansion)
    x = 2 * torch.randn(2, time, 8, generator=generator)
    y, state = ours(x)
    expected, last = theirs(x, return_next_prev_hidden=True)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.hidden, last[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_equal_when_a_state_is_handed_on(kind: str, generator: torch.Generator) -> None:
    """One step at a time: the other minLSTM passes a given state through g when parallel, not in a step."""
    ours, theirs = pair(kind, 1.0)
    x = torch.randn(2, 5, 8, generator=generator)
    state, hidden = None, None
    for t in range(5):
        y, state = ours(x[:, t : t + 1], state)
        expected, hidden = theirs(x[:, t : t + 1], hidden, return_next_prev_hidden=True)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_equal_to_the_equations(kind: str, generator: torch.Generator) -> None:
    mixer = (MinGRU if kind == "gru" else MinLSTM)(4, expansion=2.0).double()
    x = torch.randn(1, 6, 4, dtype=torch.float64, generator=generator)
    h = torch.randn(1, 8, dtype=torch.float64, generator=generator)
    start: MinGRUState | MinLSTMState = (MinGRUState if kind == "gru" else MinLSTMState)(h)
    y, _ = mixer(x, start)
    linear: nn.Linear = mixer.candidate_and_gate if kind == "gru" else mixer.candidate_and_gates
    for t in range(6):
        parts: list[Tensor] = list(linear(x[:, t]).chunk(2 if kind == "gru" else 3, -1))
        candidate = torch.where(parts[0] >= 0, parts[0] + 0.5, parts[0].sigmoid())
        if kind == "gru":
            keep, write = 1 - parts[1].sigmoid(), parts[1].sigmoid()
        else:
            total = parts[1].sigmoid() + parts[2].sigmoid()
            keep, write = parts[1].sigmoid() / total, parts[2].sigmoid() / total
        h = keep * h + write * candidate
        torch.testing.assert_close(y[:, t], mixer.out(h), rtol=1e-12, atol=1e-12)
