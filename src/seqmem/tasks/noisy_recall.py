"""In-context recall among noise: which value has this key, when tokens that mean nothing stand between?

Source: Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844, its noisy in-context recall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import Changes
from seqmem.tasks.in_context_recall import InContextRecall


@dataclass(frozen=True)
class NoisyRecall(InContextRecall):
    """Pairs of a key and its value, the same keys again and again, with noise between the pairs.

    Every example has its own values. A key that comes again is asked for its value, which the next token tells. Noise
    has tokens of its own, so that it can be known from what matters; without it this is plain in-context recall.

    Options:
        length: time steps of a training example.
        keys: number of different keys.
        values: number of different values.
        noise: the share of positions with noise, 0 up to (not including) 1.
        noise_tokens: number of different noise tokens.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; there are then more pairs, not more
            keys.
    """

    name: ClassVar[str] = "noisy_recall"
    changes: ClassVar[Changes] = {
        "noise": (0.4, 0.6), "keys": (12, 16, 24), "values": (16, 32, 64), "length": (128, 256),
    }  # fmt: skip

    noise: float = 0.2
    noise_tokens: int = 16

    def __post_init__(self) -> None:
        _check.integer(self.name, "noise_tokens", self.noise_tokens, at_least=1)
        if isinstance(self.noise, bool) or not isinstance(self.noise, int | float) or not 0 <= self.noise < 1:
            raise InputError(f"task 'noisy_recall': noise={self.noise!r}, expected a number from 0 to below 1")
        object.__setattr__(self, "noise", float(self.noise))
        super().__post_init__()

    @property
    def _share_of_noise(self) -> float:
        return self.noise

    @property
    def _noise_tokens(self) -> int:
        return self.noise_tokens
