"""The model of rotations is the mixer, reading words one-hot."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seqmem.errors import InputError
from seqmem.models import UnitaryLM


@pytest.mark.parametrize("rotation", ["exponential", "cascade"])
def test_it_is_the_mixer_on_one_hot_words(rotation, generator: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    lm = UnitaryLM(7, 5, rotation=rotation)
    ids = torch.randint(7, (3, 12), generator=generator)
    logits, state = lm(ids)
    y, last = lm.mixer(F.one_hot(ids, 7).float())
    torch.testing.assert_close(logits, y)
    torch.testing.assert_close(state.vector, last.vector)
    first, state = lm(ids[:, :5])
    torch.testing.assert_close(torch.cat([first, lm(ids[:, 5:], state)[0]], 1), logits)
    phrase = lm.phrase(ids)
    torch.testing.assert_close(phrase[:, :, 0], last.vector)  # s_0 is the first axis
    torch.testing.assert_close(phrase, lm.words()[ids[:, -1]] @ lm.phrase(ids[:, :-1]))


def test_bad_input_says_so() -> None:
    with pytest.raises(InputError, match="vocab_size is 0"):
        UnitaryLM(0)
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        UnitaryLM(4)(torch.zeros(3, dtype=torch.int64))
