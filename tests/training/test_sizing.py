"""Equal parameters, counted on the models themselves."""

from __future__ import annotations

import importlib.util

import pytest

from seqmem.errors import InputError
from seqmem.mixers import MIXERS, get_mixer
from seqmem.models import SequenceConfig, build
from seqmem.training.sizing import Size, size

THERE = [name for name in MIXERS if importlib.util.find_spec(f"seqmem.mixers.{name}")]


def real_count(mixer: str, sized: Size, vocab_size: int, layers: int, short_conv: int = 0) -> int:
    config = SequenceConfig(
        vocab_size, sized.width, layers=[mixer] * layers, mlp_width=sized.mlp_width, short_conv=short_conv
    )
    return sum(p.numel() for p in build(config).parameters() if p.requires_grad)


@pytest.mark.parametrize("mixer", [*THERE, "tests.training.toy:Toy", "tests.training.toy:Wide"])
@pytest.mark.parametrize(("vocab_size", "width", "layers"), [(64, 32, 2), (256, 64, 3)])
def test_every_mixer_matches_attention(mixer: str, vocab_size: int, width: int, layers: int) -> None:
    reference = build(SequenceConfig(vocab_size, width, layers=["attention"] * layers))
    target = sum(p.numel() for p in reference.parameters())
    sized = size(mixer, {}, vocab_size, width, layers)
    assert real_count(mixer, sized, vocab_size, layers) == sized.parameters
    assert sized.parameters == pytest.approx(target, rel=0.05)
    assert sized.mlp_width >= sized.width / 4
    if mixer == "attention":
        assert (sized.width, sized.mlp_width) == (width, reference.config.mlp_width)
    if mixer == "tests.training.toy:Toy":  # smaller than attention: the width stays, the MLP grows
        assert sized.width == width
        assert sized.mlp_width > reference.config.mlp_width
    if mixer == "tests.training.toy:Wide":  # far larger: the width shrinks, to one that the constructor takes
        assert sized.width < width
        assert sized.width % 2 == 0


@pytest.mark.parametrize("mixer", [*THERE, "tests.training.toy:Toy"])
def test_the_short_convolution_is_counted(mixer: str) -> None:
    """On both sides: in the attention stack that is matched, and in the stack that matches it."""
    vocab_size, width, layers, short_conv = 64, 32, 2, 4
    reference = build(SequenceConfig(vocab_size, width, layers=["attention"] * layers, short_conv=short_conv))
    target = sum(p.numel() for p in reference.parameters())
    sized = size(mixer, {}, vocab_size, width, layers, short_conv)
    assert real_count(mixer, sized, vocab_size, layers, short_conv) == sized.parameters
    assert sized.parameters == pytest.approx(target, rel=0.05)
    bare = size(mixer, {}, vocab_size, width, layers)
    own = "convolves" in vars(get_mixer(mixer))
    convolution = 0 if own else layers * bare.width * (short_conv + 1)  # the weights and one bias per channel
    assert real_count(mixer, bare, vocab_size, layers, short_conv) == bare.parameters + convolution


def test_a_width_that_a_layer_refuses_is_not_changed_silently() -> None:
    with pytest.raises(InputError, match="width 30 is not divisible by heads 4"):
        size("attention", {"heads": 4}, 16, 30, 1)
    with pytest.raises(InputError, match="an even width is needed"):
        size("tests.training.toy:Wide", {}, 16, 31, 1)
    with pytest.raises(InputError, match="31"):
        size("attention", {}, 16, 31, 1)


def test_the_reference_does_not_mind_an_odd_width() -> None:
    assert size("lstm", {}, 16, 31, 1).width == 31
