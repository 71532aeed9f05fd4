"""One layer of each kind for checks that take long; all others are marked ``thorough``."""

from __future__ import annotations

from typing import Any

import pytest

from seqmem.mixers import MIXERS

SOME = (
    "attention", "lstm", "min_gru", "mamba", "gla", "gated_delta_net", "rwkv7", "titans", "s4d", "landmark", "ntm",
    "leaky_rnn",
)  # fmt: skip


def some_mixers() -> list[Any]:
    """Every name, as parameters of a test."""
    return [some(name) for name in MIXERS]


def some(name: str, *more: Any) -> Any:
    """A layer's name, and more, as parameters of a test."""
    return pytest.param(name, *more, marks=[] if name in SOME else [pytest.mark.thorough])
