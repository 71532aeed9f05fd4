"""The layouts against plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.scratchpad_parity import BLANK, FIRST_ANCHOR, LAYOUTS, SEPARATOR, ScratchpadParity


def laid_out(layout: str, bits: list[int], anchors: list[int]) -> tuple[list[int], list[int]]:
    parity = [sum(bits[: i + 1]) % 2 for i in range(len(bits))]
    if layout == "none":
        return [*bits, SEPARATOR], [IGNORE] * len(bits) + [parity[-1]]
    if layout == "standard":
        return [*bits, SEPARATOR, *parity[:-1]], [IGNORE] * len(bits) + parity
    if layout == "interleaved":
        pairs = list(zip(bits, parity, strict=True))
        return [token for pair in pairs for token in pair], [one for _, p in pairs for one in (p, IGNORE)]
    prompt = [token for pair in zip(anchors, bits, strict=True) for token in pair]
    scratch = [token for pair in zip(anchors, parity, strict=True) for token in pair]
    asked = [one for p in parity for one in (p, IGNORE)]
    return [*prompt, SEPARATOR, *scratch[:-1]], [IGNORE] * (len(prompt) + 1) + asked[:-1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", [8, 13, 40])
@pytest.mark.parametrize("split", ["train", "test"])
def test_layouts(generator: torch.Generator, layout: str, length: int, split: str) -> None:
    task = ScratchpadParity(layout)
    batch = task.sample(30, length, generator, split=split)  # type: ignore[arg-type]
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        used = [token for token in inputs if token != BLANK]
        anchors: list[int] = []
        if layout == "interleaved":
            bits = used[::2]
        elif layout == "mnemonic":
            cut = used.index(SEPARATOR)
            anchors, bits = used[:cut:2], used[1:cut:2]
            assert len(set(anchors)) == len(anchors)
            assert min(anchors) >= FIRST_ANCHOR
        else:
            bits = used[: used.index(SEPARATOR)]
        assert len(bits) == task.bits_in(length) or split == "train"
        wanted, asked = laid_out(layout, bits, anchors)
        rest = length - len(wanted)
        assert inputs == wanted + [BLANK] * rest
        assert targets == asked + [IGNORE] * rest


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match=r"unknown layout 'standart'\. Did you mean 'standard'"):
        ScratchpadParity("standart")
    with pytest.raises(InputError, match="length=3 is too short for layout standard, expected at least 4"):
        ScratchpadParity(length=3)
    with pytest.raises(InputError, match="length=160 has 40 bits and there are 30 anchors"):
        ScratchpadParity("mnemonic", anchors=30)
