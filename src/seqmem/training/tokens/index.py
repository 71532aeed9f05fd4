"""``index.json``: what is in a folder of token shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqmem.errors import InputError, line_of
from seqmem.loading import parse_json

NAME, DOCUMENTS, TOKENIZER = "index.json", "documents.bin", "tokenizer"
Dtype = Literal["uint8", "uint16", "uint32", "int32", "int64"]
DTYPES = get_args(Dtype)

Count = Annotated[int, Field(ge=0, lt=2**62)]


class Shard(BaseModel):
    """A file of raw tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # a plain name, in the same folder
    tokens: Count


class Index(BaseModel):
    """``documents.bin`` holds ``documents`` int64 numbers: where each begins, counted over all shards.

    ``document_end``: the token that ends a document, None where there is none. ``tokenizer``: "bytes" or the name it
    was given by; the tokenizer itself is in the folder ``tokenizer``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["seqmem tokens 1"] = "seqmem tokens 1"
    tokenizer: str
    vocab_size: Annotated[int, Field(ge=1, le=2**31)]
    document_end: Count | None
    dtype: Dtype
    tokens: Count
    documents: Count
    shards: list[Shard]


def read_index(folder: Path) -> Index:
    """Raises InputError when it is missing, no index, or contradicts itself."""
    path = folder / NAME
    try:
        index = Index(**parse_json(path.read_bytes()))
    except FileNotFoundError:
        raise InputError(f"'{folder}' has no {NAME}; give a folder that 'seqmem data prepare' wrote") from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"'{path}': {key}: {first['msg'].lower()}; prepare the data again") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"'{path}' is no index ({line_of(error)}); prepare the data again") from error
    if sum(shard.tokens for shard in index.shards) != index.tokens or index.documents > index.tokens:
        raise InputError(f"'{path}' contradicts itself: its shards do not add up to its tokens; prepare the data again")
    return index
