"""Small packages to fetch from, and the rows of the table that pin them."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from seqmem.assets.table import Asset, Part

CONTENT = {"toy/data/b.txt": b"second\n", "toy/data/a.txt": b"first\n", "toy/code.py": b"raise SystemExit(1)\n"}


def wheel(folder: Path) -> Path:
    """A zip file."""
    place = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    return place


def tar(folder: Path, *, link: bool = False, name: str = "toy/data/a.txt") -> Path:
    """A tar file; with ``link``, its first text is a link to another file."""
    place = folder / "toy-1.0.tar.gz"
    with tarfile.open(place, "w:gz") as archive:
        for member, content in CONTENT.items():
            entry = tarfile.TarInfo(name if member == "toy/data/a.txt" else member)
            if link and member == "toy/data/a.txt":
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(entry)
                continue
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return place


def asset(archive: Path, parts: tuple[Part, ...] | None = None, kind: str = "text", name: str = "toy") -> Asset:
    """The row that pins an archive."""
    if parts is None:
        parts = (Part("toy/data/*.txt", hashlib.sha256(b"first\nsecond\n").hexdigest(), 2),)
    return Asset(
        name=name, kind=kind, what="a toy", source="pypi", package="toy", version="1.0", archive=archive.name,
        size=archive.stat().st_size, sha256=hashlib.sha256(archive.read_bytes()).hexdigest(), parts=parts,
        licence="MIT", citation="none",
    )  # fmt: skip
