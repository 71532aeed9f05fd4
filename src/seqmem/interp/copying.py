"""The copying score of a head from its weights (A Mathematical Framework for Transformer Circuits, 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.families import Layer, layers_of


def copying_scores(model: nn.Module, layers: Iterable[int]) -> dict[int, Tensor]:
    """``{layer: (heads,)}``: sum(lambda) / sum(|lambda|), from -1 to 1, of the eigenvalues lambda of W_E W_V W_O W_U:
    what a token that is attended to adds to its own logit. Norms are left out, gains included.

    The nonzero eigenvalues of that matrix, (vocabulary, vocabulary), are those of W_O W_U W_E W_V, (head, head).
    InputError where no pair of matrices leads from a layer's input to its output: recurrences with a convolution, gate
    or norm between them.
    """
    found = layers_of(model)
    embed = model.get_input_embeddings().weight.detach().double()  # type: ignore[operator] # (vocab, width)
    unembed = model.get_output_embeddings().weight.detach().double()  # type: ignore[operator]
    around = unembed.mT @ embed  # W_U W_E: (width, width)
    scores = {}
    for index in layers:
        if not 0 <= index < len(found):
            raise InputError(f"layer is {index}, expected 0 to {len(found) - 1}")
        value, out = (w.detach().double() for w in _value_and_out(model, found[index]))
        circuit = torch.einsum("hio,op,hpj->hij", out, around, value)  # (heads, head, head)
        eigenvalues = torch.linalg.eigvals(circuit)
        scores[index] = (eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1).clamp_min(1e-300)).float()
    return scores


def _value_and_out(model: Any, layer: Layer) -> tuple[Tensor, Tensor]:
    """W_V (heads, width, head) and W_O (heads, head, width), for row vectors."""
    mixer: Any = layer.mixer
    projection: Any = layer.out
    kind, heads = type(mixer).__name__, layer.heads
    if model.config.model_type == "gpt2":
        value = mixer.c_attn.weight[:, -mixer.split_size :]
        return value.unflatten(1, (heads, -1)).transpose(0, 1), mixer.c_proj.weight.unflatten(0, (heads, -1))
    if hasattr(mixer, "v_proj"):  # Llama, and the attention of RecurrentGemma
        value = mixer.v_proj.weight.mT.unflatten(1, (-1, mixer.head_dim)).transpose(0, 1)
    elif kind in ("Attention", "LocalAttention", "LinearAttention") and all(
        getattr(part, name, None) is None for part, name in ((layer.block, "conv"), (mixer, "gate"))
    ):
        value = mixer.qkv.weight.mT.unflatten(1, (-1, projection.weight.shape[1] // heads)).transpose(0, 1)
        pairs = getattr(mixer, "kv_heads", heads)
        value = value[-pairs:]
    else:
        raise InputError(
            f"layer {layer.index} ({kind}) has no copying score: a convolution, gate or norm stands between the token "
            "and the output, so no pair of weight matrices is the path; choose layers= of softmax attention"
        )
    out = projection.weight.mT.unflatten(0, (heads, -1))
    return value.repeat_interleave(heads // value.shape[0], 0), out
