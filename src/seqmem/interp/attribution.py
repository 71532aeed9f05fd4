"""Which tokens a prediction comes from: attention times its gradient, rolled out over the layers, for attention and
recurrence alike (A Unified Implicit Attention Formulation for Gated-Linear Recurrent Sequence Models, 2024, arXiv
2405.16504; the roll-out: Generic Attention-model Explainability, 2021, arXiv 2103.15679).

With A the explicit or implicit attention of a layer (heads, time, time), s the score that is explained, and M the
convolution in front of a recurrence (time, time), each of its rows summing to 1:

    R_l = mean_heads max(0, A * ds/dA) M_l,     relevance = e_position (I + R_L) ... (I + R_1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating
from seqmem.interp.families import Layer, layers_of
from seqmem.interp.hooks import intervene, record
from seqmem.interp.scores import normalised


def attribute(
    model: Any, tokens: Tensor, score: Callable[[Tensor], Tensor], *, position: int = -1, gradient: bool = True
) -> Tensor:
    """The relevance of every token, (batch, time), for ``score(logits)`` at ``position``.

    tokens: (batch, time). score: from logits (batch, time, vocabulary) to one number per row, such as ``lambda x: x[:,
    -1, 3]``. gradient=False: R_l is the mean of |A| alone, its rows summing to 1, without gates, values and what comes
    after (attention roll-out). Compare tokens within a row; the one at ``position`` has 1 for itself. The memory is
    that of all attention matrices of all layers at once. InputError for a layer without an exact attention, and a score
    of another shape.
    """
    layers = layers_of(model)
    sites = [f"layers.{layer.index}.attention" for layer in layers]
    kept: dict[str, Tensor] = {}

    def keep(site: str) -> Callable[[Tensor], Tensor]:
        def hook(weights: Tensor) -> Tensor:
            kept[site] = weights if weights.requires_grad else weights.requires_grad_()
            return kept[site]

        return hook

    with evaluating(model):
        if gradient:
            with torch.enable_grad(), intervene(model, {site: keep(site) for site in sites}):
                value = score(model(tokens, use_cache=False).logits)
                if value.shape != tokens.shape[:1]:
                    raise InputError(f"score gives shape {tuple(value.shape)}, expected {tuple(tokens.shape[:1])}")
                slopes = torch.autograd.grad(value.sum(), [kept[site] for site in sites])
            flows = [(kept[site] * slope).clamp_min(0).mean(1) for site, slope in zip(sites, slopes, strict=True)]
        else:
            with torch.no_grad(), record(model, sites) as trace:
                model(tokens, use_cache=False)
            flows = [normalised(trace[site].abs().mean(1)) for site in sites]
    relevance = torch.zeros_like(tokens, dtype=flows[0].dtype)
    relevance[:, position] = 1.0
    for layer, flow in reversed(list(zip(layers, flows, strict=True))):
        step = flow.detach() @ _convolution(layer, tokens.shape[1], flow)
        relevance = relevance + torch.einsum("bi,bij->bj", relevance, step)
    return relevance


def _convolution(layer: Layer, time: int, like: Tensor) -> Tensor:
    """M (time, time): how much of what stands at i after the convolution came from j, by the size of its taps."""
    mixer: Any = layer.mixer
    weights = [
        getattr(module, "weight", None)
        for module in (getattr(mixer, "conv", None), getattr(mixer, "conv1d", None), getattr(mixer, "conv_1d", None))
        if module is not None
    ]
    outer = getattr(layer.block, "conv", None)
    weights += [getattr(outer, "weight", None)] if outer is not None else []
    found = torch.eye(time, dtype=like.dtype, device=like.device)
    for weight in weights:
        if weight is None:
            continue
        taps = weight.detach().flatten(0, -2).abs().mean(0).to(like)  # (kernel,), the latest input last
        band = sum(torch.diag(taps[-1 - k].expand(time - k), -k) for k in range(min(len(taps), time)))
        found = found @ normalised(torch.as_tensor(band))
    return found
