"""Hawk and Griffin as descriptions of a :class:`seqmem.models.SequenceLM`.

A residual block is x + mixer(norm(x)), then x + mlp(norm(x)) with a GELU-gated MLP. Hawk's mixers are all recurrent:
two branches, of which one is a short convolution and RG-LRU, the other a GELU, are multiplied and projected back
(:class:`seqmem.mixers.rg_lru.RGLRU`). Griffin's are recurrent, recurrent, local attention, again and again.

Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models (2024), arXiv 2402.19427.
"""

from __future__ import annotations

from typing import Any

from seqmem.errors import InputError
from seqmem.models.config import SequenceConfig


def hawk_config(vocab_size: int = 256, width: int = 64, depth: int = 6, **options: Any) -> SequenceConfig:
    """The config of a Hawk: ``depth`` recurrent residual blocks. Options: those of :func:`griffin_config` that are not
    about attention.
    """
    return _config(vocab_size, width, depth, ("recurrent",), **options)


def griffin_config(
    vocab_size: int = 256, width: int = 64, depth: int = 6, *, window: int = 1024, **options: Any
) -> SequenceConfig:
    """The config of a Griffin: ``depth`` residual blocks, every third with attention to the last ``window`` positions.

    heads: of the attention, whose keys and values all heads share, and default of gate_blocks; None: one for every 16
    channels, at least 1. lru_width: of the recurrent branches; None: 4/3 of the width, to the nearest multiple of
    gate_blocks. gate_blocks: blocks of RG-LRU's gate matrices. conv: positions of its convolution. expansion: hidden
    units of the MLP over the width. Anything else goes to SequenceConfig. Inputs are scaled by sqrt(width), and the
    head is the transposed embedding.
    """
    return _config(vocab_size, width, depth, ("recurrent", "recurrent", "attention"), window=window, **options)


def _config(
    vocab_size: int,
    width: int,
    depth: int,
    pattern: tuple[str, ...],
    *,
    window: int = 1024,
    heads: int | None = None,
    lru_width: int | None = None,
    gate_blocks: int | None = None,
    conv: int = 4,
    expansion: float = 3.0,
    **options: Any,
) -> SequenceConfig:
    if not isinstance(depth, int) or depth < 1 or not expansion > 0:
        raise InputError(f"depth is {depth!r} and expansion {expansion!r}, expected at least 1 and a number above 0")
    heads = max(1, width // 16) if heads is None else heads
    gate_blocks = heads if gate_blocks is None else gate_blocks
    if lru_width is None:
        lru_width = gate_blocks * max(1, round(4 * width / (3 * gate_blocks)))
    mixers: dict[str, dict[str, Any]] = {
        "recurrent": {"name": "rg_lru", "lru_width": lru_width, "heads": gate_blocks, "conv": conv},
        "attention": {"name": "local_attention", "window": window, "heads": heads, "kv_heads": 1, "qk_norm": False},
    }
    layers = [mixers[pattern[layer % len(pattern)]] for layer in range(depth)]
    ours: dict[str, Any] = {
        "mlp": "gated",
        "mlp_activation": "gelu_tanh",
        "mlp_width": round(expansion * width),
        "embedding_scale": width**0.5,
    }
    return SequenceConfig(vocab_size=vocab_size, width=width, layers=layers, **{**ours, **options})
