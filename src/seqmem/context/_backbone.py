"""What a causal language model must be able to do before something can be put into its input."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError


def arguments(model: Any) -> set[str]:
    """Names of what the model's forward takes; through an adapter (PEFT) of the model inside."""
    inside = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(inside.forward).parameters)


def embeddings(model: Any, user: str, positions: int) -> Any:
    """The input embeddings of a causal LM that takes ``inputs_embeds`` and at least ``positions`` positions.

    Raises InputError, in the name of ``user``, for anything else: a bare backbone, an encoder–decoder, a family that
    reads token ids alone, positions that are too few.
    """
    kind = type(model).__name__

    def refuse(what: str, do: str) -> InputError:
        return InputError(f"{user}: {kind} {what}; {do}")

    causal = "give a causal language model, as AutoModelForCausalLM.from_pretrained makes it"
    module = isinstance(model, nn.Module)
    if not module or not hasattr(model, "get_input_embeddings"):
        raise refuse("is not a transformers model", causal)
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise refuse("is an encoder-decoder", causal)
    if not hasattr(model, "can_generate") or not model.can_generate() or model.get_output_embeddings() is None:
        raise refuse("is a backbone without a head that predicts the next token", causal)
    if "inputs_embeds" not in arguments(model):
        raise refuse("takes token ids alone, not inputs_embeds", "choose a family that does, such as GPT-2 or Llama")
    found: Any = model.get_input_embeddings()
    weight = getattr(found, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise refuse("names no table of input embeddings", "define get_input_embeddings()")
    most = getattr(model.config, "max_position_embeddings", None)
    if isinstance(most, int) and positions > most > 0:
        raise refuse(f"has {most} positions, {positions} are needed", "take shorter segments or fewer memory tokens")
    return found


@torch.no_grad()
def takes_masks_of_pairs(model: Any, width: int) -> bool:
    """Whether a mask (batch, 1, time, time), 0 where a query sees a key, is obeyed: tried on two positions."""
    weight = model.get_input_embeddings().weight
    x = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=weight.dtype, device=weight.device)  # (row, time)
    x = x[..., None] * torch.linspace(-1, 1, width, dtype=weight.dtype, device=weight.device)
    modes = [(module, module.training) for module in model.modules()]
    try:
        seen = model.eval()(inputs_embeds=x, attention_mask=x.new_zeros(2, 1, 2, 2), use_cache=False).logits
    except (ValueError, RuntimeError, TypeError, IndexError, AttributeError):  # as each family says it
        return False
    finally:
        for module, training in modes:
            module.training = training
    return not torch.equal(seen[0, 0], seen[1, 0])  # the first position sees the second
