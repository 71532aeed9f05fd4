"""Jane Austen's six novels out of an R package: lines of text that R serialised, each novel compressed by itself."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from seqmem.errors import InputError

_STRINGS, _STRING, _MISSING = 16, 9, -1  # R's types STRSXP and CHARSXP; the length of NA
MOST = 2**26  # bytes of a novel
_HEADER = b"X\n\x00\x00\x00\x03"  # big-endian, version 3


def convert(source: Path, target: Path) -> None:
    """Write one text file per novel of the ``.rdb`` below ``source`` into ``target``, named after its first line."""
    (file,) = source.rglob("*.rdb")
    for packed in _blocks(file.read_bytes()):
        lines = strings(packed)
        title = next(line for line in lines if line.strip())
        name = title.strip().lower().replace(" & ", " and ").replace(" ", "-").replace("/", "-")
        (target / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _blocks(content: bytes) -> Iterator[bytes]:
    """What each block (its length in four bytes, then zlib's stream) holds."""
    at = 0
    while at < len(content):
        stream = zlib.decompressobj()
        yield stream.decompress(content[at + 4 :], MOST)
        if stream.unconsumed_tail:
            raise InputError(f"a novel has more than {MOST:,} bytes; nothing was kept")
        at = len(content) - len(stream.unused_data)


def strings(packed: bytes) -> list[str]:
    """The strings of one serialised character vector. InputError for anything else."""
    if not packed.startswith(_HEADER):
        raise InputError("the novels are not serialised as R does in version 3, big-endian; nothing was kept")
    at = 14
    (native,) = struct.unpack_from(">i", packed, at)
    at += 4 + native  # the name of the encoding
    flags, count = struct.unpack_from(">ii", packed, at)
    if flags & 255 != _STRINGS:
        raise InputError(f"the novels hold an R value of type {flags & 255}, expected character vectors")
    at, found = at + 8, []
    for _ in range(count):
        flags, length = struct.unpack_from(">ii", packed, at)
        if flags & 255 != _STRING:
            raise InputError(f"the novels hold an R value of type {flags & 255}, expected strings")
        at += 8
        found.append("" if length == _MISSING else packed[at : at + length].decode("utf-8"))
        at += max(length, 0)
    return found
