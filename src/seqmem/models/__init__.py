"""Whole networks. ``from seqmem.models import SequenceConfig, SequenceLM``: a Hugging Face causal LM made of mixers.

transformers is imported when one of the names below is first touched; that also registers the model with ``AutoConfig``
and ``AutoModelForCausalLM`` under the model type "seqmem".
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmem.models.aligned_seq2seq import AlignedSeq2Seq
    from seqmem.models.alignment import Alignment
    from seqmem.models.cache import StateCache
    from seqmem.models.char_lstm import CharLSTM, CharLSTMConfig
    from seqmem.models.checkpoint import load
    from seqmem.models.config import SequenceConfig
    from seqmem.models.fan import FANLayer, FANNet
    from seqmem.models.griffin import griffin_config, hawk_config
    from seqmem.models.language_model import SequenceLM, build, parameter_count
    from seqmem.models.last_vector import LastVectorDecoder
    from seqmem.models.memory_network import MemoryNetwork
    from seqmem.models.memory_network_lm import MemoryNetworkLM
    from seqmem.models.perspectives import perspective_parameters, with_perspectives
    from seqmem.models.sketch_vit import SketchViT, answer, scratchpad_loss
    from seqmem.models.speaker_listener import SpeakerListener, binary_sample
    from seqmem.models.unitary_lm import UnitaryLM
    from seqmem.models.window_memory import WindowMemoryNetwork

__all__ = [
    "AlignedSeq2Seq",
    "Alignment",
    "CharLSTM",
    "CharLSTMConfig",
    "FANLayer",
    "FANNet",
    "LastVectorDecoder",
    "MemoryNetwork",
    "MemoryNetworkLM",
    "SequenceConfig",
    "SequenceLM",
    "SketchViT",
    "SpeakerListener",
    "StateCache",
    "UnitaryLM",
    "WindowMemoryNetwork",
    "answer",
    "binary_sample",
    "build",
    "griffin_config",
    "hawk_config",
    "load",
    "parameter_count",
    "perspective_parameters",
    "scratchpad_loss",
    "with_perspectives",
]

_HOME = {
    "AlignedSeq2Seq": "aligned_seq2seq",
    "Alignment": "alignment",
    "CharLSTM": "char_lstm",
    "CharLSTMConfig": "char_lstm",
    "FANLayer": "fan",
    "FANNet": "fan",
    "LastVectorDecoder": "last_vector",
    "MemoryNetwork": "memory_network",
    "MemoryNetworkLM": "memory_network_lm",
    "SequenceConfig": "config",
    "SequenceLM": "language_model",
    "SketchViT": "sketch_vit",
    "StateCache": "cache",
    "SpeakerListener": "speaker_listener",
    "binary_sample": "speaker_listener",
    "UnitaryLM": "unitary_lm",
    "WindowMemoryNetwork": "window_memory",
    "answer": "sketch_vit",
    "build": "language_model",
    "griffin_config": "griffin",
    "hawk_config": "griffin",
    "load": "checkpoint",
    "parameter_count": "language_model",
    "perspective_parameters": "perspectives",
    "scratchpad_loss": "sketch_vit",
    "with_perspectives": "perspectives",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module(
        "seqmem.models.language_model"
    )  # registers with the Auto classes, whichever name is touched
    return getattr(importlib.import_module(f"seqmem.models.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
