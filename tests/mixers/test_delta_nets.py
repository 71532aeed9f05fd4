"""The matrix memories: forms against each other across chunks, against Hugging Face's Qwen3-Next, and exact values."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, rms_norm, silu, softplus
from transformers import Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import (
    Qwen3NextGatedDeltaNet,
    torch_recurrent_gated_delta_rule,
)

from seqmem.mixers._matrix_memory import explicit_attention, write_and_read
from seqmem.mixers.delta_net import DeltaNet
from seqmem.mixers.gated_delta_net import GatedDeltaNet
from seqmem.ops._decay import decay_matrix
from seqmem.ops.delta_rule import delta_rule_reference
from seqmem.ops.ssd import ssd_reference


def numbers(time: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    return {
        "q": normal(2, time, 2, 4),
        "k": normalize(normal(2, time, 2, 4), dim=-1),
        "v": normal(2, time, 2, 3),
        "g": -softplus(4 * normal(2, time, 2)),
        "beta": 2 * normal(2, time, 2).sigmoid(),
        "s0": normal(2, 2, 4, 3),
    }


@pytest.mark.parametrize("form", ["parallel", "chunk", "recurrent"])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("time", [1, 64, 150])
def test_forms_equal_the_loop(time: int, delta: bool, gated: bool, form: str, generator: torch.Generator) -> None:
    x = numbers(time, generator)
    reset = torch.rand(2, time, generator=generator) < 0.03
    g = x["g"] if gated else None
    common = x["q"], x["k"], x["v"]
    o, s = write_and_read(*common, g, x["beta"] if delta else None, x["s0"], reset=reset, form=form)
    if delta:
        expected, last = delta_rule_reference(*common, x["beta"], g, x["s0"], reset)
    else:
        expected, last = ssd_reference(*common, torch.zeros_like(x["g"]) if g is None else g, x["s0"], reset)
    torch.testing.assert_close(o, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(s, last, rtol=1e-9, atol=1e-9)


def test_a_key_written_twice_is_corrected_not_added() -> None:
    """One key, all the time: the weight of an older value is beta (1 - beta)^age; at beta = 2 it changes its sign."""
    key = torch.ones(1, 5, 1, 1, dtype=torch.float64)
    age = torch.arange(5)[:, None] - torch.arange(5)
    for beta in (0.25, 1.0, 2.0):
        found = explicit_attention(key, key, None, torch.full((1, 5, 1), beta, dtype=torch.float64), None)
        expected = torch.where(age >= 0, beta * (1 - beta) ** age.clamp_min(0).double(), 0)
        torch.testing.assert_close(found[0, 0], expected)


def test_decays_do_not_cancel() -> None:
    """After a strong decay the weak ones that follow are still exact in float32."""
    g = torch.cat([torch.full((500,), -30.0), torch.full((3,), -0.01)])
    torch.testing.assert_close(decay_matrix(g)[-1, -1 - 3], torch.tensor(-0.03).exp(), rtol=1e-6, atol=0)
    assert decay_matrix(torch.tensor([0.0, -torch.inf, -1.0])).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, pytest.approx(0.36787944), 1],
    ]


def test_gated_delta_net_equals_qwen3_next(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    width, heads, key, value = 16, 2, 8, 12
    ours = GatedDeltaNet(width, heads=heads, expand_value=1.5)
    config = Qwen3NextConfig(
        hidden_size=width,
        linear_num_key_heads=heads,
        linear_num_value_heads=heads,
        linear_key_head_dim=key,
        linear_value_head_dim=value,
        linear_conv_kernel_dim=4,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    theirs = Qwen3NextGatedDeltaNet(config, layer_idx=0)
    q, k, v = ours.qkv.weight.detach().split([width, width, heads * value])
    # theirs interleaves by head: q, k, v, z of head 0, then of head 1
    by_head = [part.unflatten(0, (heads, -1)) for part in (q, k, v, ours.gate.weight.detach())]
    beta, step = (part[:, None] for part in ours.beta_and_step.weight.detach().chunk(2))
    with torch.no_grad():
        ours.norm.weight.normal_()
        theirs.in_proj_qkvz.weight.copy_(torch.cat(by_head, 1).flatten(0, 1))
        theirs.in_proj_ba.weight.copy_(torch.cat([beta, step], 1).flatten(0, 1))
        theirs.conv1d.weight.copy_(ours.conv.weight[:, None])
        theirs.norm.weight.copy_(ours.norm.weight)
    theirs.A_log, theirs.dt_bias, theirs.out_proj = ours.A_log, ours.dt_bias, ours.out
    x = torch.randn(2, 70, width, generator=generator)
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("negative", [False, True])
def test_delta_net_equals_a_layer_around_another_rule(negative: bool, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = DeltaNet(8, heads=2, allow_negative_eigenvalues=negative)
    x = torch.randn(2, 9, 8, generator=generator)
    projected = torch.nn.functional.pad(mixer.qkv(x).mT, (3, 0))
    mixed = silu(torch.nn.functional.conv1d(projected, mixer.conv.weight[:, None], groups=24)).mT
    q, k, v = (part.reshape(2, 9, 2, 4) for part in mixed.chunk(3, -1))
    beta = mixer.beta(x).sigmoid() * (2 if negative else 1)
    o, _ = torch_recurrent_gated_delta_rule(
        q, k, v, torch.zeros_like(beta), beta, output_final_state=False, use_qk_l2norm_in_kernel=True
    )
    expected = mixer.out(rms_norm(o, (4,), mixer.norm.weight, 1e-6).flatten(-2))
    torch.testing.assert_close(mixer(x)[0], expected, rtol=1e-5, atol=1e-5)


def test_gated_delta_net_starts_in_its_ranges() -> None:
    torch.manual_seed(0)
    mixer = GatedDeltaNet(1024, heads=512)
    rate, step = mixer.A_log.exp(), softplus(mixer.dt_bias)
    assert rate.min() >= 0.999
    assert rate.max() <= 16.001
    assert step.min() >= 0.999e-3
    assert step.max() <= 1.001e-1
