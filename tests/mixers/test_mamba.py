"""Mamba against Hugging Face's layer with the same weights."""

import torch
from torch.nn.functional import softplus
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from seqmem.mixers.mamba import Mamba
from seqmem.testing import check_mixer


def test_equal_to_hugging_face(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    ours = Mamba(8, state_size=4, dt_rank=3)
    theirs = MambaMixer(
        MambaConfig(hidden_size=8, state_size=4, time_step_rank=3, conv_kernel=4, expand=2, num_hidden_layers=1),
        layer_idx=0,
    )
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        theirs.conv1d.weight.copy_(ours.conv.weight[:, None])
    theirs.conv1d.bias = ours.conv.bias
    theirs.in_proj, theirs.x_proj, theirs.dt_proj, theirs.out_proj = ours.in_proj, ours.x_proj, ours.dt_proj, ours.out
    theirs.A_log, theirs.D = ours.A_log, ours.D
    x = torch.randn(2, 9, 8, generator=generator)
    torch.testing.assert_close(ours(x)[0], theirs.eval()(x), rtol=1e-5, atol=1e-5)


def test_negative_eigenvalues_against_a_loop(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = Mamba(4, state_size=3, allow_negative_eigenvalues=True).double()
    x = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64) * 3
    with torch.no_grad():
        mixer.dt_proj.bias.uniform_(-1, 1)  # decays on both sides of 0
        u, gate, _ = mixer._inputs(x, None, None, None)
        dt, B, C = mixer._selection(u, None)
        h, found, lowest = torch.zeros(2, 8, 3, dtype=torch.float64), [], 1.0
        for t in range(7):
            decay = 2 * torch.exp(-dt[:, t, :, None] * mixer.A_log.exp()) - 1
            lowest = min(lowest, float(decay.min()))
            h = decay * h + (dt[:, t] * u[:, t])[..., None] * B[:, t, None]
            found.append((h * C[:, t, None]).sum(-1))
        expected = mixer._close(torch.stack(found, 1), u, gate)
        y, state = mixer(x)
    assert lowest < -0.5
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state.hidden, h, rtol=1e-12, atol=1e-12)


def test_negative_eigenvalues_hold_the_contract() -> None:
    check_mixer(lambda width: Mamba(width, allow_negative_eigenvalues=True), width=8)


def test_starts_as_in_the_paper() -> None:
    torch.manual_seed(0)
    mixer = Mamba(512)
    assert mixer.dt_rank == 32
    assert Mamba(17).dt_rank == 2
    assert mixer.channels == 1024
    torch.testing.assert_close(-mixer.A_log.exp()[5], -torch.arange(1.0, 17.0))
    step = softplus(mixer.dt_proj.bias)
    assert step.min() > 0.99e-3
    assert step.max() < 1.01e-1
    assert abs(step.log().mean() - torch.tensor([1e-3, 1e-1]).log().mean()) < 0.15  # log-uniform
    assert (mixer.D == 1).all()
