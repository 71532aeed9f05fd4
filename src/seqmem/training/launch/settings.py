"""The settings of ``seqmem train``: a YAML file, checked at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from seqmem.errors import InputError, line_of
from seqmem.mixers import get_mixer
from seqmem.models import SequenceConfig
from seqmem.training.described import as_list, as_number, check_keys, read_mapping, shown, validated
from seqmem.training.tokens.index import DTYPES, Dtype
from seqmem.training.tokens.stream import Stream, open_stream

Count = Annotated[int, Field(ge=1, le=10**9)]
Rows = Annotated[int, Field(ge=1, le=2**20)]
Places = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(as_list), Field(min_length=1)]
Positive = Annotated[float, BeforeValidator(as_number), Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, BeforeValidator(as_number), Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """What is trained, on what, how; :func:`read_settings` makes one. ``docs/train.md`` says what each key is."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    data: Places
    out: Annotated[str, Field(min_length=1)]
    model: dict[str, Any] | str
    steps: Count
    window: Annotated[int, Field(ge=2, le=2**20)] = 256
    batch_size: Rows = 16
    accumulation: Rows | None = None
    learning_rate: Positive = 1e-3
    warmup: Annotated[int, Field(ge=0, le=10**9)] | None = None
    weight_decay: NotNegative = 0.1
    clip: Positive = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    carry_state: bool = False
    activation_checkpointing: bool = False
    validation: Places | None = None
    evaluate_every: Count | None = None
    evaluate_tokens: Count = 65_536
    log_every: Count = 10
    save_every: Count = 100
    tensorboard: bool = False
    dtype: Dtype | None = None
    vocab_size: Annotated[int, Field(ge=1, le=2**31)] | None = None
    document_end: Annotated[int, Field(ge=0, lt=2**31)] | None = None

    @property
    def warmup_steps(self) -> int:
        return max(1, self.steps // 10) if self.warmup is None else self.warmup

    @property
    def evaluation_steps(self) -> int:
        return max(1, self.steps // 10) if self.evaluate_every is None else self.evaluate_every

    def stream(self) -> Stream:
        """The tokens to train on."""
        return self._stream(self.data)

    def validation_stream(self) -> Stream | None:
        """The tokens to test on, if any."""
        return None if self.validation is None else self._stream(self.validation)

    def _stream(self, places: list[str]) -> Stream:
        return open_stream(places, dtype=self.dtype, vocab_size=self.vocab_size, document_end=self.document_end)

    def config(self, stream: Stream) -> SequenceConfig:
        """The new model's, for these tokens."""
        if isinstance(self.model, str):
            raise InputError(f"model is the folder '{self.model}', which has its config")
        if "vocab_size" in self.model:
            raise InputError(f"model: vocab_size is {self.model['vocab_size']!r}; leave it out, it comes from the data")
        end = {} if stream.document_end is None else {"eos_token_id": stream.document_end}
        try:
            config = SequenceConfig(stream.vocab_size, **{**end, **self.model})
            for layer in range(len(config.layers)):
                get_mixer(config.mixer(layer)[0])  # imports a class of the user's own, who names it here
            return config
        except InputError as error:
            raise InputError(f"model: {error}") from error
        except Exception as error:  # of transformers, which gets what is not ours
            text = line_of(error)
            raise InputError(f"model is {shown(self.model)}, expected what SequenceConfig takes ({text})") from error


#: settings that a run that goes on may have otherwise than it began: they do not touch what is learned
MAY_CHANGE = (
    "accumulation", "activation_checkpointing", "evaluate_every", "evaluate_tokens", "log_every", "out", "save_every",
    "tensorboard",
)  # fmt: skip

_ONE = "a whole number of at least 1"
_TRUTH = "true or false"
EXPECTED = {
    "data": "a folder that 'seqmem data prepare' wrote, a token file, or a list of them",
    "out": "the name of a folder",
    "model": "a mapping such as {width: 64, layers: [rg_lru, local_attention]}, or the folder of a saved model",
    "steps": _ONE,
    "window": "a whole number from 2 to 1,048,576",
    "batch_size": "a whole number from 1 to 1,048,576",
    "accumulation": "a whole number from 1 to 1,048,576",
    "learning_rate": "a number above 0",
    "warmup": "a whole number of at least 0",
    "weight_decay": "a number of at least 0",
    "clip": "a number above 0",
    "seed": "a whole number of at least 0",
    "carry_state": _TRUTH,
    "activation_checkpointing": _TRUTH,
    "validation": "a folder that 'seqmem data prepare' wrote, a token file, or a list of them",
    "evaluate_every": _ONE,
    "evaluate_tokens": _ONE,
    "log_every": _ONE,
    "save_every": _ONE,
    "tensorboard": _TRUTH,
    "dtype": f"one of {', '.join(DTYPES)}",
    "vocab_size": _ONE,
    "document_end": "a token, a whole number of at least 0",
}


def read_settings(path: str | os.PathLike[str]) -> Settings:
    """The settings in a YAML file. Raises InputError naming the file and the key."""
    found = read_mapping(Path(path), "settings file", "data, out, model, steps")
    origins = {key: f"{path}: {key}" for key in found}
    check_keys(found, EXPECTED, origins)
    for key in ("data", "out", "model", "steps"):
        if key not in found:
            raise InputError(f"{path}: {key} is not there, expected {EXPECTED[key]}")
    try:
        json.dumps(found["model"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: model is {shown(found['model'])}, which JSON cannot hold ({error})") from error
    return validated(Settings, found, EXPECTED, origins)
