"""Every random draw of an experiment has an address (seed, use, index), so that resuming needs no generator's state."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def address(seed: int, use: str, index: int = 0) -> int:
    """A 32-bit number from the three: equal addresses give equal draws, different ones unrelated draws."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{use}/{index}".encode(), digest_size=4).digest(), "little")


def generator(seed: int, use: str, index: int = 0) -> torch.Generator:
    """A generator that starts at this address."""
    import torch

    return torch.Generator().manual_seed(address(seed, use, index))
