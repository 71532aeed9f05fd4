"""Mamba-2 against Hugging Face's layer with the same weights."""

import pytest
import torch
from torch.nn.functional import softplus
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from seqmem.errors import InputError
from seqmem.mixers.mamba2 import Mamba2


@pytest.mark.parametrize("form", ["parallel", "chunk", "recurrent"])
def test_equal_to_hugging_face(form: str, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    ours = Mamba2(8, heads=4, expand=2, state_size=4, groups=2)
    config = Mamba2Config(
        hidden_size=8, num_heads=4, head_dim=4, expand=2, state_size=4, n_groups=2, conv_kernel=4, chunk_size=16,
        num_hidden_layers=1,
    )  # fmt: skip
    theirs = Mamba2Mixer(config, layer_idx=0)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        theirs.conv1d.weight.copy_(ours.conv.weight[:, None])
    theirs.conv1d.bias, theirs.norm.weight = ours.conv.bias, ours.norm_weight
    theirs.in_proj, theirs.out_proj = ours.in_proj, ours.out
    theirs.A_log, theirs.D, theirs.dt_bias = ours.A_log, ours.D, ours.dt_bias
    x = torch.randn(2, 70, 8, generator=generator)
    torch.testing.assert_close(ours(x, form=form)[0], theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_starts_as_in_the_paper() -> None:
    torch.manual_seed(0)
    mixer = Mamba2(64, heads=32)
    torch.testing.assert_close(mixer.A_log.exp(), torch.arange(1.0, 33.0))
    step = softplus(mixer.dt_bias)
    assert step.min() > 0.99e-3
    assert step.max() < 1.01e-1
    assert (mixer.D == 1).all()
    assert mixer.initial_state(1).memory.numel() == 64 * 2  # heads * state_size * head: as a retention of 32 heads


def test_bad_options_are_named() -> None:
    with pytest.raises(InputError, match="groups 2"):
        Mamba2(9, heads=3, groups=2)
    with pytest.raises(InputError, match="state_size is 0"):
        Mamba2(8, state_size=0)
