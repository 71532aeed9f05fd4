"""From text to token numbers: bytes, or any tokenizer of Hugging Face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seqmem.errors import InputError

Tokens = np.ndarray[Any, np.dtype[Any]]


class Encoder(NamedTuple):
    """``encode(texts)``: the tokens of each, without special ones. ``end``: the token that ends a document, or None.
    ``save(folder)``: what reads the tokens again, where it is no matter of course."""

    name: str
    vocab_size: int
    end: int | None
    encode: Callable[[Sequence[str]], list[Tokens]]
    save: Callable[[Path], None]

    @property
    def dtype(self) -> Literal["uint8", "uint16", "uint32"]:
        """The smallest that holds every token."""
        return "uint8" if self.vocab_size <= 2**8 else "uint16" if self.vocab_size <= 2**16 else "uint32"


def make_encoder(name: str) -> Encoder:
    """``"bytes"``, a folder that holds a tokenizer, or a name on the Hugging Face hub (or in its cache).

    No code that lies beside a tokenizer is run. Raises InputError where there is none.
    """
    if name == "bytes":
        return Encoder(name, 256, None, _bytes, lambda folder: None)
    from transformers import AutoTokenizer

    place = Path(name).expanduser()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(place) if place.is_dir() else name, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # each kind of tokenizer has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"no tokenizer '{name}' ({reason}); give bytes, a tokenizer's folder, or a name on the Hugging Face hub"
        ) from error
    vocab_size = len(tokenizer)

    def encode(texts: Sequence[str]) -> list[Tokens]:
        found = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [np.asarray(ids, dtype=np.int64) for ids in found["input_ids"]]

    def save(folder: Path) -> None:
        tokenizer.save_pretrained(folder)

    return Encoder(name, vocab_size, tokenizer.eos_token_id, encode, save)


def _bytes(texts: Sequence[str]) -> list[Tokens]:
    return [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]
