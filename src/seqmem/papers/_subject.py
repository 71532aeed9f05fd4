"""The model that an instrument is turned on: the user's own, a pretrained one, or a tiny one that costs nothing."""

from __future__ import annotations

from typing import Any

import torch

from seqmem.tasks.tokenizers import ByteTokenizer, for_bytes

#: in ``settings``: a name, or TINY for random weights (smoke budget: nothing is downloaded)
PRETRAINED, TINY = "pretrained", ""


def subject(model: str | None, settings: dict[str, Any]) -> tuple[Any, Any]:
    """(model, tokenizer): ``--model``, else the one of the settings. A model of 256 tokens without a tokenizer reads
    bytes; InputError for one of another size, and whatever loading it raises."""
    name = settings[PRETRAINED] if model is None else model
    if name == TINY:
        return _tiny(), ByteTokenizer()
    from seqmem.assets import language_model

    lm, tokenizer = language_model(name)
    return lm, for_bytes(name, lm.config.vocab_size) if tokenizer is None else tokenizer


def _tiny() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 256, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 4096}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).eval()
