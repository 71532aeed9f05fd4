"""How much attention each document of a prompt gets from the word that is about to be said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating, reduced_attention, returning_weights
from seqmem.interp.families import FAMILIES
from seqmem.models.cache import NAME

#: families of interp whose weights are softmax attention alone: one step with a cache gives them more cheaply
_SOFTMAX = ("gpt2", "llama")


class DocumentAttention(NamedTuple):
    """scores: (batch, documents), the share of attention. logits: (batch, vocabulary), what the model would say."""

    scores: Tensor
    logits: Tensor


@torch.no_grad()
def document_attention(
    model: Any, tokens: Tensor, owner: Tensor, *, layers: Iterable[int] | None = None
) -> DocumentAttention:
    """The attention of the last position to each document, a mean over heads and layers.

    tokens: (batch, time) int64. owner: (batch, time) int64, which document a token belongs to, from 0, and -1 where it
    belongs to none (header, question). layers: which; default all. Softmax attention, of any family of transformers
    that returns its weights, sums to 1, so a score is the share of it that falls on the document. A recurrence has
    exact implicit weights (:func:`seqmem.interp.attention_of`), which count by their size, each row divided by its
    sum. All but the last position are read as the model reads; only the last one's row of weights is kept.

    Raises InputError for a model that shows no weights, with the reason, and for tensors that do not fit.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2 or owner.shape != tokens.shape:
        raise InputError(
            f"tokens has shape {tuple(tokens.shape)} and owner {tuple(owner.shape)}, expected (batch, time >= 2) both"
        )
    if owner.min() < -1 or owner.max() < 0:
        raise InputError(f"owner has values from {int(owner.min())} to {int(owner.max())}, expected -1, 0, 1, ...")
    chosen = None if layers is None else list(layers)
    with evaluating(model):
        if getattr(model.config, "model_type", None) in set(FAMILIES) - set(_SOFTMAX):
            row, logits = _implicit(model, tokens, chosen)
        else:
            row, logits = _explicit(model, tokens, chosen)
    sums = row.new_zeros(len(tokens), int(owner.max()) + 2)
    return DocumentAttention(sums.scatter_add_(1, owner.to(row.device) + 1, row)[:, 1:], logits)


def _implicit(model: Any, tokens: Tensor, layers: list[int] | None) -> tuple[Tensor, Tensor]:
    """The last row of weights (batch, time), a mean over heads and layers, and the last logits."""

    def last(weights: Tensor) -> Tensor:
        size = weights[:, :, -1].abs()  # (batch, heads, time)
        return (size / size.sum(-1, keepdim=True).clamp(min=1e-30)).mean(1)

    said: list[Tensor] = []
    handle = model.register_forward_hook(lambda _, args, output: said.append(output.logits[:, -1]))
    try:
        rows = reduced_attention(model, tokens, last, None, layers=layers)
    finally:
        handle.remove()
    return torch.stack(list(rows.values())).mean(0), said[-1]


def _explicit(model: Any, tokens: Tensor, layers: list[int] | None) -> tuple[Tensor, Tensor]:
    """The same from a step with a cache, whose weights the model returns itself."""
    kind = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False) or not hasattr(model, "can_generate"):
        raise InputError(f"document_attention: {kind} is no causal language model of transformers; give one")
    before = model(tokens[:, :-1], use_cache=True)
    cache = next((before[name] for name in (NAME, "past_key_values") if before.get(name) is not None), None)
    if cache is None:
        raise InputError(f"document_attention: {kind} keeps no cache of keys and values; it shows no attention weights")
    with returning_weights(model):
        step = model(tokens[:, -1:], **{NAME: cache}, use_cache=True, output_attentions=True)
    weights = [w for w in step.get("attentions", None) or () if w is not None]
    if not weights or weights[0].shape[-1] != tokens.shape[1]:
        raise InputError(
            f"document_attention: {kind} returns no attention weights for the whole text; choose a family with "
            f"attn_implementation='eager', or one of {', '.join(FAMILIES)}"
        )
    if layers is not None:
        if bad := [i for i in layers if not 0 <= i < len(weights)]:
            raise InputError(f"layers names {bad}, the model has layers 0 to {len(weights) - 1}")
        weights = [weights[i] for i in layers]
    return torch.stack([w[:, :, -1].float().mean(1) for w in weights]).mean(0), step.logits[:, -1]
