"""``SequenceLM.from_hf(model)``: a causal language model of transformers in this library's layers, logits unchanged.

One file per family, one table of families. A file's ``convert(model)`` says which config the model has here and which
of its weights goes where, between the embedding and the head; :func:`convert` adds what all families have, builds the
model and checks that nothing is left over.
"""

from __future__ import annotations

import copy
import importlib
from typing import Any

import torch

from seqmem.errors import InputError
from seqmem.models.config import SequenceConfig
from seqmem.models.from_hf.parts import put
from seqmem.models.language_model import SequenceLM, build

#: transformers' model_type -> file of this folder
FAMILIES: dict[str, str] = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "gpt2": "gpt2",
    "mamba": "mamba",
    "mamba2": "mamba",
    "rwkv": "rwkv",
    "recurrent_gemma": "recurrent_gemma",
    "qwen3_next": "qwen3_next",
    "xlstm": "xlstm",
}
_FUNCTIONS = {"mamba2": "convert_2"}  # where a file has several; else ``convert``


def convert(model: Any) -> SequenceLM:
    """A :class:`SequenceLM` in evaluation mode that gives the logits of ``model``, in its dtype and on its device.

    model: a causal language model of transformers with its head, of a family of :data:`FAMILIES`; it is left as it is,
    and no memory is shared with it. State, attention and every instrument are then those of the layers of this library.
    Dropout is left out. Raises InputError for another family, and for an option that the layers cannot express.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    name = type(model).__name__
    if kind == SequenceConfig.model_type:
        raise InputError(f"{name} is one of this library's already; use it as it is")
    if not isinstance(model, torch.nn.Module) or kind is None:
        raise InputError(
            f"from_hf was given a {name}, expected a model of transformers; load it with "
            "transformers.AutoModelForCausalLM.from_pretrained"
        )
    if kind not in FAMILIES:
        raise InputError(
            f"{name} is of family '{kind}', which cannot be converted; families: {', '.join(FAMILIES)}. "
            "seqmem.interp looks into some others as they are"
        )
    if getattr(model, "lm_head", getattr(model, "head", None)) is None:
        raise InputError(f"{name} ('{kind}') has no language-model head; give the causal language model around it")
    theirs: Any = model
    file = importlib.import_module(f"seqmem.models.from_hf.{FAMILIES[kind]}")
    try:
        found = getattr(file, _FUNCTIONS.get(kind, "convert"))(model)
        put(found.weights, "embed_tokens", theirs.get_input_embeddings())
        put(found.weights, "lm_head", theirs.get_output_embeddings())
    except AttributeError as error:
        raise InputError(
            f"{name} ('{kind}') is not built as transformers builds it ({error}); give the plain model, with adapters "
            "merged into it (merge_and_unload)"
        ) from error

    config = theirs.config
    lm: Any = build(
        SequenceConfig(
            config.vocab_size,
            config.hidden_size,
            tie_embeddings=config.tie_word_embeddings,
            **found.options,
            **tokens(config, config.vocab_size),
        )
    )
    expected = lm.state_dict()
    tied = set(lm.all_tied_weights_keys)
    weights = {key: value.detach() for key, value in found.weights.items() if key not in tied}
    _compare(weights, {key: value for key, value in expected.items() if key not in tied}, kind)
    reference = theirs.get_input_embeddings().weight
    torch.nn.Module.to(lm, device=reference.device, dtype=reference.dtype)
    lm.load_state_dict(weights, strict=False)
    lm.tie_weights()
    lm.generation_config = copy.deepcopy(theirs.generation_config)
    return lm.eval()


def tokens(config: Any, vocab_size: int) -> dict[str, Any]:
    """The special tokens, where the vocabulary has them."""
    found: dict[str, Any] = {}
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(config, name, None)
        several = value if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(one, int) and 0 <= one < vocab_size for one in several):
            found[name] = value
    return found


def _compare(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], kind: str) -> None:
    """InputError for the first weight that is missing, left over or of another shape: the model was changed."""
    for key, value in weights.items():
        if not value.is_floating_point():
            raise InputError(f"'{kind}': {key} is {value.dtype}; give the model before quantisation")
    for key in (*expected, *weights):
        have, want = (None if key not in w else tuple(w[key].shape) for w in (weights, expected))
        if have != want:
            raise InputError(
                f"'{kind}': {key} is {have or 'not there'} in the model and {want or 'not there'} in its config's "
                "layers; give the model as its config describes it, without adapters, pruned heads or quantisation"
            )
