"""The convolution in front of a mixer: its numbers, its state, and the mixers that get none."""

import pytest
import torch

from seqmem.errors import InputError
from seqmem.mixers import MIXERS, get_mixer
from seqmem.mixers.state import tensors
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.models.block import BlockState
from tests.mixers.some import some_mixers
from tests.models.stacks import ATTENTION, AVERAGE, small

KERNEL = 4
CONVOLVES = {  # each has a convolution of its own
    "mamba", "mamba2", "rg_lru", "delta_net", "gated_delta_net", "titans", "titans_mag", "titans_mal",
    "slstm", "qrnn", "hyena", "short_conv",
}  # fmt: skip

every_mixer = pytest.mark.parametrize("name", [AVERAGE, *some_mixers()])


@pytest.fixture
def ids(generator):
    return torch.randint(37, (3, 11), generator=generator)


def moved(layers, **options) -> SequenceLM:
    """A small model whose convolutions have a bias: at the start it is zero, and would hide where it is added."""
    model = small(layers, short_conv=KERNEL, **options).double()
    for block in model.layers:
        if block.conv is not None:
            torch.nn.init.normal_(block.conv.bias, generator=torch.Generator().manual_seed(1))
    return model


def test_the_equation(ids):
    """One layer written out: the normed stream, a loop over the last four positions, the mixer."""
    model = moved([ATTENTION], mlp_width=0)
    block = model.layers[0]
    x = model.embed_tokens(ids)
    h = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    seen = torch.zeros_like(h)
    for t in range(h.shape[1]):
        seen[:, t] = block.conv.bias
        for back in range(min(KERNEL, t + 1)):
            seen[:, t] += block.conv.weight[:, KERNEL - 1 - back] * h[:, t - back]
    expected = model.lm_head(model.norm(x + block.mixer(seen)[0]))
    logits, (state,) = model.run(ids)
    torch.testing.assert_close(logits, expected)
    assert isinstance(state, BlockState)
    torch.testing.assert_close(state.conv, h[:, 1 - KERNEL :])


@every_mixer
def test_only_a_mixer_without_its_own_gets_one(name):
    model = small([name], short_conv=KERNEL)
    (block,) = model.layers
    _, (state,) = model.run(torch.tensor([[1, 2]]))
    if name in CONVOLVES:
        assert block.conv is None
        assert not isinstance(state, BlockState)
        bare = small([name], short_conv=0)
        assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in bare.named_parameters()}
    else:
        assert block.conv.weight.shape == (32, KERNEL)
        assert state.conv.shape == (1, KERNEL - 1, 32)
        assert small([name]).layers[0].conv is None  # none unless asked for


def test_the_mixers_that_convolve_are_those_with_a_convolution_inside():
    """Declared and true agree: the class says ``convolves`` just where it is built with a kernel of its own."""
    for name in MIXERS:
        parts = [type(part).__name__ for part in get_mixer(name)(32).modules()]
        inside = "ShortConv" in parts or name == "qrnn"  # whose convolution mixes channels
        assert (get_mixer(name).convolves, inside) == (name in CONVOLVES,) * 2, name


@every_mixer
@pytest.mark.parametrize("cuts", [(4, 1, 6), (1,) * 11], ids=["pieces", "tokens"])
def test_run_in_pieces_is_run_at_once(name, cuts, ids):
    model = moved([name, AVERAGE])
    with torch.no_grad():
        whole, final = model.run(ids)
        parts, states = [], None
        for piece in ids.split(cuts, 1):
            logits, states = model.run(piece, states)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert [type(s) for s in states] == [type(s) for s in final]
    for a, b in zip(tensors(states), tensors(final), strict=True):
        torch.testing.assert_close(a, b)


@every_mixer
@pytest.mark.parametrize("side", ["left", "right", "inside"])
def test_padding_changes_nothing(name, side, ids):
    """Logits at the real tokens, and what is written next, are those of the text without padding."""
    model = moved([name, AVERAGE])
    text, more = ids[:1, :7], ids[1:2]
    real = {
        "left": [False] * 4 + [True] * 7,
        "right": [True] * 7 + [False] * 4,
        "inside": [True, True, False, True, False, False, True, True, True, False, True],
    }[side]
    mask = torch.tensor([real])
    padded = torch.full((1, 11), 5)
    padded[mask] = text[0]
    with torch.no_grad():
        expected, states = model.run(text)
        onwards, _ = model.run(more, states)
        logits, states = model.run(padded, mask=mask)
        after, _ = model.run(more, states)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[mask], expected[0])
    torch.testing.assert_close(after, onwards)


@every_mixer
def test_a_reset_empties_the_convolution_too(name, ids):
    model = moved([name, AVERAGE])
    reset = torch.zeros_like(ids).bool()
    reset[:, 6] = True
    with torch.no_grad():
        logits, _ = model.run(ids, reset=reset)
        fresh, _ = model.run(ids[:, 6:])
        before, _ = model.run(ids[:, :6])
    torch.testing.assert_close(logits, torch.cat([before, fresh], 1))


def test_generation_and_beams_carry_the_state(ids):
    """Greedy decoding with the cache writes what reading the whole text anew at every step would."""
    model = moved([ATTENTION, "min_gru", "rg_lru"])
    with torch.no_grad():
        text = ids[:2]
        for _ in range(5):
            text = torch.cat([text, model.run(text)[0][:, -1:].argmax(-1)], 1)
        written = model.generate(ids[:2], max_new_tokens=5, do_sample=False)
        assert torch.equal(written, text)
        beams = model.generate(ids[:2], max_new_tokens=5, do_sample=False, num_beams=3)
        anew = model.generate(ids[:2], max_new_tokens=5, do_sample=False, num_beams=3, use_cache=False)
    assert torch.equal(beams, anew)


def test_weights_and_setting_survive_a_round_trip(tmp_path, ids):
    model = moved([AVERAGE, "mamba"])
    model.save_pretrained(tmp_path)
    again = SequenceLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert again.config.short_conv == KERNEL
    weights = model.state_dict()
    assert again.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())
    torch.testing.assert_close(again.run(ids)[0], model.run(ids)[0])


@pytest.mark.parametrize("value", [-1, 2.0, True])
def test_a_bad_number_is_named(value):
    with pytest.raises(InputError, match="short_conv is"):
        SequenceConfig(short_conv=value)
