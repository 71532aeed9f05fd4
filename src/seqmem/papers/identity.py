"""Which model a name or path stands for, so that a result is not handed out for another one."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path


def identity(model: str) -> str:
    """Of a local file or folder: a digest of its files' names, sizes, times of change, and the headers of safetensors
    files (names, shapes and types of the weights). Of any other name: the name, with the commit of the copy in the
    Hugging Face cache where there is one. The weights themselves are not read.
    """
    path = Path(model).expanduser()
    if not path.exists():
        return f"{model}@{commit}" if (commit := _cached_commit(model)) else model
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    described = [
        (file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns, _header(file))
        for file in files
    ]
    return "files:" + hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def _header(file: Path) -> str:
    """The JSON header of a safetensors file as text; "" for other files."""
    if file.suffix != ".safetensors" or file.stat().st_size < 8:
        return ""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return stream.read(min(length, 100_000_000)).decode("utf-8", errors="replace")


def _cached_commit(name: str) -> str:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # not a name of the Hub's kind
        return ""
    return Path(found).parent.name if isinstance(found, str) else ""
