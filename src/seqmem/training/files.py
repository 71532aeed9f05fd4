"""Files that are whole or not there: everything is written under a temporary name and then moved into place."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one move: a reader sees the old file or the new one, never a part."""
    temporary = temporary_name(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Strict JSON: a number that is not finite becomes null, since JSON has no word for it."""
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, indent=indent)


def write_json(path: Path, value: Any) -> None:
    """One JSON document, replaced in one move."""
    write_text(path, to_json(value, indent=1) + "\n")


def quarantine(path: Path) -> Path:
    """Move a damaged file out of the way, keeping it as ``NAME.damaged``."""
    aside = path.with_name(path.name + ".damaged")
    os.replace(path, aside)
    return aside


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value
